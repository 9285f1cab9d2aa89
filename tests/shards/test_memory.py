"""What is held of each record while a build is planned: little, for manifests of millions are planned in memory."""

import gc
import tracemalloc
from pathlib import Path

import msgspec

from tfrec_stage.manifest import open_manifest
from tfrec_stage.shards.catalogue import read_catalogue
from tfrec_stage.shards.draft import draft_shards
from tfrec_stage.shards.encoder import EncodeOptions, Identity
from tfrec_stage.shards.plan import make_plan

RECORDS_A_SHARD = 1000
BYTES_A_RECORD = 110
"""A key, a position and a hash are 48, in the catalogue and in the drafts; arrays that grow have room to spare. A set
of all hashes alone would be 90, a list of keys 73."""


def test_a_record_costs_few_bytes_until_its_shard_begins(tmp_path: Path) -> None:
    """The peak from the first line to the last draft grows by no more than this a record."""
    few, many = (_peak_of_planning(tmp_path, shards) for shards in (2, 22))
    assert (many - few) / (20 * RECORDS_A_SHARD) < BYTES_A_RECORD


def _peak_of_planning(folder: Path, num_shards: int) -> int:
    manifest = folder / f"{num_shards}.jsonl"
    lines = (msgspec.json.encode({"filename": f"{n}.jpg", "id": n}) for n in range(num_shards * RECORDS_A_SHARD))
    manifest.write_bytes(b"\n".join(lines))
    identity = Identity(EncodeOptions())
    gc.collect()
    tracemalloc.start()
    try:
        catalogue = read_catalogue(open_manifest(manifest), identity)
        plan = make_plan(catalogue.id_hashes, num_shards, identity.encode)
        drafts = list(draft_shards(catalogue, plan, catalogue.keys, None))
        assert sum(len(draft.positions) for draft in drafts) == num_shards * RECORDS_A_SHARD
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
