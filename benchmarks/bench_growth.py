"""How cost grows: with images, threads, shards and the size of images; every point beside a bare copy of its own."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import GROWTH, Scale
from benchmarks.photos import SIZE_BYTES, PhotoSet
from benchmarks.race import Contestant, Race, run_race
from benchmarks.writers import NUM_SHARDS, build_shards, copy_bare
from tfrec_stage.engine import EngineName
from tfrec_stage.images.policy import Verify

Draw = Callable[[int, int], PhotoSet]
THREADS = 2
SMALL_BYTES = 1000
ROUNDS = 3


@pytest.fixture(autouse=True)
def _only_when_wanted(scale: Scale) -> None:
    if scale.is_measured and not scale.is_growth_wanted:
        pytest.skip(f"takes many minutes: set {GROWTH}=1")


@pytest.fixture
def rounds(scale: Scale) -> int:
    return min(ROUNDS, scale.rounds)


def test_growth_with_images(benchmark: BenchmarkFixture, draw: Draw, workdir: Path, scale: Scale, rounds: int) -> None:
    """1,000 to 100,000 images of 1 KB."""
    counts = (1_000, 10_000, 100_000) if scale.is_measured else (1, 10)
    pairs = [pair for count in counts for pair in _pair(f"{count:,} images", draw(count, SMALL_BYTES))]
    run_race(benchmark, Race("Growth with images (1 KB each)", pairs, workdir), rounds)


def test_growth_with_threads(
    benchmark: BenchmarkFixture, photos: PhotoSet, workdir: Path, scale: Scale, rounds: int
) -> None:
    """1 to 8 threads."""
    counts = (1, 2, 4, 8) if scale.is_measured else (1, 3)
    pairs = [pair for count in counts for pair in _pair(f"{count} threads", photos, threads=count)]
    title = f"Growth with threads ({os.cpu_count()} processors, {len(photos):,} photos)"
    run_race(benchmark, Race(title, pairs, workdir), rounds)


def test_growth_with_processes(
    benchmark: BenchmarkFixture, draw: Draw, workdir: Path, scale: Scale, rounds: int
) -> None:
    """Two worker processes against two threads: what their start costs, and from how many images on it pays."""
    counts = (1_000, 10_000) if scale.is_measured else (2,)
    contestants = []
    for count in counts:
        photos = draw(count, SIZE_BYTES)
        threads = _build(f"{count:,} photos, threads", photos, beside=f"{count:,} photos, threads")
        processes = _build(f"{count:,} photos, processes", photos, beside=threads.name, engine=EngineName.processes)
        contestants += [threads, processes]
    run_race(benchmark, Race("Two processes beside two threads", contestants, workdir), rounds)


def test_growth_with_shards(
    benchmark: BenchmarkFixture, photos: PhotoSet, workdir: Path, scale: Scale, rounds: int
) -> None:
    """1 to 1,000 shards."""
    counts = (1, 2, 10, 100, 1000) if scale.is_measured else (1, 20)
    builds = [_build(f"{count:,} shards", photos, num_shards=count, beside="bare copy") for count in counts]
    copy = Contestant("bare copy", lambda out: copy_bare(photos, out, THREADS))
    run_race(benchmark, Race(f"Growth with shards ({len(photos):,} photos)", [copy, *builds], workdir), rounds)


def test_growth_with_size(benchmark: BenchmarkFixture, draw: Draw, workdir: Path, scale: Scale, rounds: int) -> None:
    """Images of 1 KB to 5 MB; of the large ones fewer."""
    points = {1_000: 2000, 10_000: 2000, 100_000: 1000, 1_000_000: 200, 5_000_000: 40}
    if not scale.is_measured:
        points = {1_000: 4, 20_000: 4}
    pairs = [pair for size, count in points.items() for pair in _pair(f"{size / 1000:,.0f} KB", draw(count, size))]
    run_race(benchmark, Race("Growth with the size of images", pairs, workdir), rounds)


def _pair(point: str, photos: PhotoSet, threads: int = THREADS) -> Iterator[Contestant]:
    """A bare copy and a build of the same images."""
    copy = f"{point}: bare copy"
    yield Contestant(copy, lambda out: copy_bare(photos, out, threads), copy, len(photos))
    yield _build(f"{point}: build", photos, threads=threads, beside=copy)


def _build(
    name: str,
    photos: PhotoSet,
    *,
    beside: str,
    threads: int = THREADS,
    num_shards: int = NUM_SHARDS,
    engine: EngineName = EngineName.threads,
) -> Contestant:
    run = partial(build_shards, photos, threads=threads, verify=Verify.structure, num_shards=num_shards, engine=engine)
    return Contestant(name, run, beside, len(photos))
