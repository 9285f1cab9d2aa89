"""What can be wrong with shards, under names that stay, and where it was found."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

KINDS: Final[Mapping[str, str]] = {
    "length_crc": "the length of a record does not have its CRC32C; from there on the file cannot be read, unless the "
    "length is right after all",
    "payload_crc": "the content of a record does not have its CRC32C",
    "truncated": "the file ends inside a record",
    "trailing_bytes": "behind the last record that `index.json` knows there are bytes that are no record",
    "unreadable": "the file cannot be read: permission, an I/O error, damaged compression",
    "not_an_example": "TensorFlow cannot parse the record",
    "key_missing": "the record lacks a key, or its list has no kind",
    "kind_wrong": "a key has values of another kind than the schema's",
    "not_scalar": "a scalar key has no value, or several",
    "image_undecodable": "TensorFlow cannot decode the image as a JPEG",
    "image_size": "`image/height` or `image/width` is not that of the image",
    "image_format": "the image is not RGB in three channels, or the record does not say so",
    "image_digest": "`image/key/sha256` is not that of the image",
    "image_changed": "more images differ from the sha256 that the manifest pins than the build altered, or fewer",
    "manifest_mismatch": "the record is not what its record in the manifest becomes with the options in `index.json`: "
    "a label, a box or any other key has other values, or the manifest's record cannot be encoded",
    "lists_disagree": "lists of one record disagree in length, or with `image/object/count`",
    "copy_differs": "a key that repeats another one says something else",
    "value_invalid": "a number is not finite, or a label, visibility, count or area is out of its range, or text is "
    "not UTF-8",
    "out_of_range": "a coordinate or an area is outside [0, 1]",
    "box_reversed": "xmin > xmax or ymin > ymax, unless `annotations.degenerate_boxes: keep` stored it",
    "duplicate_id": "two records have one id",
    "record_missing": "the manifest has an id that is neither in the shards nor in `failures.jsonl`",
    "record_surplus": "the shards have an id that is not in the manifest, or is in `failures.jsonl`",
    "shard_missing": "a shard is not there",
    "shard_surplus": "a shard that `index.json` does not know, or whose number is too high",
    "shard_swapped": "a shard has the content that `index.json` gives to another one",
    "index_mismatch": "`index.json` gives other records, size or CRC32C than the file has: one of them was changed",
    "index_invalid": "`index.json` is no index, or contradicts itself or the names of files",
    "fingerprint_mismatch": "`index.json` has another fingerprint than manifest and options give: either was changed",
    "stats_mismatch": "`stats.json` or `classes.json` counts something else than the shards hold",
    "failures_mismatch": "`failures.jsonl` is not what `stats.json` counts, or names an id that the manifest lacks",
}
"""Every kind of fault and what it means, as the README's table gives it. Names are stable, for programs."""


class Fault(NamedTuple):
    """One thing that is wrong."""

    kind: str
    """One of `KINDS`."""
    file: str
    """Name of the file, from the directory of the shards."""
    record: int | None
    """Number of the record in its file, from 0; None where the file as a whole is meant."""
    offset: int | None
    """Where the record's frame begins, in bytes from the start of the (uncompressed) file."""
    message: str
    """What is wrong, for people."""

    def __str__(self) -> str:
        place = "" if self.record is None else f" record {self.record}"
        place += "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.file}{place}: {self.kind}: {self.message}"


class Place(NamedTuple):
    """Where a record is."""

    file: str
    """As in `Fault`."""
    record: int
    """Number of the record, from 0."""
    offset: int
    """Where its frame begins."""


def _order(fault: Fault) -> tuple[bool, str, int]:
    is_beside = fault.record is None and fault.kind not in _OF_FILES
    return is_beside, fault.file, -1 if fault.record is None else fault.record


_OF_FILES: Final = frozenset(
    {"unreadable", "shard_missing", "shard_surplus", "shard_swapped", "index_mismatch", "index_invalid"}
)
"""Faults of a file as a whole."""


class FaultLog:
    """Gathers faults: the first `limit` are kept, all are counted."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.by_kind: Counter[str] = Counter()
        self._kept: list[Fault] = []

    @property
    def total(self) -> int:
        """How many there are."""
        return self.by_kind.total()

    @property
    def kept(self) -> list[Fault]:
        """Those kept: of shards by file and record, then of what lies beside them, which may follow from those."""
        return sorted(self._kept, key=_order)

    def add(self, kind: str, place: Place | str, message: str) -> None:
        """Note a fault of a record, or of a file as a whole.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"expected one of {sorted(KINDS)}, but got the kind {kind!r}")
        self.by_kind[kind] += 1
        if len(self._kept) < self.limit:
            file, record, offset = place if isinstance(place, Place) else (place, None, None)
            self._kept.append(Fault(kind, file, record, offset, message))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "total": self.total,
            "by_kind": dict(sorted(self.by_kind.items())),
            "first": [fault._asdict() for fault in self.kept],
        }
