"""Images of every common kind are stored unchanged, re-encoded, or refused with a reason.

TensorFlow has to decode a stored image to what Pillow shows of the original, within the error of JPEG.
"""

import errno
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageFile, ImageOps

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfrec_stage.errors import ConfigError, RecordError
from tfrec_stage.images import decode, encode
from tfrec_stage.images.encode import TRANSFORMS, encode_image
from tfrec_stage.images.policy import ImagePolicy, Verify

np = pytest.importorskip("numpy")
tf = pytest.importorskip("tensorflow")

POLICY = ImagePolicy()
FINE = ImagePolicy(jpeg_quality=100)  # for a small error
SIZE = (64, 48)


def _shown(encoded):
    """Decode with TensorFlow, height x width x 3, and the exact DCT: the default one is a fast approximation."""
    pixels = tf.io.decode_jpeg(encoded.data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    assert pixels.shape == (encoded.height, encoded.width, 3)
    return pixels


def _assert_alike(encoded, expected):
    difference = np.abs(_shown(encoded).astype(int) - np.asarray(expected.convert("RGB")))
    assert difference.mean() < 2, f"mean difference {difference.mean()}"


def _png(size, depth, color_type, scanlines, *, chunks=(), interlace=0):
    """A PNG of packed rows, as Pillow cannot write most depths."""
    header = struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, interlace)
    body = zlib.compress(b"".join(b"\0" + line for line in scanlines))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    framed = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _interlaced_png(image):
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    pixels = np.asarray(image)
    lines = [line.tobytes() for x, y, dx, dy in passes for line in pixels[y::dy, x::dx]]
    return _png(image.size, 8, 2, lines, interlace=1)


def _jpeg_segments(frame_marker, frame, tables, scan):
    def segment(marker, body):
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body

    parts = [segment(0xDB, b"\0" + b"\1" * 64), segment(frame_marker, frame), *(segment(0xC4, t) for t in tables)]
    return b"\xff\xd8" + b"".join(parts) + scan + b"\xff\xd9"


GRAY_FRAME = b"\x08\0\x08\0\x08\1\1\x11\0"
ARITHMETIC = _jpeg_segments(0xC9, GRAY_FRAME, (), b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(8))
ARITHMETIC_COLOUR = _jpeg_segments(
    0xC9,
    b"\x08\0\x08\0\x08\3\1\x11\0\2\x11\0\3\x11\0",
    (),
    b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" + bytes(8),
)
LOSSLESS = _jpeg_segments(
    0xC3, GRAY_FRAME, (b"\0\1" + bytes(15) + b"\0",), b"\xff\xda\0\x08\1\1\0\1\0\0" + bytes(8)
)  # every difference is 0


class TestPassThrough:
    """JPEGs that already are as stored images have to be."""

    @pytest.mark.parametrize("verify", Verify)
    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({}, id="baseline"),
            pytest.param({"progressive": True}, id="progressive"),
            pytest.param({"restart_marker_blocks": 2}, id="restart-markers"),
            pytest.param({"optimize": True}, id="optimised-tables"),
            pytest.param({"subsampling": 0}, id="4:4:4"),
            pytest.param({"subsampling": 1}, id="4:2:2"),
            pytest.param({"icc_profile": bytes(70_000)}, id="icc-in-two-segments"),
            pytest.param({"exif": Image.Exif()}, id="exif"),
            pytest.param({"comment": "said"}, id="comment"),
            pytest.param({"keep_rgb": True}, id="rgb-adobe-transform-0"),
        ],
    )
    def test_bytes_are_unchanged(self, make_photo, to_bytes, options, verify):
        """The same bytes object is stored, and TensorFlow decodes it as Pillow does."""
        data = to_bytes(make_photo(), **options)
        encoded = encode_image(data, ImagePolicy(verify=verify), annotated_size=SIZE)
        assert encoded.data is data
        assert (encoded.width, encoded.height, encoded.transforms, encoded.is_reencoded) == (*SIZE, (), False)
        assert (encoded.format, encoded.colorspace, encoded.channels) == ("JPEG", "RGB", 3)
        _assert_alike(encoded, Image.open(io.BytesIO(data)))

    def test_colour_space_by_component_ids(self, make_photo, to_bytes):
        """RGB that only the component ids show, without an Adobe segment, is RGB for TensorFlow too."""
        data = to_bytes(make_photo(), keep_rgb=True)
        adobe = data.index(b"\xff\xee")
        bare = data[:adobe] + data[adobe + 16 :]
        assert b"Adobe" not in bare
        encoded = encode_image(bare, POLICY)
        assert encoded.data == bare
        _assert_alike(encoded, Image.open(io.BytesIO(data)))

    def test_trailing_bytes_are_dropped(self, make_photo, to_bytes):
        """Bytes after the end marker are dropped, and counted."""
        data = to_bytes(make_photo())
        encoded = encode_image(data + b"\0\0garbage\xff\xd9", POLICY)
        assert (encoded.data, encoded.transforms) == (data, ("trailing_bytes_dropped",))

    def test_first_picture_of_mpo(self, make_photo, to_bytes):
        """Of a file with further pictures, as phones write it, the first is kept and decodes by itself."""
        data = to_bytes(make_photo(), "MPO", save_all=True, append_images=[make_photo(seed=2)])
        encoded = encode_image(data, POLICY)
        assert encoded.transforms == ("first_frame",)
        assert data.startswith(encoded.data)
        assert len(encoded.data) < len(data)
        _assert_alike(encoded, Image.open(io.BytesIO(data)))

    def test_structure_trusts_the_entropy_coded_data(self, make_photo, to_bytes):
        """`verify: structure` checks only markers; `decode` also finds a damaged Huffman table."""
        data = bytearray(to_bytes(make_photo()))
        data[data.index(b"\xff\xc4") + 5] = 200
        assert encode_image(bytes(data), ImagePolicy(verify=Verify.structure)).transforms == ()
        with pytest.raises(RecordError, match="libjpeg"):
            encode_image(bytes(data), POLICY)


class TestReencoded:
    """Everything else that can be read is re-encoded as a JPEG of three components."""

    @pytest.mark.parametrize(
        ("mode", "image_format", "options"),
        [
            pytest.param("L", "JPEG", {}, id="jpeg-gray"),
            pytest.param("L", "JPEG", {"progressive": True}, id="jpeg-gray-progressive"),
            pytest.param("CMYK", "JPEG", {}, id="jpeg-cmyk-adobe-inverted"),
            pytest.param("1", "PNG", {}, id="png-1"),
            pytest.param("L", "PNG", {}, id="png-gray"),
            pytest.param("LA", "PNG", {}, id="png-gray-alpha"),
            pytest.param("RGB", "PNG", {}, id="png-rgb"),
            pytest.param("P", "PNG", {"bits": 4}, id="png-palette-4"),
            pytest.param("P", "PNG", {}, id="png-palette-8"),
            pytest.param("RGBA", "PNG", {}, id="png-rgba"),
            pytest.param("RGB", "WEBP", {"lossless": True}, id="webp-lossless"),
            pytest.param("RGBA", "WEBP", {"lossless": True}, id="webp-alpha"),
            pytest.param("P", "GIF", {}, id="gif"),
            pytest.param("RGB", "TIFF", {}, id="tiff"),
            pytest.param("RGB", "TIFF", {"compression": "tiff_lzw"}, id="tiff-lzw"),
            pytest.param("CMYK", "TIFF", {}, id="tiff-cmyk"),
            pytest.param("RGB", "BMP", {}, id="bmp"),
            pytest.param("P", "BMP", {}, id="bmp-palette"),
            pytest.param("RGB", "PPM", {}, id="ppm"),
            pytest.param("RGB", "JPEG2000", {}, id="jpeg2000"),
            pytest.param("RGB", "AVIF", {"quality": 100}, id="avif"),
        ],
    )
    def test_pixels_are_those_that_pillow_shows(self, make_photo, to_bytes, mode, image_format, options):
        """Pixels are equal within the error of JPEG, and the size is unchanged."""
        if image_format not in Image.registered_extensions().values():
            pytest.skip(f"this Pillow has no {image_format}")
        data = to_bytes(make_photo().convert(mode), image_format, **options)
        encoded = encode_image(data, FINE, annotated_size=SIZE)
        assert encoded.is_reencoded
        assert (encoded.source_format, encoded.format) == (image_format, "JPEG")
        _assert_alike(encoded, Image.open(io.BytesIO(data)))

    @pytest.mark.parametrize("transform", [0, 2], ids=["cmyk", "ycck"])
    def test_four_components(self, make_photo, to_bytes, transform):
        """The Adobe segment distinguishes CMYK and YCCK, which are both stored inverted."""
        data = bytearray(to_bytes(make_photo().convert("CMYK")))
        data[data.index(b"Adobe") + 11] = transform
        _assert_alike(encode_image(bytes(data), FINE), Image.open(io.BytesIO(bytes(data))))

    def test_cmyk_without_adobe_segment(self, make_photo, to_bytes):
        """CMYK without an Adobe segment is read as inverted too, as by Pillow and browsers."""
        data = to_bytes(make_photo().convert("CMYK"))
        adobe = data.index(b"\xff\xee")
        bare = data[:adobe] + data[adobe + 16 :]
        _assert_alike(encode_image(bare, FINE), Image.open(io.BytesIO(data)))

    @pytest.mark.parametrize("data", [ARITHMETIC, LOSSLESS], ids=["arithmetic", "lossless"])
    def test_rare_codings(self, data):
        """JPEGs that TensorFlow may not decode are re-encoded if Pillow can, otherwise refused with their process."""
        try:
            expected = Image.frombytes("L", (8, 8), data, "jpeg", ("L", "", 1, 0))
        except ValueError:
            with pytest.raises(RecordError, match=r"cannot decode .* coding") as caught:
                encode_image(data, POLICY)
            assert caught.value.reason == "image_unsupported"
            return
        _assert_alike(encode_image(data, FINE), expected)

    @pytest.mark.parametrize("verify", Verify)
    def test_rare_codings_are_never_stored_unchanged(self, verify):
        """A colour JPEG that TensorFlow may not decode is not stored unchanged either."""
        try:
            encoded = encode_image(ARITHMETIC_COLOUR, ImagePolicy(verify=verify))
        except RecordError as error:
            assert error.reason == "image_unsupported"  # noqa: PT017 - a Pillow that cannot read it
            return
        assert encoded.is_reencoded
        assert encoded.data != ARITHMETIC_COLOUR

    def test_a_coding_that_pillow_cannot_read_is_unsupported(self, monkeypatch):
        """A JPEG that this build of Pillow cannot read is unsupported, not damaged."""

        def refuse(*_):
            raise ValueError("Arithmetic coding is not implemented")

        monkeypatch.setattr(Image, "frombytes", refuse)
        with pytest.raises(RecordError, match=r"^unsupported JPEG: Pillow cannot decode arithmetic coding$") as caught:
            encode_image(ARITHMETIC, POLICY)
        assert caught.value.reason == "image_unsupported"

    @pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
    @pytest.mark.parametrize("interlace", [0, 1])
    def test_gray_png_of_every_depth_spans_black_to_white(self, depth, interlace):
        """The darkest sample becomes 0 and the brightest 255: 16-bit samples are scaled, not clipped."""
        top = (1 << depth) - 1
        samples = [round(top * step / 15) for step in range(16)]
        bits = "".join(format(sample, f"0{depth}b") for sample in samples)
        line = int(bits, 2).to_bytes(len(bits) // 8, "big")
        if interlace:  # of an image of one row, Adam7 has the passes 1, 2, 4 and 6
            lines = [
                int("".join(format(s, f"0{depth}b") for s in samples[x::dx]).ljust(8, "0"), 2).to_bytes(
                    max(1, len(samples[x::dx]) * depth // 8), "big"
                )
                for x, dx in ((0, 8), (4, 8), (2, 4), (1, 2))
            ]
            data = _png((16, 1), depth, 0, lines, interlace=1)
        else:
            data = _png((16, 1), depth, 0, [line])
        shown = _shown(encode_image(data, FINE))[0, :, 0].astype(int)
        assert np.abs(shown - [sample * 255 / top for sample in samples]).max() <= 3

    @pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (4, 2), (6, 4)])
    def test_deep_colour_png_is_scaled(self, color_type, channels):
        """16-bit colour, and gray with alpha, become their high byte."""
        sample = {3: (0x1234, 0x8000, 0xF00D), 2: (0x8000, 0xFFFF), 4: (0x1234, 0x8000, 0xF00D, 0xFFFF)}[channels]
        data = _png((8, 8), 16, color_type, [struct.pack(f">{channels}H", *sample) * 8] * 8)
        expected = (0x80,) * 3 if channels == 2 else (0x12, 0x80, 0xF0)
        assert np.abs(_shown(encode_image(data, FINE))[4, 4].astype(int) - expected).max() <= 2

    @pytest.mark.parametrize("depth", [1, 2, 4, 8])
    def test_palette_png_of_every_depth(self, depth):
        """Palette indices of every depth are replaced by their colour."""
        palette = (b"PLTE", bytes((250, 10, 10, 10, 10, 250)))
        line = int(("0" * (depth - 1) + "1") * 8, 2).to_bytes(depth, "big")
        data = _png((8, 8), depth, 3, [line] * 8, chunks=[palette])
        assert np.abs(_shown(encode_image(data, FINE)).astype(int) - (10, 10, 250)).max() <= 3

    def test_interlaced_png(self, make_photo):
        """The passes of an interlaced PNG are combined."""
        _assert_alike(encode_image(_interlaced_png(make_photo()), FINE), make_photo())

    def test_16_bit_tiff_and_pgm_are_scaled(self, to_bytes):
        """16-bit TIFF and PGM are scaled, not clipped to white."""
        deep = Image.new("I;16", (8, 8), 0x4000)
        for data in (to_bytes(deep, "TIFF"), b"P5 8 8 65535\n" + b"\x40\0" * 64):
            assert np.abs(_shown(encode_image(data, FINE)).astype(int) - 0x40).max() <= 1

    def test_transparency_shows_the_background(self, to_bytes):
        """Alpha, transparent palette entries and transparent colours show the background."""
        clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
        palette = Image.new("P", (8, 8), 0)
        palette.putpalette(bytes((9, 9, 9)))
        sources = (
            to_bytes(clear, "PNG"),
            to_bytes(clear, "WEBP", lossless=True, exact=True),
            to_bytes(palette, "PNG", transparency=0),
            to_bytes(palette, "PNG", transparency=b"\0"),
            to_bytes(palette, "GIF", transparency=0),
            to_bytes(Image.new("RGB", (8, 8), (7, 8, 9)), "PNG", transparency=(7, 8, 9)),
            to_bytes(Image.new("L", (8, 8), 7), "PNG", transparency=7),
        )
        for data in sources:
            encoded = encode_image(data, ImagePolicy(background=[250, 100, 10]))
            assert encoded.transforms == ("alpha_flattened", "reencoded")
            assert np.abs(_shown(encoded).astype(int) - (250, 100, 10)).max() <= 2

    def test_half_transparent_pixels_are_mixed(self, to_bytes):
        """Half-transparent black over white becomes gray."""
        data = to_bytes(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")
        assert np.abs(_shown(encode_image(data, FINE)).astype(int) - 127).max() <= 1

    @pytest.mark.parametrize("image_format", ["GIF", "TIFF", "WEBP", "PNG"])
    def test_animations_give_their_first_frame(self, make_photo, to_bytes, image_format):
        """Of an animation the first frame is stored, with the transform `first_frame`."""
        frames = [make_photo(seed=seed) for seed in (1, 2, 3)]
        data = to_bytes(frames[0], image_format, save_all=True, append_images=frames[1:])
        encoded = encode_image(data, FINE)
        assert "first_frame" in encoded.transforms
        _assert_alike(encoded, Image.open(io.BytesIO(data)))

    def test_gif_with_a_damaged_second_frame(self, make_photo, to_bytes):
        """A GIF whose second frame is damaged gives its first frame."""
        frames = [make_photo(seed=seed).convert("P") for seed in (1, 2)]
        data = to_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
        encoded = encode_image(data[: len(data) * 3 // 4], FINE)
        assert "first_frame" in encoded.transforms
        _assert_alike(encoded, Image.open(io.BytesIO(data)))

    def test_metadata_of_the_original_is_dropped(self, make_photo, to_bytes):
        """A re-encoded JPEG has no comment, colour profile or EXIF of the original."""
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "Maker"
        data = to_bytes(make_photo(), exif=exif, comment=b"a comment", icc_profile=b"a profile")
        encoded = encode_image(data, POLICY)
        image = Image.open(io.BytesIO(encoded.data))
        assert not {"exif", "comment", "icc_profile"} & set(image.info)

    def test_quality_is_obeyed_and_colour_not_subsampled(self, make_photo, to_bytes):
        """`jpeg_quality` decides the size, and colour is not subsampled."""
        data = to_bytes(make_photo(), "PNG")
        small, large = (encode_image(data, ImagePolicy(jpeg_quality=quality)) for quality in (30, 95))
        assert len(small.data) < len(large.data)
        assert {layer[1:3] for layer in Image.open(io.BytesIO(large.data)).layer} == {(1, 1)}

    def test_equal_input_gives_equal_bytes(self, make_photo, to_bytes):
        """Encoding the same image again gives the same bytes."""
        data = to_bytes(make_photo().convert("P"), "GIF")
        assert encode_image(data, POLICY) == encode_image(data, POLICY)


class TestOrientation:
    """EXIF orientation is applied, unless the record has the size of the stored frame."""

    @staticmethod
    def _rotated(make_photo, to_bytes, value, size=SIZE, image_format="JPEG"):
        exif = Image.Exif()
        exif[0x0112] = value
        return to_bytes(make_photo(*size), image_format, exif=exif)

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("value", range(2, 9))
    def test_pixels_are_upright(self, make_photo, to_bytes, value, image_format):
        """Pixels, width and height are those that a viewer shows, and no orientation is left."""
        data = self._rotated(make_photo, to_bytes, value, image_format=image_format)
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
        encoded = encode_image(data, FINE)
        assert (encoded.width, encoded.height) == upright.size
        assert encoded.transforms[-1] == "reencoded"
        assert image_format == "TIFF" or encoded.transforms[:2] == ("rotated", "orientation_ambiguous")
        assert Image.open(io.BytesIO(encoded.data)).getexif().get(0x0112, 1) == 1
        _assert_alike(encoded, upright)

    @pytest.mark.parametrize(
        ("value", "size", "annotated", "transforms"),
        [
            pytest.param(1, SIZE, SIZE, (), id="upright"),
            pytest.param(6, SIZE, (48, 64), ("rotated", "reencoded"), id="upright-frame-annotated"),
            pytest.param(6, SIZE, SIZE, ("raw_frame_kept",), id="stored-frame-annotated"),
            pytest.param(3, SIZE, SIZE, ("rotated", "orientation_ambiguous", "reencoded"), id="rotation-by-180"),
            pytest.param(6, (48, 48), (48, 48), ("rotated", "orientation_ambiguous", "reencoded"), id="square"),
            pytest.param(6, SIZE, None, ("rotated", "orientation_ambiguous", "reencoded"), id="nothing-annotated"),
        ],
    )
    def test_the_annotated_size_decides(self, make_photo, to_bytes, value, size, annotated, transforms):
        """The stored frame is kept if the annotated size can only be that of the stored frame."""
        encoded = encode_image(self._rotated(make_photo, to_bytes, value, size), POLICY, annotated_size=annotated)
        assert encoded.transforms == transforms
        assert annotated in (None, (encoded.width, encoded.height))

    def test_a_kept_frame_is_marked_upright(self, make_photo, to_bytes):
        """Only the orientation in EXIF becomes 1, as some readers would rotate the pixels."""
        data = self._rotated(make_photo, to_bytes, 8)
        encoded = encode_image(data, POLICY, annotated_size=SIZE)
        assert sum(a != b for a, b in zip(data, encoded.data, strict=True)) == 1
        assert Image.open(io.BytesIO(encoded.data)).getexif()[0x0112] == 1
        _assert_alike(encoded, Image.open(io.BytesIO(data)))

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
    def test_another_size_is_a_failure(self, make_photo, to_bytes, image_format):
        """An image of neither size fails, as the annotations were made on another image."""
        data = self._rotated(make_photo, to_bytes, 6, image_format=image_format)
        with pytest.raises(RecordError, match=r"48 x 64 upright or 64 x 48 as stored.* says 100 x 50") as caught:
            encode_image(data, POLICY, annotated_size=(100, 50))
        assert caught.value.reason == "annotation_invalid"


def _huge_png(width, height):
    return _png((width, height), 8, 0, [b"\0"])


class TestRefused:
    """Images that are refused, with their reason."""

    @pytest.mark.parametrize(
        ("data", "reason", "message"),
        [
            pytest.param(b"", "image_empty", "0 bytes", id="zero-bytes"),
            pytest.param(b"<!DOCTYPE html>", "image_unknown_format", "<!DOCTYPE html>", id="html-error-page"),
            pytest.param(b"\xff\xd8", "image_unknown_format", "begins with", id="two-bytes"),
            pytest.param(b"%!PS-Adobe-3.0 EPSF", "image_unknown_format", "begins with", id="eps-runs-ghostscript"),
            pytest.param(bytes(99), "image_unknown_format", "begins with", id="zeros"),
            pytest.param(b"\x89PNG\r\n\x1a\n", "image_corrupt", "PNG", id="png-signature-only"),
            pytest.param(_huge_png(8, 8), "image_corrupt", "PNG", id="png-data-missing"),
            pytest.param(b"GIF89a\0\0", "image_corrupt", "GIF", id="gif-header-cut"),
            pytest.param(b"RIFF\0\0\0\0WEBPVP8 ", "image_corrupt", "WEBP", id="webp-header-cut"),
            pytest.param(_huge_png(60_000, 60_000), "image_too_large", "60000 x 60000", id="pixels"),
            pytest.param(_huge_png(70_000, 1), "image_too_large", "65500 a side", id="side"),
            pytest.param(
                ARITHMETIC.replace(b"\x08\0\x08\0\x08", b"\x0c\0\x08\0\x08"),
                "image_unsupported",
                "8 bits a sample, but got 12",
                id="12-bit",
            ),
            pytest.param(
                _png((8, 8), 16, 0, [bytes(16)] * 8, chunks=[(b"tRNS", b"\0\0")]),
                "image_unsupported",
                "transparent colour of 16 bits",
                id="deep-colour-key",
            ),
        ],
    )
    def test_reason_and_message(self, data, reason, message):
        """A refused image has a stable reason, and a message that says what was found."""
        with pytest.raises(RecordError, match=message) as caught:
            encode_image(data, POLICY)
        assert caught.value.reason == reason

    @pytest.mark.parametrize("mode", ["I", "F", "LAB"])
    def test_samples_of_unknown_range(self, to_bytes, mode):
        """32-bit and float samples are refused, as their range is unknown."""
        with pytest.raises(RecordError, match=f"kind {mode}") as caught:
            encode_image(to_bytes(Image.new(mode, (8, 8)), "TIFF"), POLICY)
        assert caught.value.reason == "image_unsupported"

    @pytest.mark.parametrize(("width", "height"), [(65_000, 65_000), (65_501, 8)])
    @pytest.mark.parametrize("verify", Verify)
    def test_huge_jpegs(self, make_photo, to_bytes, width, height, verify):
        """A JPEG that is too large is refused by its header, before pixels are allocated."""
        data = bytearray(to_bytes(make_photo()))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
        with pytest.raises(RecordError) as caught:
            encode_image(bytes(data), ImagePolicy(verify=verify))
        assert caught.value.reason == "image_too_large"

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
    def test_half_a_file(self, make_photo, to_bytes, image_format):
        """A truncated image of any format is corrupt."""
        data = to_bytes(make_photo(), image_format)
        with pytest.raises(RecordError) as caught:
            encode_image(data[: len(data) // 2], POLICY)
        assert caught.value.reason == "image_corrupt"

    @pytest.mark.parametrize("components", [2, 5])
    def test_unusual_component_counts(self, components):
        """JPEGs of two or five components are refused, as their colour space is unknown."""
        listed = b"".join(bytes([n + 1, 0x11, 0]) for n in range(components))
        # A scan has at most four components, so five need a second scan.
        scan = b"".join(
            b"\xff\xda"
            + struct.pack(">HB", 6 + 2 * len(ids), len(ids))
            + b"".join(bytes([n, 0]) for n in ids)
            + b"\0\x3f\0\0"
            for ids in (range(1, components), [components])
        )
        data = _jpeg_segments(0xC0, b"\x08\0\x08\0\x08" + bytes([components]) + listed, (), scan)
        with pytest.raises(RecordError, match=f"but got {components}"):
            encode_image(data, POLICY)


class TestSurroundings:
    """Global settings of Pillow, warnings, and threads."""

    def test_truncated_images_are_never_loaded(self, make_photo, to_bytes, monkeypatch):
        """Pillow's `LOAD_TRUNCATED_IMAGES` has no effect on JPEGs, and is an error for other formats."""
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        for options in ({}, {"quality": 1}):
            data = to_bytes(make_photo().convert("L"), **options)
            assert encode_image(data, POLICY).is_reencoded
            with pytest.raises(RecordError):
                encode_image(data[:-40], POLICY)
        with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES is on"):
            encode_image(to_bytes(make_photo(), "PNG"), POLICY)

    def test_warnings_of_pillow_are_suppressed(self, make_photo, to_bytes):
        """Warnings of Pillow about a file or its size are suppressed, also where warnings are recorded."""
        control = struct.pack(">II", 0, 0)
        strange = _png((8, 8), 8, 2, [bytes(24)] * 8, chunks=[(b"acTL", control)])
        with pytest.warns(UserWarning, match="Invalid APNG"):
            Image.open(io.BytesIO(strange)).load()
        large = _png((10_000, 9_000), 1, 0, [b"\0"])
        with pytest.warns(Image.DecompressionBombWarning):
            Image.open(io.BytesIO(large))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            encode_image(strange, POLICY)
            with pytest.raises(RecordError, match="truncated"):
                encode_image(large, POLICY)
        assert caught == []

    def test_many_threads_agree(self, make_photo, to_bytes):
        """Eight threads give the results of one, and do not change the warning filters."""
        formats = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP")
        sources = [to_bytes(make_photo(seed=seed), name) for seed in range(5) for name in formats]
        alone = [encode_image(data, POLICY) for data in sources]
        filters = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda data: encode_image(data, POLICY), sources * 4))
        assert together == alone * 4
        assert list(warnings.filters) == filters

    def test_listed_transforms_are_used(self):
        """Statistics count by these names, so every name in `TRANSFORMS` is used."""
        source = Path(encode.__file__).read_text() + Path(decode.__file__).read_text()
        assert all(source.count(f'"{name}"') >= 2 for name in TRANSFORMS)


@pytest.mark.parametrize("quality", [1, 50, 95, 100])
@pytest.mark.parametrize("size", [(1, 1), SIZE, (1500, 1000)])
def test_the_buffer_does_not_change_the_bytes(size, quality, monkeypatch):
    """Pillow writes the same bytes to a file in memory and to a Python buffer."""
    data = _png(size, 8, 2, [os.urandom(3 * size[0])] * size[1])
    policy = ImagePolicy(jpeg_quality=quality)
    encoded = encode_image(data, policy)
    monkeypatch.setattr(encode, "_open_buffer", io.BytesIO)
    assert encode_image(data, policy) == encoded


@pytest.mark.parametrize("is_there", [False, True])
def test_systems_without_files_in_memory_give_the_same_bytes(is_there, monkeypatch):
    """Without `memfd_create`, or in a sandbox that refuses it, a Python buffer is used."""

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    data = _png(SIZE, 8, 2, [os.urandom(3 * SIZE[0])] * SIZE[1])
    encoded = encode_image(data, POLICY)
    if is_there:
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    else:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    assert encode_image(data, POLICY) == encoded


@pytest.mark.skipif(sys.platform != "linux", reason="other systems write to a Python buffer")
@pytest.mark.parametrize("quality", [50, 95])
def test_a_partly_written_jpeg_is_an_error(quality):
    """If the kernel writes only a part, for example because of a limit on file sizes, an OutputError is raised."""
    program = f"""
import resource
from tfrec_stage.images.encode import ImagePolicy, encode_image
from tfrec_stage.errors import OutputError
data = bytes.fromhex("{_png((300, 200), 8, 2, [os.urandom(900)] * 200).hex()}")
for limit in (10, 1000, 10000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        encode_image(data, ImagePolicy(jpeg_quality={quality}))
    except OutputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=True)
    expected = "cannot encode 300 x 200 pixels as a JPEG: [Errno 27] File too large"
    assert done.stdout.splitlines() == [expected] * 3
