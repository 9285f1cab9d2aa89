"""What is known of a finished shard, so that it need not be read to be counted, listed or copied from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


class RecordEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record of a shard: where it stands, and what it adds to the statistics."""

    key: str
    """Digest of everything that decides its bytes, 32 hexadecimal digits."""
    offset: int
    """Where its frame can be read from, in bytes from the start of the file."""
    size_bytes: int
    """Length of its frame."""
    image_bytes: int
    """Length of its image as stored."""
    boxes: int
    """Bounding boxes."""
    parts: int
    """Parts."""
    image_label: int | None
    """Class of the image, where the record states one."""
    object_labels: list[int]
    """Class of each box."""
    notes: tuple[str, ...]
    """What was done to the image."""
    mended: dict[str, int]
    """What was done to the annotations."""
    inflated_offset: int = 0
    """Bytes to skip of what can be inflated there, where the shard is compressed."""
    duplicate_boxes: int = 0
    """Boxes that repeat an earlier one of the image."""


class ShardMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """One shard."""

    fingerprint: str
    """Digest of everything that decides its bytes, 64 hexadecimal digits."""
    records: int
    """Number of records."""
    size_bytes: int
    """Length of the file."""
    crc32c: int
    """CRC32C of the file."""
    statistics: dict[str, Any]
    """What was counted over its records; see `statistics.Statistics`."""
    pixel_codec: str | None = None
    """What encoded pixels anew, where anything did; other versions give other bytes."""
    compressor: str | None = None
    """What compressed the file, where anything did; as before."""


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """What became of one task."""

    number: int
    """Number of the shard."""
    path: Path
    """The file."""
    metadata: ShardMetadata
    """What it is."""
    entries: bytes = field(repr=False)
    """A `RecordEntry` a line, as JSON."""
    failures_path: Path
    """File of the records that failed; absent if none did."""
    copied: int
    """Records that were copied from an earlier version."""
