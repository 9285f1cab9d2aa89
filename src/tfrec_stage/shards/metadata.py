"""Shard metadata: enough to list, count and copy the records of a finished shard without reading it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec


class RecordEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record of a shard: where it is, and what it adds to the statistics.

    It is stored as a JSON array, without the names of its fields. A new field needs a default and has to be the last
    one, or the shards that earlier versions cached cannot be read.
    """

    key: str
    """Digest of everything that decides its bytes, 32 hexadecimal digits."""
    offset: int
    """Offset to read from, in bytes from the start of the file (see `FramePosition`)."""
    size_bytes: int
    """Length of its frame, not compressed."""
    image_bytes: int
    """Length of its image as stored."""
    boxes: int
    """Number of bounding boxes."""
    parts: int
    """Number of parts (keypoints)."""
    image_label: int | None
    """Class of the image; None if the record does not state one."""
    object_labels: list[int]
    """Class of each box."""
    transforms: tuple[str, ...]
    """What was done to the image, for example `reencoded`."""
    repaired: dict[str, int]
    """Number of annotations repaired, by kind of repair, for example `boxes_clipped`."""
    inflated_offset: int = 0
    """Offset of its frame in the inflated block, in bytes; 0 if the shard is not compressed."""
    duplicate_boxes: int = 0
    """Number of boxes that repeat an earlier one of the image."""
    image_key: str = ""
    """Digest of everything that decides the stored bytes of its image, 32 hexadecimal digits; empty if unknown."""
    image_offset: int = 0
    """Offset of its image in the frame, in bytes."""
    width: int = 0
    """Width of its image in pixels."""
    height: int = 0
    """Height of its image in pixels."""
    source_format: str = "JPEG"
    """Format of the original image file."""
    is_decoded: bool = False
    """Whether the pixels of its image were decoded, and not only its structure checked."""
    image_sha256: str = ""
    """SHA-256 of its image as encoded, 64 hexadecimal digits; empty if unknown: it is computed only for those images
    that differ from their files, and only if the records hold it."""


class FailedImage(msgspec.Struct, frozen=True, array_like=True, tag="failed", gc=False):
    """An image whose content cannot be stored, so that it is not decoded again. A line among the entries of a shard."""

    image_key: str
    """As in `RecordEntry`."""
    sha256: str
    """SHA-256 of the image file, 64 hexadecimal digits."""
    reason: str
    """One of `errors.REASONS`."""
    message: str
    """The explanation for people."""
    verify: str
    """Name of the `Verify` that found it."""
    pixel_codec: str
    """The library that read it, with its version: another one may be able to."""


class ShardMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """One finished shard."""

    fingerprint: str
    """Digest of everything that decides its bytes, 64 hexadecimal digits."""
    records: int
    """Number of records."""
    size_bytes: int
    """Length of the file."""
    crc32c: int
    """CRC32C of the file."""
    statistics: dict[str, Any]
    """Counts over its records, from `Statistics.as_dict`."""
    pixel_codec: str | None = None
    """The library that re-encoded images, with its version; None if no image was re-encoded."""
    compressor: str | None = None
    """The library that compressed the file, with its version; None if it is not compressed."""


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """The result of a task that wrote a shard."""

    number: int
    """Number of the shard, from 0."""
    path: Path
    """The file."""
    metadata: ShardMetadata
    """Its metadata."""
    entries: bytes = field(repr=False)
    """One `RecordEntry` or `FailedImage` per line, as JSON: the driver only passes them on to the cache."""
    failures_path: Path
    """File of the records that failed; absent if none did."""
    copied: int = 0
    """Number of records that were copied from earlier shards."""
    reused_images: int = 0
    """Number of further records whose image was copied from an earlier shard."""
    image_hashes: bytes = field(default=b"", repr=False)
    """Hashes of images that no record pins and that were not known before: one `ImageHash` per line, as JSON."""
