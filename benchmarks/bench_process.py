"""What a user waits for and pays for: start-up time and peak memory of `python -m tfrec_stage`, as whole processes."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import GROWTH, Scale
from benchmarks.photos import PhotoSet, describe, encode_photo
from benchmarks.process import Cost, python, run_process, run_to_end, run_to_first_byte
from benchmarks.race import Contestant, Race, run_race
from tfrec_stage.shards.metadata_files import INDEX_NAME

STAGE = python("-m", "tfrec_stage")
OWN_HELP_OFF = "import sys; sys.argv[1:] = ['--help']; from tfrec_stage.cli import main; sys.exit(main._run_job())"
COLLECTING = "import sys; from tfrec_stage.cli.main import run; sys.exit(run())"
"""The command line without what `__main__` does about garbage collection."""
Command = Callable[[Path], list[str]]


def test_start_up(benchmark: BenchmarkFixture, workdir: Path, scale: Scale, draw: Callable[..., PhotoSet]) -> None:
    """From the command to its end: the help, and the main job on one image, this one to its first byte too."""
    photo = draw(1, 110_000)

    def contestant(name: str, command: Command, run: Callable[[list[str], Path], None] = run_to_end) -> Contestant:
        def work(out: Path) -> int:
            run(command(out), out)
            return 1

        return Contestant(name, work)

    def build(out: Path) -> list[str]:
        return _build_command(photo.manifest, photo.root, out)

    contestants = [
        contestant("`python -c pass`", lambda _: python("-c", "pass")),
        contestant("`--help`", lambda _: [*STAGE, "--help"]),
        contestant("`--help` by Hydra's own template", lambda _: python("-c", OWN_HELP_OFF)),
        contestant("a build of one image, to the first byte of its shard", build, run_to_first_byte),
        contestant("a build of one image", build),
    ]
    run_race(benchmark, Race("Start to end of a process", contestants, workdir), scale.rounds)


def test_garbage_collection(
    benchmark: BenchmarkFixture, workdir: Path, scale: Scale, draw: Callable[..., PhotoSet]
) -> None:
    """A whole build with `structure`: garbage is not collected during imports, and what they made is frozen after."""
    photos = draw(scale.photos, 110_000)

    def contestant(name: str, command: list[str]) -> Contestant:
        def work(out: Path) -> int:
            arguments = _build_command(photos.manifest, photos.root, out)[len(STAGE) :]
            run_to_end([*command, *arguments, "encode.verify=structure"], out)
            return len(photos)

        return Contestant(name, work)

    contestants = [contestant("as it is", STAGE), contestant("collecting all the time", python("-c", COLLECTING))]
    run_race(benchmark, Race("Garbage collection", contestants, workdir), scale.rounds)


MANIFESTS = [
    pytest.param(1_000, id="1,000"),
    pytest.param(10_000, id="10,000"),
    pytest.param(100_000, id="100,000"),
    pytest.param(1_000_000, id="1,000,000"),
]


@pytest.mark.benchmark(group="peak memory by records")
@pytest.mark.parametrize("count", MANIFESTS)
def test_memory_by_records(benchmark: BenchmarkFixture, tmp_path: Path, scale: Scale, count: int) -> None:
    """The peak with JSON Lines of many records, all of one small image, 10,000 a shard."""
    if scale.is_measured and count > 10_000 and not scale.is_growth_wanted:
        pytest.skip(f"takes minutes: set {GROWTH}=1")
    count = count if scale.is_measured else max(1, count // 10_000)
    (tmp_path / "small.jpg").write_bytes(encode_photo(0, 1000))
    manifest = _write_manifest(tmp_path / "manifest.jsonl", count)
    cost = _measure_build(benchmark, manifest, tmp_path, tmp_path / "out", num_shards=max(1, count // 10_000))
    index = msgspec.json.decode((tmp_path / "out" / INDEX_NAME).read_bytes())
    assert index["records"] == count
    benchmark.extra_info["peak_mb"] = cost.peak_mb


@pytest.mark.benchmark(group="peak memory by photos")
@pytest.mark.parametrize("share", [0.1, 1.0], ids=["a tenth", "all"])
def test_memory_by_photos(
    benchmark: BenchmarkFixture, photos: PhotoSet, workdir: Path, tmp_path: Path, share: float
) -> None:
    """Photos of 110 KB: memory must not grow with their bytes either."""
    lines = photos.manifest.read_bytes().splitlines(keepends=True)
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_bytes(b"".join(lines[: max(1, int(len(lines) * share))]))
    cost = _measure_build(benchmark, manifest, photos.root, workdir / "memory")
    benchmark.extra_info["peak_mb"] = cost.peak_mb


def _measure_build(
    benchmark: BenchmarkFixture, manifest: Path, images_root: Path, out: Path, num_shards: int = 1
) -> Cost:
    command = _build_command(manifest, images_root, out, num_shards)
    return benchmark.pedantic(run_process, (command, manifest.parent), rounds=1)


def _build_command(manifest: Path, images_root: Path, out: Path, num_shards: int = 1) -> list[str]:
    options = {
        "manifest": manifest,
        "images_root": images_root,
        "output_dir": out / "shards" if out.is_dir() else out,
        "num_shards": num_shards,
        "num_threads": 2,
        "progress": "false",
        "store_dir": "null",
        "encode.verify": "structure",
    }
    return [
        *STAGE,
        *(f"{name}={os.fspath(value) if isinstance(value, Path) else value}" for name, value in options.items()),
    ]


def _write_manifest(path: Path, count: int) -> Path:
    # One description for all: what a record says decides its size, not how many different ones there are.
    description = describe(0)
    with path.open("wb") as file:
        for number in range(count):
            file.write(msgspec.json.encode({"filename": "small.jpg", "id": str(number), **description}) + b"\n")
    return path
