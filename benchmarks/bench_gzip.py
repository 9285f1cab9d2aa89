"""Compressed shards in blocks, beside one plain gzip stream: size, time, and what an incremental build gains.

One stream is what `gzip` and TensorFlow write: everything is deflated, and each byte may refer to earlier ones.
"""

import gzip as standard_gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import PhotoSet, draw_photos
from benchmarks.race import Contestant, Race, run_race
from tfrec_stage.build.build import BuildReport, BuildRequest, build
from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions
from tfrec_stage.cache import frame_reader
from tfrec_stage.cache.reuse import EarlierRecords
from tfrec_stage.engine import EngineOptions
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.images.policy import Verify
from tfrec_stage.manifest import open_manifest
from tfrec_stage.records import ImageRecord
from tfrec_stage.schema.encoder import ExampleEncoder
from tfrec_stage.schema.options import SchemaOptions
from tfrec_stage.shards.reader import open_shard
from tfrec_stage.tfrecord import gzip
from tfrec_stage.tfrecord.file_writer import ShardWriter
from tfrec_stage.tfrecord.framing import encode_frame

SHARDS = 10
THREADS = 2
PIECE = 1 << 20
Frame = tuple[Sequence[bytes], int]
"""Pieces of a frame, and how many of its bytes are the image."""


@pytest.fixture(params=[True, False], ids=["with images", "without images"])
def stores_images(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_one_shard(
    benchmark: BenchmarkFixture, photos: PhotoSet, workdir: Path, scale: Scale, stores_images: bool
) -> None:
    """The records of all photos, framed beforehand, written to one file and read from it; sizes are in the names."""
    frames = list(_frames(photos, stores_images=stores_images))
    total = sum(len(piece) for frame, _ in frames for piece in frame)
    writers: dict[str, Callable[[Path], object]] = {
        "not compressed": lambda path: _write_shard(ShardWriter(path), frames),
        "**blocks**": lambda path: _write_shard(gzip.GzipShardWriter(path), frames),
        "one stream": lambda path: _write_stream(path, frames),
    }
    contestants = []
    for number, (name, write) in enumerate(writers.items()):
        path = workdir / f"written-{stores_images}-{number}"
        write(path)
        share = f"{path.stat().st_size / total:.2%} of the size"

        def write_again(out: Path, write: Callable[[Path], object] = write) -> int:
            write(out / "shard")
            return len(frames)

        def read(_: Path, path: Path = path) -> int:
            assert _read_all(path) == total
            return len(frames)

        contestants += [
            Contestant(f"{name}, {share}, written", write_again, "not compressed, 100.00% of the size, written"),
            Contestant(f"{name}, read", read, "not compressed, read"),
        ]
    title = f"{len(frames):,} records {'with' if stores_images else 'without'} images, {total / 1e6:,.1f} MB"
    run_race(benchmark, Race(title, contestants, workdir), scale.rounds)


@pytest.mark.parametrize("verify", list(Verify), ids=lambda verify: verify.name)
def test_building_again(
    benchmark: BenchmarkFixture, workdir: Path, scale: Scale, stores_images: bool, verify: Verify
) -> None:
    """One image of all changed: one shard is written again, from records that it copies or encodes."""
    stored = "with" if stores_images else "without"
    folder = workdir / f"gzip {stored} images, {verify.name}"
    photos = draw_photos(folder / "photos", scale.photos)  # of its own, as one of them changes
    ways = {
        "**blocks, records copied**": nullcontext,
        "blocks, records encoded again": _without_reuse,
        "one stream, records copied": _in_one_stream,
        "one stream, records encoded again": lambda: _both(_in_one_stream, _without_reuse),
    }
    options = EncodeOptions(verify=verify, store_images=stores_images, compression=Compression.gzip)
    contestants = []
    for number, (name, way) in enumerate(ways.items()):
        workspace = Workspace(photos, folder / str(number), options, way)
        workspace.build(workspace.directory / "out", workspace.directory / "store")
        contestants.append(Contestant(name, workspace.build_again, prepare=workspace.change_one_image))
    clean = Workspace(photos, folder / "clean", options, nullcontext)

    def build_clean(out: Path) -> int:
        return clean.build(out / "out", None).statistics.images

    contestants.append(Contestant("clean build", build_clean, prepare=clean.change_one_image))
    title = f"one of {len(photos):,} images changed, {SHARDS} gzip shards {stored} images, `verify: {verify.name}`"
    run_race(benchmark, Race(title, contestants, workdir), scale.rounds)


@dataclass
class Workspace:
    """Photos, the manifest of some of which changes, and one output directory with its store."""

    photos: PhotoSet
    directory: Path
    options: EncodeOptions
    way: Callable[[], object]
    changes: count = field(default_factory=count)

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.change_one_image()

    def change_one_image(self) -> None:
        """Give the first image other bytes, and pin them."""
        self.photos.change_first_image(next(self.changes))
        self.photos.write_manifest(self.directory / "manifest.jsonl")

    def build(self, output: Path, store: Path | None) -> BuildReport:
        request = BuildRequest(
            name="train",
            output_directory=output,
            num_shards=SHARDS,
            output_options=OutputOptions(self.options),
            images_root=self.photos.root,
            store_directory=store,
            engine=EngineOptions(THREADS),
        )
        with self.way():
            return build(open_manifest(self.directory / "manifest.jsonl"), request)

    def build_again(self, _: Path) -> int:
        report = self.build(self.directory / "out", self.directory / "store")
        assert len(report.built) == 1
        return report.statistics.images


@contextmanager
def _without_reuse() -> Iterator[None]:
    with patch.object(EarlierRecords, "find", lambda *_: None):
        yield


@contextmanager
def _in_one_stream() -> Iterator[None]:
    """Shards of one block, which has everything: a plain gzip stream, inflated from its start to the last record."""

    def never(*_: int) -> bool:
        return False

    with (
        patch.object(gzip, "BLOCK_BYTES", 1 << 62),
        patch.object(gzip, "has_own_block", never),
        patch.object(frame_reader, "has_own_block", never),
    ):
        yield


@contextmanager
def _both(*ways: Callable[[], object]) -> Iterator[None]:
    with ExitStack() as stack:
        for way in ways:
            stack.enter_context(way())
        yield


def _frames(photos: PhotoSet, *, stores_images: bool) -> Iterator[Frame]:
    encoder = ExampleEncoder(SchemaOptions(store_images=stores_images))
    for record, path in zip(photos.records, photos.paths, strict=True):
        payload = encoder.encode(msgspec.convert(record, ImageRecord), EncodedImage(path.read_bytes(), 500, 375))
        yield encode_frame(*payload), len(payload[1])


def _write_shard(file: ShardWriter, frames: Sequence[Frame]) -> None:
    with file:
        for frame, image_bytes in frames:
            file.append(frame, image_bytes)
        file.finish()


def _write_stream(path: Path, frames: Sequence[Frame]) -> None:
    """Write one plain gzip stream of the same level, joined a megabyte at a time."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    pending = bytearray()
    with path.open("wb") as file:
        for frame, _ in frames:
            for piece in frame:
                pending += piece
            if len(pending) >= PIECE:
                file.write(compressor.compress(pending))
                pending.clear()
        file.write(compressor.compress(pending) + compressor.flush())
    with standard_gzip.open(path) as stream:
        assert stream.read(1)


def _read_all(path: Path) -> int:
    with open_shard(path) as stream:
        return sum(map(len, iter(lambda: stream.read(PIECE), b"")))
