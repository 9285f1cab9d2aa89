"""An index of all records: id hash, image hash and location, in a few bytes per record; find duplicate ids in it."""

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
    """Columns over all records whose id could be read, in the order of the shards; 32 bytes per record.

    An entry is the position of a record in these columns. Ids themselves are not kept: `read_ids` reads the few that
    a finding needs.
    """

    files: Mapping[str, Path]
    """Paths of the shards by their names in findings."""
    id_hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    """`hash64` of each id."""
    image_hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    """The first 64 bits of each image's SHA-256; 0 if it was not computed."""
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

    def add(self, location: Location, image_id: bytes, image_hash: bytes | None = None) -> None:
        """Add one record."""
        self.id_hashes.append(hash64(image_id))
        self.image_hashes.append(short_hash(image_hash) if image_hash else 0)
        self._files.append(self._numbers[location.file])
        self._records.append(location.record)
        self._offsets.append(location.offset)

    def sort_key(self, location: Location) -> tuple[int, int]:
        """Return a key that sorts locations by shard, then by record."""
        return self._numbers[location.file], location.record

    def location(self, entry: int) -> Location:
        """Return the location of a record."""
        return Location(self._names[self._files[entry]], self._records[entry], self._offsets[entry])

    def read_ids(self, entries: Iterable[int]) -> dict[int, str]:
        """Return the ids of some records by entry. Their shards are opened again, each once."""
        ids: dict[int, str] = {}
        # Entries are in the order of the shards, so each shard is read forward only, as compressed ones have to be.
        for number, group in groupby(sorted(entries), key=self._files.__getitem__):
            file = self._names[number]
            with open_shard(self.files[file]) as stream:
                position = 0
                for entry in group:
                    skip(stream, self._offsets[entry] - position)
                    # Only the first frame is taken: the next one may be damaged.
                    (payload,) = (frame.payload for frame in islice(decode_frames(stream, file), 1))
                    position = self._offsets[entry] + HEADER.size + len(payload) + FOOTER.size
                    (image_id,) = decode_example(payload)["image/id"].values
                    assert isinstance(image_id, bytes)
                    ids[entry] = image_id.decode(errors="backslashreplace")
        return ids

    def ids(self) -> Hashes:
        """Return `hash64` of each id as an array."""
        return as_array(self.id_hashes)


def as_array(numbers: "array[int]") -> Hashes:
    """Return the same numbers without a copy."""
    return np.frombuffer(numbers, np.uint64)


def short_hash(sha256: bytes) -> int:
    """Return the first 64 bits of a SHA-256; never 0, which means that there is none."""
    return int.from_bytes(sha256[:8], "big") or 1


def check_duplicates(record_index: RecordIndex, findings: Findings) -> None:
    """Report every record that has the id of an earlier one."""
    pairs = sorted(_equal_hashes(record_index.ids()), key=lambda pair: pair[1])
    ids = record_index.read_ids({entry for pair in pairs for entry in pair})
    for first, duplicate in pairs:
        # Different ids may have the same hash, so the ids themselves decide.
        if ids[duplicate] == ids[first]:
            earlier = record_index.location(first)
            findings.add(
                "duplicate_id",
                record_index.location(duplicate),
                f"the id {ids[duplicate]!r} is also that of record {earlier.record} in {earlier.file}",
            )


def _equal_hashes(hashes: Hashes) -> Iterator[tuple[int, int]]:
    """Iterate over pairs of entries with equal hashes: the first entry with that hash, and a later one."""
    # A stable sort keeps equal hashes in the order of the shards.
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = 0
    for position in np.flatnonzero(ordered[1:] == ordered[:-1]).tolist():
        # Positions of the same hash follow each other; `first` moves on when another hash begins.
        first = first if ordered[first] == ordered[position] else position
        yield int(order[first]), int(order[position + 1])


def entries_of(record_index: RecordIndex, id_hashes: Iterable[int]) -> list[int]:
    """Return the entries of the records whose ids have these hashes, in the order of the shards."""
    return list(np.flatnonzero(np.isin(record_index.ids(), np.fromiter(id_hashes, np.uint64))).tolist())
