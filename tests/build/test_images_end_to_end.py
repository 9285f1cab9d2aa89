"""Every kind of image file that people have, through `create()`: what the shard holds, or why it fails.

Nearly all images here have one colour, so that what TensorFlow decodes can be checked without another decoder.
"""

import io
import json
import os
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image, ImageDraw

from tests.conftest import encode_noise
from tfrec_stage import create
from tfrec_stage.errors import REASONS
from tfrec_stage.manifest import open_manifest

COLOUR = (200, 100, 50)
SIZE = (40, 30)
SAME = "the same bytes"
FIRST = "the first picture's bytes"
ANEW = "encoded anew"
NOISE = encode_noise(1, 320, 240)  # of many bytes, for damage


def save(mode: str = "RGB", image_format: str = "JPEG", **options: Any) -> bytes:
    """Save an image file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, COLOUR).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def animate(image_format: str, mode: str = "RGB") -> bytes:
    """Return three frames, of which the first has the colour."""
    others = [Image.new("RGB", SIZE, other).convert(mode) for other in ("navy", "white")]
    return save(mode, image_format, save_all=True, append_images=others)


def save_clear(image_format: str, **options: Any) -> bytes:
    """Save an image that is fully transparent."""
    buffer = io.BytesIO()
    Image.new("RGBA", SIZE, (*COLOUR, 0)).save(buffer, image_format, **options)
    return buffer.getvalue()


def png(
    depth: int,
    color_type: int,
    sample: int,
    *,
    channels: int = 1,
    chunks: bytes = b"",
    side: int = 8,
    interlace: int = 0,
) -> bytes:
    """Return a square PNG whose samples are all equal, with data for at most 8 x 8 pixels."""
    line = int(format(sample, f"0{depth}b") * channels * 8, 2).to_bytes(depth * channels, "big")
    rows = (b"\0" + line[: max(1, depth * channels * side // 8)]) * min(side, 8)
    header = struct.pack(">IIBBBBB", side, side, depth, color_type, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def palette(*colours: tuple[int, int, int]) -> bytes:
    return chunk(b"PLTE", b"".join(map(bytes, colours)))


def patch(data: bytes, marker: bytes, at: int, new: bytes) -> bytes:
    """Replace bytes of a file at an offset behind the first occurrence of a marker."""
    start = data.index(marker) + at
    return data[:start] + new + data[start + len(new) :]


def flip_bits(data: bytes) -> bytes:
    """Flip one bit of every fiftieth byte of the second half."""
    flipped = bytearray(data)
    for at in range(len(data) // 2, len(data) - 2, 50):
        flipped[at] ^= 1 << at % 8
    return bytes(flipped)


@dataclass(frozen=True)
class Row:
    """One kind of file, and what should become of it."""

    name: str
    """Its name, which may lie."""
    content: bytes | Callable[[Path], object]
    """Its bytes, or what makes it."""
    outcome: str
    """SAME, FIRST, ANEW, or the reason of the failure."""
    shown: tuple[int, int, int] | None = COLOUR
    """The colour that TensorFlow shows; None: many."""


WHITE, BLACK, GRAY = (255,) * 3, (0,) * 3, (124,) * 3
EXIF = Image.Exif()
EXIF[0x010F] = "Maker"

ROWS = {
    # JPEG that needs no change
    "baseline": Row("a.jpg", save(), SAME),
    "progressive": Row("a.jpg", save(progressive=True), SAME),
    "restart markers": Row("a.jpg", save(restart_marker_blocks=1), SAME),
    "icc profile": Row("a.jpg", save(icc_profile=b"profile" * 9), SAME),
    "exif": Row("a.jpg", save(exif=EXIF), SAME),
    "comment": Row("a.jpg", save(comment=b"a comment"), SAME),
    "adobe segment, rgb": Row("a.jpg", save(keep_rgb=True), SAME),
    "subsampled": Row("a.jpg", save(subsampling=2), SAME),
    "jpeg named png": Row("a.png", save(), SAME),
    "jpeg without suffix": Row("a", save(), SAME),
    # JPEG that does
    "mpo": Row("a.jpg", animate("MPO"), FIRST),
    "trailing garbage": Row("a.jpg", save() + bytes(99) + b"garbage", FIRST),
    "gray": Row("a.jpg", save("L"), ANEW, GRAY),
    "cmyk, inverted by adobe": Row("a.jpg", save("CMYK"), ANEW),
    "ycck": Row("a.jpg", patch(save("CMYK"), b"Adobe", 11, b"\2"), ANEW, None),
    "12 bit": Row("a.jpg", patch(save(), b"\xff\xc0", 4, b"\x0c"), "image_unsupported"),
    "lossless": Row("a.jpg", patch(save(), b"\xff\xc0", 1, b"\xc3"), "image_unsupported"),
    "hierarchical": Row("a.jpg", patch(save(), b"\xff\xc0", 1, b"\xc5"), "image_unsupported"),
    # PNG of every colour type and depth
    **{f"gray png, {depth} bit": Row("a.png", png(depth, 0, 2**depth - 1), ANEW, WHITE) for depth in (1, 2, 4, 8, 16)},
    **{
        f"palette png, {depth} bit": Row("a.png", png(depth, 3, 1, chunks=palette(BLACK, COLOUR)), ANEW)
        for depth in (1, 2, 4, 8)
    },
    "gray png, 16 bit, is scaled": Row("a.png", png(16, 0, 0x7C00), ANEW, GRAY),
    "rgb png, 16 bit": Row("a.png", png(16, 2, 0x7C00, channels=3), ANEW, GRAY),
    "gray and alpha png, 16 bit": Row("a.png", png(16, 4, 0xFFFF, channels=2), ANEW, WHITE),
    "rgba png, 16 bit": Row("a.png", png(16, 6, 0xFFFF, channels=4), ANEW, WHITE),
    "rgb png": Row("a.png", save(image_format="PNG"), ANEW),
    "rgba png": Row("a.png", save("RGBA", "PNG"), ANEW),
    "gray and alpha png": Row("a.png", save("LA", "PNG"), ANEW, GRAY),
    "interlaced png": Row("a.png", png(8, 2, 124, channels=3, side=1, interlace=1), ANEW, GRAY),
    "palette png with transparency": Row(
        "a.png", png(8, 3, 1, chunks=palette(BLACK, COLOUR) + chunk(b"tRNS", b"\xff\0")), ANEW, WHITE
    ),
    "clear png": Row("a.png", save_clear("PNG"), ANEW, WHITE),
    "png named jpg": Row("a.jpg", save(image_format="PNG"), ANEW),
    "animated png": Row("a.png", animate("PNG"), ANEW),
    # Others
    "webp": Row("a.webp", save(image_format="WEBP", lossless=True), ANEW),
    "clear webp": Row("a.webp", save_clear("WEBP", lossless=True), ANEW, WHITE),
    "animated webp": Row("a.webp", animate("WEBP"), ANEW, None),
    "gif": Row("a.gif", save("P", "GIF"), ANEW, None),
    "animated gif": Row("a.gif", animate("GIF", "P"), ANEW, None),
    "tiff": Row("a.tif", save(image_format="TIFF"), ANEW),
    "tiff of several pages": Row("a.tif", animate("TIFF"), ANEW),
    "bmp": Row("a.bmp", save(image_format="BMP"), ANEW),
    "ppm": Row("a.ppm", save(image_format="PPM"), ANEW),
    "jpeg 2000": Row("a.jp2", save(image_format="JPEG2000"), ANEW),
    # Damage, and what is no image
    "zero bytes": Row("a.jpg", b"", "image_empty"),
    "html error page": Row("a.jpg", b"<!DOCTYPE html><title>404 Not Found</title>", "image_unknown_format"),
    "text": Row("a.jpg", b"version https://git-lfs.github.com/spec/v1\n", "image_unknown_format"),
    "video": Row("a.jpg", b"\0\0\0\x18ftypmp42" + bytes(99), "image_unknown_format"),
    "truncated": Row("a.jpg", NOISE[: len(NOISE) // 2], "image_corrupt"),
    "end marker missing": Row("a.jpg", NOISE[:-2], "image_corrupt"),
    "zero-filled tail": Row("a.jpg", NOISE[: len(NOISE) // 2].ljust(len(NOISE), b"\0"), "image_corrupt"),
    # No decoder objects to zeros before a whole end marker: they are codes, too.
    "zeros before the end marker": Row("a.jpg", NOISE[:4000] + bytes(4000) + NOISE[-2:], SAME, None),
    "flipped bits": Row("a.jpg", flip_bits(NOISE), "image_corrupt"),
    "random block": Row("a.jpg", NOISE[:2000] + random.Random(1).randbytes(2000) + NOISE[4000:], "image_corrupt"),
    "header alone": Row("a.jpg", NOISE[: NOISE.index(b"\xff\xda")], "image_corrupt"),
    "truncated png": Row("a.png", encode_noise(1, image_format="PNG")[:500], "image_corrupt"),
    "absurd jpeg": Row("a.jpg", patch(save(), b"\xff\xc0", 5, b"\xff\xff\xff\xff"), "image_too_large"),
    "absurd png": Row("a.png", png(8, 0, 0, side=60_000), "image_too_large"),
    # What is no regular file
    "missing": Row("a.jpg", lambda path: None, "image_missing"),
    "dangling link": Row("a.jpg", lambda path: path.symlink_to("gone.jpg"), "image_missing"),
    "link to an image": Row("a.jpg", lambda path: path.symlink_to("../baseline/a.jpg"), SAME),
    "directory": Row("a.jpg", Path.mkdir, "image_unreadable"),
    "named pipe": Row("a.jpg", os.mkfifo, "image_unreadable"),
    "device": Row("a.jpg", lambda path: path.symlink_to("/dev/zero"), "image_unreadable"),
    "link to itself": Row("a.jpg", lambda path: path.symlink_to("a.jpg"), "image_unreadable"),
    "name too long": Row("n" * 300, lambda path: None, "image_unreadable"),
    "name not utf-8": Row(os.fsdecode(b"caf\xe9.jpg"), save(), SAME),
    "missing, name not utf-8": Row(os.fsdecode(b"caf\xe9.jpg"), lambda path: None, "image_missing"),
}


@dataclass(frozen=True)
class Built:
    """What became of all rows in one build."""

    root: Path
    failed: dict[str, dict[str, Any]]
    examples: dict[str, dict[str, list]]
    statistics: dict[str, Any]


@pytest.fixture(scope="module")
def built(tf, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One dataset of all rows, a folder for each; four threads."""
    root = tmp_path_factory.mktemp("images")
    for kind, row in ROWS.items():
        (root / kind).mkdir()
        make = row.content if callable(row.content) else lambda path, row=row: path.write_bytes(row.content)
        make(root / kind / row.name)
    dataset = [{"filename": f"{kind}/{row.name}", "id": kind} for kind, row in ROWS.items()]
    failed = create(dataset, "train", root / "out", num_shards=2, num_threads=4, images_root=root)
    statistics = json.loads((root / "out" / "stats.json").read_text())
    return Built(root, {record["id"]: record for record in failed}, read_examples(tf, root / "out"), statistics)


def read_examples(tf, directory: Path) -> dict[str, dict[str, list]]:
    """Read every record by its id, parsed by TensorFlow."""
    examples = {}
    for raw in tf.data.TFRecordDataset(sorted(map(str, directory.glob("*-of-*")))).as_numpy_iterator():
        features = tf.train.Example.FromString(raw).features.feature
        values = {key: list(getattr(f, f.WhichOneof("kind")).value) for key, f in features.items()}
        examples[values["image/id"][0].decode()] = values
    return examples


@pytest.mark.parametrize("kind", [kind for kind, row in ROWS.items() if row.outcome not in REASONS])
def test_what_goes_in_shows_its_colour(tf, built: Built, kind: str) -> None:
    """The shard has the same bytes or a new JPEG; TensorFlow decodes it to the stated size and the right colour."""
    row, example = ROWS[kind], built.examples[kind]
    (data,) = example["image/encoded"]
    content = (built.root / kind / row.name).read_bytes()
    assert {SAME: data == content, FIRST: content.startswith(data) and data != content}.get(row.outcome, True)
    assert (data[:3] == b"\xff\xd8\xff", row.outcome == ANEW) == (True, not content.startswith(data))
    pixels = tf.io.decode_jpeg(data, channels=3).numpy().astype(int)
    assert pixels.shape == (example["image/height"][0], example["image/width"][0], 3)
    assert (example["image/format"], example["image/channels"]) == ([b"JPEG"], [3])
    assert row.shown is None or abs(pixels - row.shown).max() <= 4


@pytest.mark.parametrize("kind", [kind for kind, row in ROWS.items() if row.outcome in REASONS])
def test_what_cannot_go_in_comes_back_with_its_reason(built: Built, kind: str) -> None:
    """The record is returned as given, with a stable reason and a message; no shard has it."""
    row, failure = ROWS[kind], built.failed[kind]
    assert failure == {
        "filename": f"{kind}/{row.name}",
        "id": kind,
        "error_msg": failure["error_msg"],
        "reason": row.outcome,
    }
    assert failure["error_msg"].encode()
    assert kind not in built.examples


def test_every_file_is_accounted_for(built: Built) -> None:
    """Every file is in a shard or has failed, and the statistics count both."""
    assert built.failed.keys() | built.examples.keys() == ROWS.keys()
    by_reason = dict.fromkeys(sorted(REASONS), 0)
    for failure in built.failed.values():
        by_reason[failure["reason"]] += 1
    assert built.statistics["failures"] == {reason: count for reason, count in by_reason.items() if count}
    assert by_reason.keys() - built.statistics["failures"].keys() == {
        "image_changed",
        "annotation_invalid",
        "record_invalid",
    }


def test_what_was_done_is_counted(built: Built) -> None:
    """Dropped frames, dropped bytes, flattened transparency and re-encoding are counted."""
    anew = sum(row.outcome == ANEW for row in ROWS.values())
    assert built.statistics["notes"] == {
        "alpha_flattened": 7,
        "first_frame": 5,
        "reencoded": anew,
        "trailing_bytes_dropped": 1,
    }


def test_failures_are_a_manifest_whatever_their_names(built: Built) -> None:
    """failures.jsonl has every failure in the order of the dataset; names that are not UTF-8 are escaped."""
    records = [record for _, record in open_manifest(built.root / "out" / "failures.jsonl").scan()]
    assert [record.id for record in records] == [kind for kind, row in ROWS.items() if row.outcome in REASONS]
    assert [record.reason for record in records] == [row.outcome for row in ROWS.values() if row.outcome in REASONS]
    assert records[-1].filename == r"missing, name not utf-8/caf\udce9.jpg"


def test_a_name_that_is_not_utf8_is_stored_as_its_bytes(built: Built) -> None:
    """`image/filename` has the bytes of the name, so that readers find the file."""
    assert built.examples["name not utf-8"]["image/filename"] == [b"name not utf-8/caf\xe9.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A file without read permission is a failure; the build goes on."""
    path = tmp_path / "a.jpg"
    path.write_bytes(save())
    path.chmod(0)
    (failure,) = create([{"filename": str(path), "id": "a"}], "train", tmp_path / "out", 1, 1)
    assert failure["reason"] == "image_unreadable"


@pytest.mark.parametrize(
    ("record", "path"),
    [
        pytest.param({"id": "\udce9"}, "$.id", id="id"),
        pytest.param({"class": {"text": "\udce9"}}, "$.class.text", id="text"),
        pytest.param({"extra": {"note": "\udce9"}}, "image/extra", id="extra"),
        pytest.param({"extra": {"note": float("nan")}}, "image/extra", id="extra-nan"),
    ],
)
def test_values_that_no_record_can_hold(tmp_path: Path, record: dict[str, Any], path: str) -> None:
    """Text that is not UTF-8 or a number that is not finite fails only its record; failures.jsonl stays readable."""
    (tmp_path / "a.jpg").write_bytes(save())
    dataset = [{"filename": "a.jpg", "id": "a", **record}, {"filename": "a.jpg", "id": "b"}]
    (failure,) = create(dataset, "train", tmp_path / "out", 1, 1, images_root=tmp_path)
    assert failure["reason"] == "annotation_invalid"
    assert failure["error_msg"].startswith(path)
    assert len(list(open_manifest(tmp_path / "out" / "failures.jsonl").scan())) == 1


UPRIGHT = (60, 40)
"""Width and height of the upright image."""
BOX = (6, 4, 24, 36)
"""Left, top, right, bottom of what is drawn on it."""
STORE: Final = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""By the EXIF orientation: how the upright image comes to lie in its file."""


class TestOrientation:
    """EXIF orientations 1 to 8: boxes surround in the stored image what they surrounded in the original."""

    @pytest.mark.parametrize("suffix", ["jpg", "png"])
    @pytest.mark.parametrize("value", STORE)
    def test_boxes_are_on_the_upright_image(self, tf, tmp_path: Path, value: int, suffix: str) -> None:
        """By default annotations refer to the image as a viewer shows it."""
        turn = STORE[value]
        save_turned(tmp_path / f"a.{suffix}", drawing() if turn is None else drawing().transpose(turn), value)
        assert_box_holds(tf, tmp_path, {"filename": f"a.{suffix}"})

    @pytest.mark.parametrize("value", [5, 6, 7, 8])
    def test_boxes_are_on_the_stored_frame_that_the_record_names(self, tf, tmp_path: Path, value: int) -> None:
        """If the stated width and height can only be those of the stored frame, that frame is kept."""
        save_turned(tmp_path / "a.jpg", drawing(), value)
        assert_box_holds(tf, tmp_path, {"filename": "a.jpg", "width": UPRIGHT[0], "height": UPRIGHT[1]})


def drawing() -> Image.Image:
    """A white image with a box of the colour."""
    image = Image.new("RGB", UPRIGHT, "white")
    ImageDraw.Draw(image).rectangle((*BOX[:2], BOX[2] - 1, BOX[3] - 1), COLOUR)
    return image


def save_turned(path: Path, image: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, quality=95, subsampling=0)


def assert_box_holds(tf, root: Path, record: dict[str, Any]) -> None:
    """Build the record with the box and a keypoint in its centre; both are on the colour, and the rest is white."""
    (left, top, right, bottom), (width, height) = BOX, UPRIGHT
    boxes = {"xmin": [left / width], "xmax": [right / width], "ymin": [top / height], "ymax": [bottom / height]}
    parts = {"x": [(left + right) / 2 / width], "y": [(top + bottom) / 2 / height], "v": [2]}
    dataset = [{"id": "a", "object": {"bbox": boxes, "parts": parts}, **record}]
    assert create(dataset, "train", root / "out", 1, 1, images_root=root) == []
    example = read_examples(tf, root / "out")["a"]
    pixels = tf.io.decode_jpeg(example["image/encoded"][0], channels=3).numpy().astype(int)
    stored = (example["image/width"][0], example["image/height"][0])
    assert stored == (pixels.shape[1], pixels.shape[0]) == UPRIGHT
    x, y = (int(example[f"image/object/parts/{axis}"][0] * size) for axis, size in zip("xy", UPRIGHT, strict=True))
    assert abs(pixels[y, x] - COLOUR).max() < 8
    edges = (example[f"image/object/bbox/{edge}"][0] for edge in boxes)
    x0, x1, y0, y1 = (round(edge * size) for edge, size in zip(edges, (width, width, height, height), strict=True))
    assert abs(pixels[y0:y1, x0:x1] - COLOUR).mean() < 4
    pixels[y0:y1, x0:x1] = 255
    assert (255 - pixels).mean() < 4
