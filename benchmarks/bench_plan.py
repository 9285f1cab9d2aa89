"""What precedes the first byte: the manifest walked from end to end, then the plan."""

from array import array
from pathlib import Path

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Scale
from benchmarks.photos import describe
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.build.placement import PlacementOptions, hash64, place_records
from tfrec_stage.build.plan import read_manifest_index
from tfrec_stage.manifest import open_manifest
from tfrec_stage.manifest.record_list import RecordList

ROUNDS = 5


@pytest.fixture(params=[10_000, 100_000], ids=["10,000", "100,000"], scope="module")
def count(request: pytest.FixtureRequest, scale: Scale) -> int:
    """Number of records; a hundredth as a plain test."""
    return request.param if scale.is_measured else request.param // 100


@pytest.fixture(autouse=True)
def _group(benchmark: BenchmarkFixture, count: int) -> None:
    benchmark.group = f"from manifest to plan, {count:,} records"


@pytest.fixture(scope="module")
def records(count: int) -> list[dict]:
    """Detection records without pictures."""
    return [{"filename": f"{number}.jpg", "id": str(number), **describe(number)} for number in range(count)]


@pytest.fixture(scope="module")
def manifest(records: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as JSON Lines."""
    path = tmp_path_factory.mktemp("plan") / "manifest.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    return path


def test_manifest_scan(benchmark: BenchmarkFixture, manifest: Path, count: int) -> None:
    """JSON Lines → records."""
    scanned = benchmark.pedantic(lambda: sum(1 for _ in open_manifest(manifest).scan()), rounds=ROUNDS)
    assert scanned == count


def test_list_scan(benchmark: BenchmarkFixture, records: list[dict], count: int) -> None:
    """Dicts from Python → records."""
    assert benchmark.pedantic(lambda: sum(1 for _ in RecordList(records).scan()), rounds=ROUNDS) == count


def test_catalogue(benchmark: BenchmarkFixture, manifest: Path, count: int) -> None:
    """JSON Lines → positions, hashes and keys."""
    assert (
        len(benchmark.pedantic(lambda: read_manifest_index(open_manifest(manifest), OutputOptions()), rounds=ROUNDS))
        == count
    )


@pytest.mark.parametrize("num_shards", [10, 1000])
def test_plan(benchmark: BenchmarkFixture, count: int, num_shards: int) -> None:
    """Hashes → which record goes where, in which order."""
    hashes = array("Q", (hash64(b"%d" % number) for number in range(count)))
    plan = benchmark.pedantic(place_records, (hashes, num_shards, PlacementOptions()), rounds=ROUNDS)
    assert (len(plan), len(plan.shards)) == (count, num_shards)
