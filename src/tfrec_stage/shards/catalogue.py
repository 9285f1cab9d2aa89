"""What a walk through a manifest leaves behind: a few numbers a record, so that millions of records fit in memory."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.faults import Faults
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.records import ImageRecord
from tfrec_stage.shards.plan import hash64

DIGEST_SIZE: Final = 16

_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(slots=True)
class Catalogue:
    """Columns over all records, in the manifest's order."""

    positions: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where the source finds each record again."""
    id_hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    """`hash64` of each id."""
    digests: bytearray = field(default_factory=bytearray)
    """Digest of each record's content, `DIGEST_SIZE` bytes each."""

    def __len__(self) -> int:
        return len(self.positions)

    def positions_of(self, records: Iterable[int]) -> "array[int]":
        """Positions of records, given by their numbers."""
        return array("Q", (self.positions[record] for record in records))

    def digests_of(self, records: Iterable[int]) -> bytes:
        """Digests of the content of records, given by their numbers, one after the other."""
        starts = (record * DIGEST_SIZE for record in records)
        return b"".join(self.digests[start : start + DIGEST_SIZE] for start in starts)

    def add(self, position: int, record: ImageRecord) -> None:
        """Append one record."""
        self.positions.append(position)
        self.id_hashes.append(hash64(encode_id(record)))
        self.digests += record_digest(record)


def read_catalogue(source: RecordSource) -> Catalogue:
    """Walk through all records.

    Raises:
        ManifestError: a record has not the right shape, an id stands twice, or there is no record at all.
    """
    catalogue = Catalogue()
    for position, record in source.scan():
        catalogue.add(position, record)
    if not len(catalogue):
        raise ManifestError("expected image records, but the manifest has none: shards without records train nothing")
    _refuse_duplicates(source, catalogue)
    return catalogue


def record_digest(record: ImageRecord) -> bytes:
    """Digest of what a record says, however it was written: the order of keys, spaces and defaults do not matter."""
    if record.error_msg is not None or record.reason is not None:
        record = msgspec.structs.replace(record, error_msg=None, reason=None)
    return sha256(_content(record)).digest()[:DIGEST_SIZE]


def split_digests(digests: bytes) -> Iterator[bytes]:
    """Digests that stand one after the other, one by one."""
    return (digests[start : start + DIGEST_SIZE] for start in range(0, len(digests), DIGEST_SIZE))


def encode_id(record: ImageRecord) -> bytes:
    """The id as bytes; lone surrogates, which no file can hold, are kept apart rather than refused here."""
    return str(record.id).encode(errors="surrogatepass")


def _content(record: ImageRecord) -> bytes:
    try:
        return _encode(record)
    except UnicodeEncodeError:  # a lone surrogate: no JSON, but the record shall fail alone, where it is encoded
        return repr(record).encode(errors="backslashreplace")


def _refuse_duplicates(source: RecordSource, catalogue: Catalogue) -> None:
    hashes = catalogue.id_hashes
    if len(set(hashes)) == len(hashes):
        return
    faults = Faults("manifest")
    first_seen: dict[str, int] = {}
    for position, record in source.scan():
        name = str(record.id)
        if name in first_seen:
            places = f"{source.where(first_seen[name])} and {source.where(position)}"
            faults.add(places, [f"two records have the id {name!r}; ids must be unique"])
        first_seen.setdefault(name, position)
    faults.raise_if_any()
