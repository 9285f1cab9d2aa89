"""The index of a manifest, and the plans of shards."""

from array import array
from typing import Any

import pytest

from tfrec_stage.build import plan as module
from tfrec_stage.build.fingerprint import KEY_SIZE, KeyMaker, shard_fingerprint, split_keys
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.build.placement import hash64, place_records
from tfrec_stage.build.plan import ManifestIndex, ShardPlan, plan_shards, read_manifest_index
from tfrec_stage.errors import ManifestError
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.manifest.record_list import RecordList

KEYS = [bytes([number]) * KEY_SIZE for number in range(4)]


def test_a_plan_has_its_records_in_the_order_of_writing() -> None:
    """Positions, keys and full keys belong to the same records; every record is in one plan."""
    source = RecordList({"filename": "a.jpg", "id": number} for number in range(20))
    index = read_manifest_index(source, OutputOptions())
    placement = place_records(index.id_hashes, 3, EncodeOptions())
    full = bytearray(bytes(byte ^ 255 for byte in index.keys))
    keys, full_keys = list(split_keys(bytes(index.keys))), list(split_keys(bytes(full)))
    plans = list(plan_shards(index, placement, full, "zlib 1"))
    assert [plan.number for plan in plans] == [0, 1, 2]
    assert sorted(position for plan in plans for position in plan.positions) == list(range(20))
    for plan, records in zip(plans, placement.shards, strict=True):
        assert list(plan.positions) == list(records)
        assert list(split_keys(plan.keys)) == [keys[record] for record in records]
        assert list(split_keys(plan.full_keys)) == [full_keys[record] for record in records]
        assert plan.compressor == "zlib 1"
    pinned = list(plan_shards(index, placement, index.keys, None))
    assert all(plan.full_keys is plan.keys for plan in pinned)
    assert len(pinned) == 3


def test_the_fingerprints_that_a_shard_may_have() -> None:
    """One if no image is re-encoded, and one if some are; both cover the keys with images."""
    plan = ShardPlan(0, array("Q", [0]), KEYS[0], KEYS[1], "zlib 1")
    assert plan.fingerprints == (
        shard_fingerprint(KEYS[1], None, "zlib 1"),
        shard_fingerprint(KEYS[1], pixel_codec(), "zlib 1"),
    )


def read(*records: dict[str, Any]) -> ManifestIndex:
    return read_manifest_index(RecordList({"filename": "a.jpg", **record} for record in records), OutputOptions())


def test_every_record_has_an_entry_in_each_column() -> None:
    """Positions, hashes of ids and keys in the manifest's order, and the numbers of unpinned records."""
    records = [{"id": 1}, {"id": "\udce9", "sha256": "0" * 64}, {"id": "x", "class": []}, {"id": "y"}]
    found = read(*records)
    maker = KeyMaker(OutputOptions())
    source = RecordList({"filename": "a.jpg", **record} for record in records)
    assert list(found.positions) == [0, 1, 2, 3]
    assert list(found.id_hashes) == [hash64(name) for name in (b"1", b"\xed\xb3\xa9", b"x", b"y")]
    assert list(split_keys(bytes(found.keys))) == [maker.key(record) for _, record in source.scan()]
    assert list(found.unpinned) == [0, 3]
    assert len(found) == 4


def test_positions_of_some() -> None:
    """Positions are returned in the order asked for."""
    found = ManifestIndex()
    found.positions.extend([10, 20, 30])
    assert list(found.positions_of([2, 0])) == [30, 10]


def test_keypoint_names_are_in_the_keys() -> None:
    """The same keys as those of `KeyMaker`."""
    source = RecordList([{"filename": "a.jpg", "id": "a"}])
    names = {1: ("nose",)}
    (_, record), *_ = source.scan()
    assert bytes(read_manifest_index(source, OutputOptions(), names).keys) == KeyMaker(OutputOptions(), names).key(
        record
    )


def test_duplicate_ids() -> None:
    """Every repetition is reported with the first occurrence; a number and its digits are the same id."""
    with pytest.raises(ManifestError) as caught:
        read({"id": "a"}, {"id": 7}, {"id": "a"}, {"id": "7"}, {"id": "a"})
    assert str(caught.value).splitlines() == [
        "manifest: dataset[0] and dataset[2]: two records have the id 'a'; ids must be unique",
        "manifest: dataset[1] and dataset[3]: two records have the id '7'; ids must be unique",
        "manifest: dataset[0] and dataset[4]: two records have the id 'a'; ids must be unique",
    ]


def test_ids_that_share_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Different ids with the same hash are accepted."""
    monkeypatch.setattr(module, "hash64", lambda _: 2**64 - 1)
    assert len(read({"id": "a"}, {"id": "b"})) == 2


def test_a_manifest_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again only to name duplicate ids."""
    scans, scan = [], RecordList.scan
    monkeypatch.setattr(RecordList, "scan", lambda source: scans.append(source) or scan(source))
    read(*({"id": number} for number in range(1000)))
    assert len(scans) == 1


def test_an_empty_manifest() -> None:
    """A manifest without records is refused."""
    with pytest.raises(ManifestError, match="expected image records, but the manifest has none"):
        read()
