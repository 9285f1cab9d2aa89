"""Write one shard: records → a TFRecord file, and the metadata of what was written.

This is the unit of work of every engine. A task says where to read, and its result is small; no record travels between
processes. A record whose key is in an earlier shard is copied from there; the others are encoded.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec

from tfrec_stage.build.failures import FailedRecord, Failure, FailureWriter
from tfrec_stage.build.fingerprint import (
    KeyMaker,
    compressor_version,
    has_image,
    key_of_failure,
    key_with_image,
    shard_fingerprint,
    split_keys,
)
from tfrec_stage.build.options import Compression
from tfrec_stage.build.record_encoder import EncodedRecord, RecordEncoder
from tfrec_stage.cache.reuse import PreviousRecords, ReusedRecord
from tfrec_stage.cache.shard_cache import CachedShard
from tfrec_stage.engine import OrderedMap
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.images.file import read_ahead
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ImageClass, ParsedRecord
from tfrec_stage.shards.metadata import RecordEntry, ShardMetadata, WrittenShard
from tfrec_stage.shards.statistics import Statistics
from tfrec_stage.tfrecord.file_writer import FramePosition, ShardWriter, WrittenFile
from tfrec_stage.tfrecord.framing import encode_frame
from tfrec_stage.tfrecord.gzip import GzipShardWriter

_NO_CLASS = ImageClass()
_encode_entry = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Everything needed to write one shard."""

    number: int
    """Number of the shard, from 0."""
    path: Path
    """The file to write."""
    failures_path: Path
    """File for the records that fail; written only if one does."""
    source: RecordReader = field(repr=False)
    """The records."""
    positions: "array[int]" = field(repr=False)
    """Positions of the shard's records, in the order of writing."""
    keys: bytes = field(repr=False)
    """Their keys in the manifest index, concatenated in the same order."""
    full_keys: bytes = field(repr=False)
    """The same, except that the keys of unpinned records cover their images where those are known."""
    encoder: RecordEncoder = field(repr=False)
    """Encodes each record as an Example."""
    previous: tuple[CachedShard, ...] = ()
    """Earlier shards that may hold some of the records."""

    def __str__(self) -> str:
        """Return the name of the shard, for messages."""
        return self.path.name


def write_shard(task: ShardTask, ordered_map: OrderedMap = map) -> WrittenShard:
    """Encode or copy the records of a task and write them in their order.

    Args:
        task: what to write.
        ordered_map: `map`, or a parallel one that gives results in the same order.

    Raises:
        OutputError: a file cannot be written.
        ManifestError: the manifest changed since the keys were made.
    """
    for path in (task.path, task.failures_path):
        path.unlink(missing_ok=True)  # left by a worker process that died during this task
    compression = task.encoder.output_options.encode.compression
    with (
        PreviousRecords(task.previous) as previous,
        _create_file(task.path, compression) as file,
        FailureWriter(task.failures_path) as failures,
    ):
        metadata = _MetadataBuilder()
        records = _RecordSupply(task, previous)
        results = ordered_map(records.encode_or_copy, records)
        for position, key, result in zip(task.positions, split_keys(task.keys), results, strict=True):
            if isinstance(result, FailedRecord):
                failures.add(Failure(position, key.hex(), *result))
                metadata.add_failure(key, result)
            else:
                metadata.add(_append(file, key, result), is_copied=isinstance(result, ReusedRecord))
        return metadata.build(task, file.finish())


class _Item(NamedTuple):
    record: ParsedRecord | None
    """The record to encode; None if an earlier shard has it."""
    position: int
    key: bytes
    full_key: bytes

    @property
    def is_cheap(self) -> bool:
        """Whether to process it in the same thread (see `OrderedMap`): copying takes less than waking another one."""
        return self.record is None


class _RecordSupply:
    """The records of a task in their order, and what is done with each; `encode_or_copy` runs in any thread."""

    def __init__(self, task: ShardTask, previous: PreviousRecords) -> None:
        self._task = task
        self._previous = previous
        self._keys = KeyMaker(task.encoder.output_options, task.encoder.keypoint_names)

    def __iter__(self) -> Iterator[_Item]:
        # Only records to encode are read from the manifest, as one stream in the order of writing.
        positions = array("Q", (position for position, _, full_key in self._planned() if self._is_new(full_key)))
        keys = (key for _, key, full_key in self._planned() if self._is_new(full_key))
        records = self._keys.read(self._task.source, positions, keys)
        new_records = read_ahead(records, self._task.encoder.images_root)
        for position, key, full_key in self._planned():
            yield _Item(next(new_records) if self._is_new(full_key) else None, position, key, full_key)

    def encode_or_copy(self, item: _Item) -> EncodedRecord | ReusedRecord | FailedRecord:
        """Copy a record from an earlier shard, or encode it."""
        if item.record is None:
            reused = self._previous.read(item.full_key)
            if reused is not None:
                return reused
        return self._task.encoder(item.record or self._read_again(item))

    def _is_new(self, full_key: bytes) -> bool:
        return full_key not in self._previous

    def _planned(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Iterate over position, key and full key of each record."""
        task = self._task
        return zip(task.positions, split_keys(task.keys), split_keys(task.full_keys), strict=True)

    def _read_again(self, item: _Item) -> ParsedRecord:
        """Read a record that was to be copied, but turned out to be damaged in the earlier shard."""
        return next(self._keys.read(self._task.source, [item.position], [item.key]))


class _MetadataBuilder:
    """Collects the metadata of a shard while its records are written."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._entries = BytesIO()
        self._statistics = Statistics()
        self._copied = 0

    def add(self, entry: RecordEntry, *, is_copied: bool) -> None:
        self._keys += bytes.fromhex(entry.key)
        self._entries.write(_encode_entry(entry) + b"\n")
        self._statistics.add(entry)
        self._copied += is_copied

    def add_failure(self, key: bytes, failed: FailedRecord) -> None:
        self._keys += key_of_failure(key)
        self._statistics.add_failure(failed.reason)

    def build(self, task: ShardTask, file: WrittenFile) -> WrittenShard:
        codec = pixel_codec() if self._statistics.transforms["reencoded"] else None
        compressor = compressor_version(task.encoder.output_options.encode.compression)
        metadata = ShardMetadata(
            fingerprint=shard_fingerprint(bytes(self._keys), codec, compressor),
            records=file.records,
            size_bytes=file.size_bytes,
            crc32c=file.crc32c,
            statistics=self._statistics.as_dict(),
            pixel_codec=codec,
            compressor=compressor,
        )
        # getvalue() of a BytesIO shares its buffer; a bytearray would have to be copied.
        entries = self._entries.getvalue()
        return WrittenShard(task.number, task.path, metadata, entries, task.failures_path, self._copied)


def _create_file(path: Path, compression: Compression) -> ShardWriter:
    return GzipShardWriter(path) if compression is Compression.gzip else ShardWriter(path)


def _append(file: ShardWriter, key: bytes, result: EncodedRecord | ReusedRecord) -> RecordEntry:
    """Write one record and return its entry."""
    if isinstance(result, ReusedRecord):
        position = file.append([result.frame], result.entry.image_bytes)
        return msgspec.structs.replace(result.entry, offset=position.offset, inflated_offset=position.inflated_offset)
    return _entry(key, file.append(encode_frame(*result.payload), len(result.payload[1])), result)


def _entry(key: bytes, position: FramePosition, encoded: EncodedRecord) -> RecordEntry:
    record, objects = encoded.record, encoded.record.object
    full_key = key if has_image(record) else key_with_image(key, encoded.image_hash)
    return RecordEntry(
        key=full_key.hex(),
        offset=position.offset,
        size_bytes=position.size_bytes,
        image_bytes=len(encoded.payload[1]),
        boxes=len(objects.bbox.xmin),
        parts=len(objects.parts.x),
        image_label=None if record.class_ == _NO_CLASS else int(record.class_.label),
        object_labels=[int(label) for label in objects.bbox.label],
        transforms=encoded.image.transforms,
        repaired=encoded.repaired,
        inflated_offset=position.inflated_offset,
        duplicate_boxes=encoded.duplicate_boxes,
    )
