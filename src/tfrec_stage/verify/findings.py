"""Findings: what can be wrong with shards, under stable names, and where it was found."""

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
"""Every kind of finding and its meaning, as in the README's table. Programs rely on the names: they never change."""


class Finding(NamedTuple):
    """One thing that is wrong."""

    kind: str
    """One of `KINDS`."""
    file: str
    """Name of the file, relative to the directory of the shards."""
    record: int | None
    """Number of the record in its file, from 0; None if the finding is about the whole file."""
    offset: int | None
    """Offset of the record's frame in bytes from the start of the (uncompressed) file; None if there is no record."""
    message: str
    """What is wrong, for people."""

    def __str__(self) -> str:
        location = "" if self.record is None else f" record {self.record}"
        location += "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.file}{location}: {self.kind}: {self.message}"


class Location(NamedTuple):
    """Where a record is."""

    file: str
    """As in `Finding`."""
    record: int
    """Number of the record in its file, from 0."""
    offset: int
    """Offset of its frame in bytes from the start of the (uncompressed) file."""


_ABOUT_SHARDS: Final = frozenset(
    {"unreadable", "shard_missing", "shard_surplus", "shard_swapped", "index_mismatch", "index_invalid"}
)
"""Kinds of findings that name no record, but are sorted among those about shards."""


class Findings:
    """Collects findings: the first `limit` are kept, all are counted."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.by_kind: Counter[str] = Counter()
        """Number of findings by kind, including those that were not kept."""
        self._kept: list[Finding] = []

    @property
    def total(self) -> int:
        """Number of findings, including those that were not kept."""
        return self.by_kind.total()

    @property
    def kept(self) -> list[Finding]:
        """The kept findings: first those about shards, as those about metadata files may follow from them."""
        return sorted(self._kept, key=_sort_key)

    def add(self, kind: str, location: Location | str, message: str) -> None:
        """Add a finding about a record, or about a whole file given by its name.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"expected one of {sorted(KINDS)}, but got the kind {kind!r}")
        self.by_kind[kind] += 1
        if len(self._kept) < self.limit:
            file, record, offset = location if isinstance(location, Location) else (location, None, None)
            self._kept.append(Finding(kind, file, record, offset, message))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `first` has the kept findings."""
        return {
            "total": self.total,
            "by_kind": dict(sorted(self.by_kind.items())),
            "first": [finding._asdict() for finding in self.kept],
        }


def _sort_key(finding: Finding) -> tuple[bool, str, int]:
    is_about_metadata = finding.record is None and finding.kind not in _ABOUT_SHARDS
    return is_about_metadata, finding.file, -1 if finding.record is None else finding.record
