"""The first frame of images other than JPEG is decoded to RGB, or refused with a reason."""

import io
import struct
import warnings
import zlib

import pytest
from PIL import Image

from tfrec_stage.errors import RecordError
from tfrec_stage.images.decode import PIXEL_LIMIT, SIDE_LIMIT, check_size, decode_pixels

WHITE = (255, 255, 255)


def _chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(depth, color_type, channels, *, before=b"", after=b"", sample=b"\0"):
    """A PNG of 8 by 8 equal pixels, with chunks before and after the data."""
    header = struct.pack(">IIBBBBB", 8, 8, depth, color_type, 0, 0, 0)
    data = zlib.compress((b"\0" + sample * (depth * channels)) * 8)
    chunks = _chunk(b"IHDR", header) + before + _chunk(b"IDAT", data) + after + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _tiff(to_bytes, mode="I;16", **tags):
    """A TIFF of 16-bit samples, all 0x4000, with these tags changed."""
    data = bytearray(
        to_bytes(Image.frombytes(mode, (8, 8), (b"\x40\0" if mode == "I;16B" else b"\0\x40") * 64), "TIFF")
    )
    for name, number in tags.items():
        tag = {"bits": 258, "photometric": 262}[name]
        at = data.index(struct.pack("<HHI", tag, 3, 1))
        data[at + 8 : at + 10] = struct.pack("<H", number)
    return bytes(data)


@pytest.mark.parametrize(
    ("width", "height", "is_allowed"),
    [
        pytest.param(1, 1, True, id="one pixel"),
        pytest.param(3277, 54_610, True, id="most pixels"),
        pytest.param(3278, 54_610, False, id="too many pixels"),
        pytest.param(SIDE_LIMIT, 1, True, id="widest"),
        pytest.param(1, SIDE_LIMIT, True, id="highest"),
        pytest.param(SIDE_LIMIT + 1, 1, False, id="too wide"),
        pytest.param(1, SIDE_LIMIT + 1, False, id="too high"),
    ],
)
def test_sizes(width, height, is_allowed):
    """The limits are those of TensorFlow (2^29 bytes of RGB) and libjpeg (65,500 pixels per side)."""
    assert PIXEL_LIMIT == 3277 * 54_610 == (1 << 29) // 3
    if is_allowed:
        check_size((width, height))
        return
    with pytest.raises(RecordError, match=f"at most {PIXEL_LIMIT} pixels and 65500 a side, but got {width} x {height}"):
        check_size((width, height))


def test_a_frame_larger_than_its_screen_is_too_large():
    """A GIF of 8 x 8 pixels with a frame of billions fails as too large, not as damaged."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x08\1\0\0;"
    with pytest.raises(RecordError, match="3600000000 pixels") as caught:
        decode_pixels(screen + frame, WHITE)
    assert caught.value.reason == "image_too_large"


@pytest.mark.parametrize(
    ("depth", "color_type", "channels"),
    [
        pytest.param(2, 0, 1, id="gray of 2 bits"),
        pytest.param(4, 0, 1, id="gray of 4 bits"),
        pytest.param(16, 0, 1, id="gray of 16 bits"),
        pytest.param(16, 2, 3, id="colour of 16 bits"),
    ],
)
def test_a_transparent_colour_that_pillow_misreads_is_refused(depth, color_type, channels):
    """Transparent colours are refused if Pillow compares them with samples that it has scaled to 8 bits."""
    data = _png(depth, color_type, channels, before=_chunk(b"tRNS", bytes(2 * channels)))
    with pytest.raises(RecordError, match=f"a transparent colour of {depth} bits, which Pillow") as caught:
        decode_pixels(data, WHITE)
    assert caught.value.reason == "image_unsupported"


@pytest.mark.parametrize(
    ("depth", "color_type", "channels", "chunks"),
    [
        pytest.param(1, 0, 1, [(b"tRNS", bytes(2))], id="gray of 1 bit"),
        pytest.param(8, 0, 1, [(b"tRNS", bytes(2))], id="gray of 8 bits"),
        pytest.param(8, 2, 3, [(b"tRNS", bytes(6))], id="colour of 8 bits"),
        pytest.param(2, 3, 1, [(b"PLTE", bytes(6)), (b"tRNS", b"\0")], id="palette of 2 bits"),
        pytest.param(4, 3, 1, [(b"PLTE", bytes(6)), (b"tRNS", b"\0")], id="palette of 4 bits"),
    ],
)
def test_a_transparent_colour_shows_the_background(depth, color_type, channels, chunks):
    """Transparent colours of 1 or 8 bits, and of palettes, show the background."""
    data = _png(depth, color_type, channels, before=b"".join(_chunk(*each) for each in chunks))
    pixels = decode_pixels(data, (250, 100, 10))
    assert (pixels.image.getpixel((4, 4)), pixels.transforms) == ((250, 100, 10), ["alpha_flattened"])


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_deep_gray_of_both_byte_orders_is_scaled(to_bytes, mode):
    """A quarter of the 16-bit range becomes a quarter of the 8-bit range."""
    pixels = decode_pixels(_tiff(to_bytes, mode), WHITE)
    assert (pixels.image.mode, pixels.image.getpixel((4, 4)), pixels.format) == ("RGB", (0x40,) * 3, "TIFF")


def test_every_level_of_deep_gray_is_its_high_byte(to_bytes):
    """Each 16-bit level becomes its high byte, without rounding."""
    levels = Image.frombytes("I;16", (16, 16), b"".join(bytes([level, level]) for level in range(256)))
    pixels = decode_pixels(to_bytes(levels, "TIFF"), WHITE)
    assert list(pixels.image.getchannel("R").tobytes()) == list(range(256))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        pytest.param({"bits": 12}, r"gray of \(12,\) bits, photometric interpretation 1", id="12 bits"),
        pytest.param({"photometric": 0}, r"gray of \(16,\) bits, photometric interpretation 0", id="white is 0"),
    ],
)
def test_gray_of_another_range_is_refused(to_bytes, tags, message):
    """Gray that Pillow does not scale (12 bits) or invert (16 bits, 0 is white) is refused."""
    with pytest.raises(RecordError, match=message) as caught:
        decode_pixels(_tiff(to_bytes, **tags), WHITE)
    assert caught.value.reason == "image_unsupported"


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM"])
def test_single_frames_have_no_transforms(make_photo, to_bytes, image_format):
    """An opaque image with one frame has no transforms and keeps its format and size."""
    pixels = decode_pixels(to_bytes(make_photo(), image_format), WHITE)
    assert (pixels.transforms, pixels.format, pixels.image.mode, pixels.image.size) == (
        [],
        image_format,
        "RGB",
        (64, 48),
    )
    assert pixels.exif.value == 1


def test_a_damaged_second_frame_counts_as_one(make_photo, to_bytes):
    """A GIF truncated at the start of its second frame gives its first frame, with `first_frame`."""
    frames = [make_photo(seed=seed).convert("P") for seed in (1, 2)]
    whole = to_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    cut = whole[: whole.index(b"\x21\xf9") + 20]
    with pytest.raises(IndexError):
        _ = Image.open(io.BytesIO(cut)).is_animated
    pixels = decode_pixels(cut, WHITE)
    assert pixels.transforms == ["first_frame"]
    assert pixels.image.tobytes() == frames[0].convert("RGB").tobytes()


def test_a_format_that_pillow_lacks_is_unknown(make_photo, to_bytes, monkeypatch):
    """A format that Pillow was built without is unknown, and the others are still read."""
    data = {name: to_bytes(make_photo(), name) for name in ("PNG", "WEBP", "PPM")}
    monkeypatch.delitem(Image.OPEN, "WEBP")
    assert [decode_pixels(data[name], WHITE).format for name in ("PNG", "PPM")] == ["PNG", "PPM"]
    with pytest.raises(RecordError, match="the content begins with b'RIFF") as caught:
        decode_pixels(data["WEBP"], WHITE)
    assert caught.value.reason == "image_unknown_format"


def test_warnings_after_the_pixels_are_suppressed():
    """Warnings of chunks after the pixels of a PNG, which Pillow reads last, are suppressed."""
    data = _png(8, 2, 3, after=_chunk(b"acTL", struct.pack(">II", 0, 0)))
    image = Image.open(io.BytesIO(data))
    with pytest.warns(UserWarning, match="Invalid APNG"):
        image.load()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert decode_pixels(data, WHITE).transforms == []
    assert caught == []
