"""What is remembered of every record: a few numbers, so that memory grows little with their number."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.build.placement import hash64
from tfrec_stage.shards.reader import open_shard
from tfrec_stage.tfrecord.example import decode_example
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, decode_frames
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.frames import skip

Hashes = NDArray[np.uint64]


@dataclass(slots=True)
class RecordIndex:
    """Columns over all records whose id could be read, in the order of the shards; 32 bytes per record."""

    files: Mapping[str, Path]
    """The shards, by what faults call them."""
    id_hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    """`hash64` of each id."""
    digests: "array[int]" = field(default_factory=lambda: array("Q"))
    """The first 64 bits of each image's SHA-256; 0 where it was not asked for."""
    _files: "array[int]" = field(default_factory=lambda: array("I"))
    _records: "array[int]" = field(default_factory=lambda: array("I"))
    _offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    _names: list[str] = field(init=False)
    _numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._names = list(self.files)
        self._numbers = {name: number for number, name in enumerate(self._names)}

    def __len__(self) -> int:
        return len(self.id_hashes)

    def add(self, place: Location, image_id: bytes, digest: bytes | None = None) -> None:
        """Add one record."""
        self.id_hashes.append(hash64(image_id))
        self.digests.append(short_digest(digest) if digest else 0)
        self._files.append(self._numbers[place.file])
        self._records.append(place.record)
        self._offsets.append(place.offset)

    def order(self, place: Location) -> tuple[int, int]:
        """Return a sort key: the order of shards, and of records in them."""
        return self._numbers[place.file], place.record

    def place(self, entry: int) -> Location:
        """Return the location of a record, by its index in the columns."""
        return Location(self._names[self._files[entry]], self._records[entry], self._offsets[entry])

    def read_ids(self, entries: Iterable[int]) -> dict[int, str]:
        """Read the ids of records by their indices; each shard is read once more, from front to end."""
        names: dict[int, str] = {}
        for number, group in groupby(sorted(entries), key=self._files.__getitem__):
            file = self._names[number]
            with open_shard(self.files[file]) as stream:
                at = 0
                for entry in group:
                    skip(stream, self._offsets[entry] - at)
                    (payload,) = (frame.payload for frame in islice(decode_frames(stream, file), 1))
                    at = self._offsets[entry] + HEADER.size + len(payload) + FOOTER.size
                    (name,) = decode_example(payload)["image/id"].values
                    assert isinstance(name, bytes)
                    names[entry] = name.decode(errors="backslashreplace")
        return names

    def ids(self) -> Hashes:
        """Return `hash64` of each id as an array."""
        return as_array(self.id_hashes)


def as_array(numbers: "array[int]") -> Hashes:
    """Return the same numbers without a copy."""
    return np.frombuffer(numbers, np.uint64)


def short_digest(digest: bytes) -> int:
    """Return the first 64 bits of a SHA-256; never 0, which means none."""
    return int.from_bytes(digest[:8], "big") or 1


def check_duplicates(index_of_records: RecordIndex, log: Findings) -> None:
    """Report every record that has the id of an earlier one."""
    pairs = sorted(_equal_hashes(index_of_records.ids()), key=lambda pair: pair[1])
    names = index_of_records.read_ids({entry for pair in pairs for entry in pair})
    for first, again in pairs:
        name = names[again]
        if name == names[first]:
            there = index_of_records.place(first)
            log.add(
                "duplicate_id",
                index_of_records.place(again),
                f"the id {name!r} is also that of record {there.record} in {there.file}",
            )


def _equal_hashes(hashes: Hashes) -> Iterator[tuple[int, int]]:
    """Iterate over records with the hash of an earlier one, with the first of these."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = 0
    for entry in np.flatnonzero(ordered[1:] == ordered[:-1]).tolist():
        first = first if ordered[first] == ordered[entry] else entry
        yield int(order[first]), int(order[entry + 1])


def entries_of(index_of_records: RecordIndex, wanted: Iterable[int]) -> list[int]:
    """Return the indices of the records whose ids have these hashes, in the order of the shards."""
    return list(np.flatnonzero(np.isin(index_of_records.ids(), np.fromiter(wanted, np.uint64))).tolist())
