"""What it gains that glibc keeps the memory of written batches (`tfrecord.file_writer`)."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.fresh_build import FreshBuild
from benchmarks.photos import PhotoSet, draw_photos, draw_photos_of_many_sizes
from benchmarks.race import Contestant, Race, run_race

DRAW = [
    pytest.param(draw_photos, "110 KB", id="one size"),
    pytest.param(draw_photos_of_many_sizes, "30 to 400 KB", id="many sizes"),
]


@pytest.mark.parametrize(("draw", "size"), DRAW)
def test_keeping_freed_memory(benchmark: BenchmarkFixture, workdir: Path, scale: Scale, draw, size: str) -> None:
    """Whole builds, each in a process of its own: below glibc's limit of 128 KB all images take the same memory."""
    photos: PhotoSet = draw(workdir / f"memory {size}", 2 * scale.photos)
    default, keeping = FreshBuild(photos, keeps_freed_memory=False), FreshBuild(photos, keeps_freed_memory=True)
    contestants = [
        Contestant("glibc as it is", default.run, prepare=default.start),
        Contestant("**keeping freed memory**", keeping.run, prepare=keeping.start),
    ]
    title = f"{len(photos):,} JPEGs of {size}, `verify: structure`, two threads"
    run_race(benchmark, Race(title, contestants, workdir), scale.rounds)
    default.stop()
    keeping.stop()
