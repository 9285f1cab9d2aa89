"""Images that are not in memory yet: what it gains to ask the disk for them ahead."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import PhotoSet, draw_photos
from benchmarks.race import Contestant, Race, run_race
from benchmarks.writers import build_shards, copy_bare
from tfrec_stage.build import shard_task
from tfrec_stage.images.policy import Verify

THREADS = 2
DROP = Path("/proc/sys/vm/drop_caches")


@pytest.fixture
def photos(scale: Scale, tmp_path: Path) -> PhotoSet:
    """JPEGs on a disk, not in memory as those of the other races."""
    return draw_photos(tmp_path / "photos", scale.photos)


def test_cold_build(
    benchmark: BenchmarkFixture, photos: PhotoSet, workdir: Path, scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Builds and copies of cold files, with and without asking ahead, beside the same of files in memory."""
    if scale.is_measured and not os.access(DROP, os.W_OK):
        pytest.skip("needs the right to empty the kernel's caches (root)")
    ahead = shard_task.read_ahead

    def as_they_come(records: Iterator, _: Path) -> Iterator:
        return records

    def build(out: Path, read: object, verify: Verify) -> int:
        monkeypatch.setattr(shard_task, "read_ahead", read)
        return build_shards(photos, out, THREADS, verify=verify)

    cold = partial(_forget, wanted=scale.is_measured)
    contestants = [Contestant("bare copy, cold", lambda out: copy_bare(photos, out, THREADS), prepare=cold)]
    for verify in Verify:
        name = f"`verify: {verify.name}`"
        contestants += [
            Contestant(f"build, {name}, cold", partial(build, read=ahead, verify=verify), prepare=cold),
            Contestant(f"the same without asking ahead, {name}", partial(build, read=as_they_come, verify=verify),
                       f"build, {name}, cold", prepare=cold),
            Contestant(f"build, {name}, in memory", partial(build, read=ahead, verify=verify), f"build, {name}, cold"),
            Contestant(f"the same without looking, {name}", partial(build, read=as_they_come, verify=verify),
                       f"build, {name}, in memory"),
        ]  # fmt: skip
    run_race(benchmark, Race("Files on a cold disk, two threads", contestants, workdir), scale.rounds)


def _forget(*, wanted: bool) -> None:
    if wanted:
        os.sync()
        DROP.write_text("3")
