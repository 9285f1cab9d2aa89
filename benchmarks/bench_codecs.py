"""The parts of one image's path, alone on one thread; and the search for markers in whole builds."""

import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import PhotoSet, describe, encode_photo
from benchmarks.race import Contestant, Race, run_race
from benchmarks.writers import build_shards, flat_features, tensorflow_example
from tfrec_stage.images import jpeg as jpeg_module
from tfrec_stage.images.encode import EncodedImage, encode_image
from tfrec_stage.images.jpeg import _search_marker, parse_jpeg
from tfrec_stage.images.policy import ImagePolicy, Verify
from tfrec_stage.records import ImageRecord
from tfrec_stage.schema.encoder import ExampleEncoder
from tfrec_stage.schema.options import SchemaOptions
from tfrec_stage.tfrecord.file_writer import ShardWriter
from tfrec_stage.tfrecord.framing import decode_frames, encode_frame

FRAMES = 100


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    return encode_photo(0)


@pytest.fixture(scope="module")
def image(jpeg: bytes) -> EncodedImage:
    return encode_image(jpeg, ImagePolicy())


@pytest.fixture(scope="module")
def record() -> ImageRecord:
    return msgspec.convert({"filename": "0.jpg", "id": "0", **describe(0)}, ImageRecord)


_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_NO_MARKER = frozenset({0x00, *range(0xD0, 0xD8), 0xFF})


def _search_by_find(data: bytes, start: int) -> "re.Match[bytes] | None":
    """The same search with `bytes.find`, which stops at every 0xff."""
    while 0 <= (at := data.find(b"\xff", start)) < len(data) - 1:
        if data[at + 1] not in _NO_MARKER:
            return _MARKER.match(data, at)
        start = at + 1
    return None


SEARCHES: dict[str, Callable[[bytes, int], Any]] = {
    "re2": _search_marker,
    "re": _MARKER.search,
    "bytes.find": _search_by_find,
}


@pytest.mark.benchmark(group="end of a scan of 110 KB")
@pytest.mark.parametrize("search", SEARCHES)
def test_scan_end(benchmark: BenchmarkFixture, jpeg: bytes, search: str) -> None:
    """The first marker after the entropy-coded data, by RE2 and by the standard library."""
    start = jpeg.index(b"\xff\xda") + 2
    assert benchmark(SEARCHES[search], jpeg, start).start() == len(jpeg) - 2


@pytest.mark.parametrize("verify", Verify)
def test_marker_search_in_builds(
    benchmark: BenchmarkFixture, photos: PhotoSet, workdir: Path, scale: Scale, verify: Verify
) -> None:
    """A whole build on two threads with each search; the share of RE2 in what a user waits for."""

    def build(search: Callable[[bytes, int], Any], out: Path) -> int:
        with patch.object(jpeg_module, "_search_marker", search):
            return build_shards(photos, out, 2, verify=verify)

    # Measured against `re`, which would replace RE2.
    contestants = [Contestant(name, partial(build, search), "re") for name, search in SEARCHES.items()]
    title = f"Search for JPEG markers, `verify: {verify.value}`, {len(photos):,} JPEGs"
    run_race(benchmark, Race(title, contestants, workdir), scale.rounds)


@pytest.mark.benchmark(group="Example of one record")
def test_our_example(benchmark: BenchmarkFixture, record: ImageRecord, image: EncodedImage) -> None:
    """Record → wire bytes, the image uncopied."""
    head, data, tail = benchmark(ExampleEncoder(SchemaOptions()).encode, record, image)
    assert data is image.data
    assert len(head) + len(tail) > 700


@pytest.mark.benchmark(group="Example of one record")
def test_tensorflow_example(benchmark: BenchmarkFixture, record: ImageRecord, image: EncodedImage) -> None:
    """The same bytes by way of `tf.train.Example`."""
    pytest.importorskip("tensorflow")
    features = flat_features({"filename": "0.jpg", "id": "0", **describe(0)}, image.data, image.width, image.height)
    payload = benchmark(lambda: tensorflow_example(features).SerializeToString(deterministic=True))
    assert payload == b"".join(ExampleEncoder(SchemaOptions()).encode(record, image))


@pytest.mark.benchmark(group="frame of 110 KB")
def test_frame(benchmark: BenchmarkFixture, jpeg: bytes) -> None:
    """Payload → frame, both checksums included."""
    header, payload, footer = benchmark(encode_frame, jpeg)
    assert (len(header), payload, len(footer)) == (12, jpeg, 4)


@pytest.mark.benchmark(group=f"file of {FRAMES} frames of 110 KB")
def test_our_file(benchmark: BenchmarkFixture, jpeg: bytes, workdir: Path) -> None:
    """Frames → file, with its checksum."""

    def write() -> None:
        with ShardWriter(workdir / "frames") as file:
            for _ in range(FRAMES):
                file.append(encode_frame(b"", jpeg, b""), len(jpeg))
            file.finish()

    _write_files(benchmark, write, workdir / "frames")


@pytest.mark.benchmark(group=f"file of {FRAMES} frames of 110 KB")
def test_tensorflow_file(benchmark: BenchmarkFixture, jpeg: bytes, workdir: Path) -> None:
    """The same with `tf.io.TFRecordWriter`."""
    tf = pytest.importorskip("tensorflow")

    def write() -> None:
        with tf.io.TFRecordWriter(str(workdir / "frames")) as writer:
            for _ in range(FRAMES):
                writer.write(jpeg)

    _write_files(benchmark, write, workdir / "frames")


@pytest.mark.benchmark(group="proof of one JPEG of 110 KB")
def test_structure_walk(benchmark: BenchmarkFixture, jpeg: bytes) -> None:
    """Every marker to the end, nothing decoded."""
    assert benchmark(parse_jpeg, jpeg).end == len(jpeg)


@pytest.mark.benchmark(group="proof of one JPEG of 110 KB")
@pytest.mark.parametrize("verify", Verify)
def test_image(benchmark: BenchmarkFixture, jpeg: bytes, verify: Verify) -> None:
    """Pass-through, proved either way."""
    assert benchmark(encode_image, jpeg, ImagePolicy(verify=verify)).data == jpeg


@pytest.mark.benchmark(group="proof of one JPEG of 110 KB")
def test_pillow_decode(benchmark: BenchmarkFixture, jpeg: bytes, tmp_path: Path) -> None:
    """The bare decode that a proof is measured against."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg)

    def decode() -> tuple[int, int]:
        with Image.open(path) as opened:
            opened.load()
            return opened.size

    header = parse_jpeg(jpeg)
    assert benchmark(decode) == header.size


@pytest.mark.benchmark(group="proof of one JPEG of 110 KB")
def test_sha256(benchmark: BenchmarkFixture, jpeg: bytes) -> None:
    """The digest that pins an image, which every build takes."""
    assert len(benchmark(lambda: sha256(jpeg).digest())) == 32


def _write_files(benchmark: BenchmarkFixture, write, path: Path) -> None:
    def remove() -> None:
        path.unlink(missing_ok=True)

    benchmark.pedantic(write, setup=remove, rounds=20)
    with path.open("rb") as file:
        assert sum(1 for _ in decode_frames(file, "frames")) == FRAMES
    remove()
