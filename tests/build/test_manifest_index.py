"""What a walk through a manifest leaves behind."""

from typing import Any

import pytest

from tfrec_stage.build import plan as module
from tfrec_stage.build.fingerprint import KeyMaker, split_keys
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.build.placement import hash64
from tfrec_stage.build.plan import ManifestIndex, read_manifest_index
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.record_list import RecordList


def read(*records: dict[str, Any]) -> ManifestIndex:
    return read_manifest_index(RecordList({"filename": "a.jpg", **record} for record in records), OutputOptions())


def test_every_record_has_its_place_in_each_column() -> None:
    """Positions, hashes of ids and keys in the manifest's order; numbers of those whose image is not known."""
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
    """In the order in which they are asked for."""
    found = ManifestIndex()
    found.positions.extend([10, 20, 30])
    assert list(found.positions_of([2, 0])) == [30, 10]


def test_names_of_parts_are_in_the_keys() -> None:
    """As `KeyMaker` has them."""
    source = RecordList([{"filename": "a.jpg", "id": "a"}])
    names = {1: ("nose",)}
    (_, record), *_ = source.scan()
    assert bytes(read_manifest_index(source, OutputOptions(), names).keys) == KeyMaker(OutputOptions(), names).key(
        record
    )


def test_an_id_that_stands_twice() -> None:
    """Each time it does is told, with where it stood first; a number and its digits are the same id."""
    with pytest.raises(ManifestError) as caught:
        read({"id": "a"}, {"id": 7}, {"id": "a"}, {"id": "7"}, {"id": "a"})
    assert str(caught.value).splitlines() == [
        "manifest: dataset[0] and dataset[2]: two records have the id 'a'; ids must be unique",
        "manifest: dataset[1] and dataset[3]: two records have the id '7'; ids must be unique",
        "manifest: dataset[0] and dataset[4]: two records have the id 'a'; ids must be unique",
    ]


def test_ids_that_share_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance two ids may: that is no fault."""
    monkeypatch.setattr(module, "hash64", lambda _: 2**64 - 1)
    assert len(read({"id": "a"}, {"id": "b"})) == 2


def test_a_manifest_is_walked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second walk is for telling which id stands twice, where one does."""
    walks, scan = [], RecordList.scan
    monkeypatch.setattr(RecordList, "scan", lambda source: walks.append(source) or scan(source))
    read(*({"id": number} for number in range(1000)))
    assert len(walks) == 1


def test_no_record_at_all() -> None:
    """Shards without records train nothing."""
    with pytest.raises(ManifestError, match="expected image records, but the manifest has none"):
        read()
