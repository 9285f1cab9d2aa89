"""Entries of records, as the sidecars of cached shards hold them."""

import msgspec

from tfrec_stage.shards.metadata import RecordEntry

OLDEST = b'["0f",10,20,5,1,0,null,[3],["rotated"],{"boxes_clipped":1}]'


def test_entries_of_earlier_versions_are_read() -> None:
    """An entry is a JSON array; fields that an earlier version did not write have their defaults."""
    entry = msgspec.json.decode(OLDEST, type=RecordEntry)
    assert entry == RecordEntry("0f", 10, 20, 5, 1, 0, None, [3], ("rotated",), {"boxes_clipped": 1}, 0, 0)
    assert msgspec.json.encode(entry) == OLDEST[:-1] + b',0,0,"",0,0,0,"JPEG",false,""]'
