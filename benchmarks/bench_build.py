"""The whole job, beside a bare copy of the same bytes and the writers that a user would pick instead."""

from functools import partial
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import PhotoSet
from benchmarks.race import Contestant, Race, run_race
from benchmarks.writers import OTHERS, build_shards, copy_bare, decode_bare, is_installed, recode_bare
from tfrec_stage.engine import EngineName
from tfrec_stage.images.policy import Verify

THREADS = 2

pytestmark = pytest.mark.filterwarnings("ignore")  # what other writers warn of is not ours to mend


@pytest.mark.parametrize("name", OTHERS)
def test_other_writers_are_fair_contestants(name: str, photos: PhotoSet, tmp_path: Path) -> None:
    """Each handles every photo, and writes at least the bytes that it read."""
    module, package, write = OTHERS[name]
    if not is_installed(module):
        pytest.skip(f"needs the package {package}: pip install '.[bench]'")
    assert write(photos, tmp_path, THREADS) == len(photos)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert written >= sum(path.stat().st_size for path in photos.paths)


def test_jpeg_build(benchmark: BenchmarkFixture, photos: PhotoSet, workdir: Path, scale: Scale) -> None:
    """JPEGs that pass through: a build, on one thread and on two, against all others."""

    def contestant(name: str, work, threads: int, beside: str = "") -> Contestant:
        return Contestant(name, lambda out: work(photos, out, threads), beside, len(photos))

    structure = partial(build_shards, verify=Verify.structure)
    decode = partial(build_shards, verify=Verify.decode)
    processes = EngineName.processes
    contestants = [
        contestant("bare copy", copy_bare, 2),
        contestant("bare copy, one thread", copy_bare, 1),
        contestant("**build, `verify: structure`**", structure, 2),
        contestant("build, `verify: structure`, one thread", structure, 1, "**build, `verify: structure`**"),
        contestant("build, `verify: structure`, two processes", partial(structure, engine=processes), 2),
        contestant("bare Pillow decode", decode_bare, 2),
        contestant("bare Pillow decode, one thread", decode_bare, 1, "bare Pillow decode"),
        contestant("**build, `verify: decode`**", decode, 2, "bare Pillow decode"),
        contestant("build, `verify: decode`, one thread", decode, 1, "**build, `verify: decode`**"),
        contestant(
            "build, `verify: decode`, two processes", partial(decode, engine=processes), 2, "bare Pillow decode"
        ),
    ]
    contestants += [contestant(name, write, 2) for name, (module, _, write) in OTHERS.items() if is_installed(module)]
    absent = [name for name, (module, _, _) in OTHERS.items() if not is_installed(module)]
    title = f"{len(photos):,} JPEGs, {_mean_kb(photos):,.0f} KB each, two threads"
    run_race(benchmark, Race(title, contestants, workdir, absent), scale.rounds)


def test_png_build(benchmark: BenchmarkFixture, pngs: PhotoSet, workdir: Path, scale: Scale) -> None:
    """PNGs that become JPEGs: a build against Pillow's own decode and encode."""
    contestants = [
        Contestant("bare Pillow decode and encode", lambda out: recode_bare(pngs, out, THREADS)),
        Contestant("**build**", lambda out: build_shards(pngs, out, THREADS, verify=Verify.decode)),
    ]
    title = f"{len(pngs):,} PNGs, {_mean_kb(pngs):,.0f} KB each, two threads"
    run_race(benchmark, Race(title, contestants, workdir), scale.rounds)


def _mean_kb(photos: PhotoSet) -> float:
    return sum(path.stat().st_size for path in photos.paths) / len(photos) / 1000
