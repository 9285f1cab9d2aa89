"""The memory that a build holds per record is small, since manifests have millions of records."""

import gc
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from PIL import Image

from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.build.placement import place_records
from tfrec_stage.build.plan import ShardPlan, plan_shards, read_manifest_index
from tfrec_stage.build.record_encoder import RecordEncoder
from tfrec_stage.build.shard_task import ShardTask, write_shard
from tfrec_stage.manifest import open_manifest
from tfrec_stage.manifest.source import RecordSource

T = TypeVar("T")
IDENTITY = OutputOptions(EncodeOptions())
FEW = 2000


@pytest.mark.parametrize(
    ("num_shards", "most"),
    [
        # 40 in the manifest_index, 8 in the plan and 24 in the drafts stay.
        pytest.param(22, 90, id="shards of 1,000"),
        # The records of one shard are sorted at once, which holds a number and a digest of each.
        pytest.param(1, 170, id="one shard"),
    ],
)
def test_planning_holds_few_bytes_of_a_record(tmp_path: Path, num_shards: int, most: int) -> None:
    """The peak from the first line to the last shard plan grows by no more than these bytes per record."""
    many = 11 * FEW
    small, large = (_manifest(tmp_path / f"{count}.jsonl", count) for count in (FEW, many))
    few_shards = max(1, num_shards // 11)
    (at_few, _), (at_many, _) = _peak(lambda: _draft(small, few_shards)), _peak(lambda: _draft(large, num_shards))
    assert (at_many - at_few) / (many - FEW) < most


def test_writing_holds_one_entry_of_a_record(tmp_path: Path) -> None:
    """The peak of writing a shard grows by one copy of each record's entry and little more."""
    Image.new("RGB", (8, 8)).save(tmp_path / "0.jpg")

    def task(count: int) -> ShardTask:
        source = _manifest(tmp_path / f"{count}.jsonl", count, filename="0.jpg")
        [draft] = _draft(source, 1)
        encoder = RecordEncoder(IDENTITY, tmp_path)
        paths = (tmp_path / "shard", tmp_path / "failures")
        return ShardTask(0, *paths, source, draft.positions, draft.keys, draft.full_keys, encoder)

    write_shard(task(1))  # what is made at the first use
    (few, small), (many, large) = (_peak(partial(write_shard, task(count))) for count in (200, 1200))
    assert many - few < 2 * (len(large.entries) - len(small.entries))


def _draft(source: RecordSource, num_shards: int) -> list[ShardPlan]:
    manifest_index = read_manifest_index(source, IDENTITY)
    plan = place_records(manifest_index.id_hashes, num_shards, IDENTITY.encode)
    return list(plan_shards(manifest_index, plan, manifest_index.keys, None))


def _manifest(path: Path, count: int, filename: str = "") -> RecordSource:
    records = ({"filename": filename or f"{number}.jpg", "id": number} for number in range(count))
    path.write_bytes(b"\n".join(map(msgspec.json.encode, records)))
    return open_manifest(path)


def _peak(work: Callable[[], T]) -> tuple[int, T]:
    """Return the most bytes that Python held at once during the work, and its result."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()
