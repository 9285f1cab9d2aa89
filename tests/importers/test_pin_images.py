import hashlib
import os
import struct

import pytest
from PIL import ExifTags, Image

from tfrec_stage.images.policy import FORMATS, readable_formats
from tfrec_stage.importers import Problem
from tfrec_stage.importers.pin_images import ImageInfo, inspect_image, pin
from tfrec_stage.records import ImageRecord


def record(name="a.jpg", **fields):
    return ImageRecord(filename=name, id="1", **fields)


def test_a_record_gets_the_hash_and_the_size_of_its_image(draw, tmp_path):
    """A record without a size gets that of the image, and the SHA-256 of the file."""
    path = draw("a.jpg", (20, 10))
    pinned = pin(record(), tmp_path)
    assert (pinned.width, pinned.height) == (20, 10)
    assert pinned.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("stated", "pinned"),
    [
        ((None, None), (10, 20)),  # nothing stated: the upright frame
        ((10, 20), (10, 20)),  # annotated upright
        ((20, 10), (20, 10)),  # annotated on the stored frame: kept
    ],
)
def test_a_rotated_image_may_be_annotated_either_way(draw, tmp_path, stated, pinned):
    """A stated size may be that of the stored or of the upright frame, and is kept."""
    draw("a.jpg", (20, 10), orientation=6)
    result = pin(record(width=stated[0], height=stated[1]), tmp_path)
    assert (result.width, result.height) == pinned


@pytest.mark.parametrize("stated", [(20, 11), (10, 20)])
def test_another_size_is_a_problem(draw, tmp_path, stated):
    """A stated size of neither frame is a problem that names both sizes."""
    draw("a.jpg", (20, 10), orientation=3)
    problem = pin(record(width=stated[0], height=stated[1]), tmp_path)
    assert isinstance(problem, Problem)
    assert f"image 1 was annotated as {stated[0]}x{stated[1]} pixels, but the file has 20x10" in str(problem)


@pytest.mark.parametrize("fields", [{"filename": "b\udcff.jpg", "id": "1"}, {"filename": "b.jpg", "id": "1\udcff"}])
def test_a_name_that_is_not_utf8_is_a_problem(tmp_path, fields):
    """A name that is not UTF-8 is a problem."""
    problem = pin(ImageRecord(**fields), tmp_path)
    assert "expected a name in UTF-8" in str(problem)
    assert str(problem).encode()


def test_a_missing_image_leaves_the_record_unchanged(tmp_path):
    """A record whose file is missing stays unpinned, for the build to report."""
    before = record(width=20, height=10)
    assert pin(before, tmp_path) == before


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n" + bytes(9)])
def test_a_file_that_is_not_an_image_is_pinned_without_a_size(tmp_path, content):
    """A file that Pillow cannot read is pinned and keeps its stated size, for the build to report."""
    (tmp_path / "a.jpg").write_bytes(content)
    pinned = pin(record(width=20, height=10), tmp_path)
    assert (pinned.sha256, pinned.width) == (hashlib.sha256(content).hexdigest(), 20)


def test_a_named_pipe_does_not_block(tmp_path):
    """A named pipe is not read, which would block."""
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").mkdir()
    assert inspect_image(tmp_path / "a.jpg") == inspect_image(tmp_path / "b.jpg") == ImageInfo()


@pytest.mark.parametrize("name", ["a\0.jpg", "n" * 300, "dangling.jpg"])
def test_an_impossible_name_is_not_an_error(tmp_path, name):
    """An impossible file name, or a link to nothing, is treated as a missing file."""
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    assert inspect_image(tmp_path / name) == ImageInfo()


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpg"])
def test_every_format_gives_its_upright_size(draw, suffix):
    """The upright size includes the EXIF rotation, in each format that has one."""
    facts = inspect_image(draw(f"a.{suffix}", (20, 10), orientation=8))
    assert facts.upright == (10, 20)


def test_pixels_are_not_decoded(draw):
    """An image that is cut off after its header still gives its size."""
    path = draw("a.png", (200, 100))
    path.write_bytes(path.read_bytes()[:45])
    assert inspect_image(path).raw == (200, 100)


def test_a_size_beyond_the_limit_is_left_to_the_build(tmp_path):
    """An image beyond Pillow's pixel limit has no size, and no warning is emitted."""
    header = b"P6 100000 100000 255 "
    (tmp_path / "a.ppm").write_bytes(header)
    assert inspect_image(tmp_path / "a.ppm") == ImageInfo(hashlib.sha256(header).hexdigest())


def test_a_malformed_exif_block_is_not_an_error(tmp_path):
    """Malformed EXIF data never raises: the image has no size, or is upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif.tobytes()[:12])
    assert inspect_image(tmp_path / "a.jpg").upright in {None, (20, 10)}


HEADERS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 10\n%%EndComments\n%%EOF\n",
    "PSD": b"8BPS" + (1).to_bytes(2, "big") + bytes(6) + struct.pack(">HIIHH", 3, 10, 20, 8, 3) + bytes(14),
    "XBM": b"#define a_width 20\n#define a_height 10\nstatic char a_bits[] = {\n0x00};\n",
    "XPM": b'/* XPM */\nstatic char *a[] = {\n"20 10 1 1",\n"a c #000000",\n"' + b"a" * 20 + b'"};\n',
}
"""Images of 20 x 10 pixels in formats that Pillow knows and a build does not accept."""


@pytest.mark.parametrize("image_format", [*HEADERS, "ICO", "TGA", "SGI", "PCX", "DDS", "ICNS"])
def test_other_formats_are_never_opened(tmp_path, monkeypatch, image_format):
    """A file in a format that a build does not accept is pinned without a size, and its decoder is not started."""
    path = tmp_path / "a.jpg"
    if image_format in HEADERS:
        path.write_bytes(HEADERS[image_format])
    else:
        Image.new("RGB", (20, 10)).save(path, image_format)
    with Image.open(path) as image:  # without which the test would prove nothing
        assert image.format == image_format
    opened = []
    for name, (_, accept) in list(Image.OPEN.items()):
        if name not in readable_formats():
            monkeypatch.setitem(Image.OPEN, name, (lambda *_, name=name: opened.append(name), accept))
    pinned = pin(record(width=30, height=15), tmp_path)
    assert (pinned.width, pinned.height) == (30, 15)
    assert pinned.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert opened == []


def test_an_import_opens_what_a_build_accepts():
    """An import opens exactly the formats that a build accepts and Pillow supports."""
    assert readable_formats()[0] == "JPEG"
    assert {"PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM"} <= set(readable_formats()) <= {"JPEG", *FORMATS}


def test_a_format_that_pillow_lacks(monkeypatch, draw):
    """If Pillow lacks one of the formats, sizes in the others are still read."""
    Image.init()
    monkeypatch.delitem(Image.OPEN, "WEBP")
    readable_formats.cache_clear()
    try:
        assert inspect_image(draw("a.png", (20, 10))).raw == (20, 10)
        assert "WEBP" not in readable_formats()
    finally:
        readable_formats.cache_clear()
