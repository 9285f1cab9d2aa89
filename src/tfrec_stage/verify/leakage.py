"""Find images and ids that are in two splits.

A test set that shares images with the training set measures memory, not learning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.records import ParsedRecord


@dataclass(frozen=True, slots=True)
class Overlap:
    """An id or an image that is in two splits."""

    what: Literal["id", "image"]
    """Whether the splits share an id, or an image by its sha256."""
    key: str
    """The id or the sha256."""
    first: str
    """The split that was read first."""
    second: str
    """The split that has it as well."""
    filename: str
    """File name of the image in the second split."""

    def __str__(self) -> str:
        key = f"sha256 {self.key}" if self.what == "image" else repr(self.key)
        return f"{self.what} in {self.first} and {self.second}: {self.filename} ({key})"


@dataclass(slots=True)
class SplitCheck:
    """The overlaps between the manifests of all splits."""

    records: int = 0
    """Number of records compared."""
    unpinned: int = 0
    """Number of records without a sha256, which are compared by id alone."""
    overlaps: list[Overlap] = field(default_factory=list)
    """The first overlaps, up to the limit."""
    count: int = 0
    """Number of all overlaps."""


def check_splits(manifests: Mapping[str, RecordSource], limit: int) -> SplitCheck:
    """Compare the ids and the pinned images of all splits.

    Images are not read: a record without `sha256` is compared by its id alone, and counted. Memory grows by about 100
    bytes per id and per image.

    Args:
        manifests: manifests by name of the split, in the order in which they are read.
        limit: how many overlaps to keep; all are counted.

    Raises:
        ManifestError: a manifest has malformed records.
    """
    check, seen = SplitCheck(), _Seen()
    for split, manifest in manifests.items():
        for _, record in manifest.scan():
            check.records += 1
            check.unpinned += record.sha256 is None
            for overlap in seen.find_overlaps(split, record):
                check.count += 1
                if len(check.overlaps) < limit:
                    check.overlaps.append(overlap)
    return check


class _Seen:
    """Hashes of the ids and images of each split."""

    def __init__(self) -> None:
        self._by_split: dict[str, set[bytes]] = {}

    def find_overlaps(self, split: str, record: ParsedRecord) -> Iterator[Overlap]:
        """Add a record, and iterate over its overlaps with earlier splits. Repetitions within a split are none."""
        for what, key in _keys(record):
            # Hashes are smaller than ids, and 16 bytes do not collide by chance. With `what`, an id that looks like a
            # sha256 differs from an image.
            key_hash = blake2b(f"{what} {key}".encode(), digest_size=16).digest()
            for earlier, hashes in self._by_split.items():
                if earlier != split and key_hash in hashes:
                    yield Overlap(what, key, earlier, split, record.filename)
            self._by_split.setdefault(split, set()).add(key_hash)


def _keys(record: ParsedRecord) -> Iterator[tuple[Literal["id", "image"], str]]:
    yield "id", str(record.id)
    if record.sha256 is not None:
        yield "image", record.sha256
