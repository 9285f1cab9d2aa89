"""One shard: records → file, and the metadata of what was written.

The unit of work of every engine: a task says where to read, the result says little; no record travels. A record whose
key an earlier version of the shard has is copied from there, checksum compared on the way; the others are encoded.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec

from tfrec_stage.build.compression import compressor, create_shard_file
from tfrec_stage.build.failures import Failure, FailureWriter
from tfrec_stage.build.fingerprint import (
    KeyMaker,
    has_image,
    key_of_failure,
    key_with_image,
    shard_fingerprint,
    split_keys,
)
from tfrec_stage.build.record_encoder import EncodedRecord, FailedRecord, RecordEncoder
from tfrec_stage.cache.reuse import CachedShard, PreviousRecords, ReusedRecord
from tfrec_stage.engine.ordered_map import OrderedMap
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.images.read_ahead import read_ahead
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ImageClass, ParsedRecord
from tfrec_stage.shards.metadata import RecordEntry, ShardMetadata, WrittenShard
from tfrec_stage.shards.statistics import Statistics
from tfrec_stage.tfrecord.file_writer import Place, ShardFile, WrittenFile
from tfrec_stage.tfrecord.framing import encode_frame
from tfrec_stage.tfrecord.gzip_file import GzipShardFile

_NO_CLASS = ImageClass()
_encode_entry = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Everything needed to write one shard."""

    number: int
    """Number of the shard, from 0."""
    path: Path
    """File to make."""
    failures_path: Path
    """File to make of the records that fail, if any does."""
    source: RecordReader = field(repr=False)
    """Where the records are."""
    positions: "array[int]" = field(repr=False)
    """Which of them, in the order of writing."""
    keys: bytes = field(repr=False)
    """Key of each as the manifest_index has it, one after the other in the same order."""
    full_keys: bytes = field(repr=False)
    """The same with the images of unpinned records, as far as they are known."""
    encoder: RecordEncoder = field(repr=False)
    """How each becomes an Example."""
    previous: tuple[CachedShard, ...] = ()
    """Shards that may hold some of the records."""

    def __str__(self) -> str:
        """Name the shard, for messages."""
        return self.path.name


def write_shard(task: ShardTask, encode_all: OrderedMap = map) -> WrittenShard:
    """Encode or copy the records of a task and write them in their order.

    Raises:
        OutputError: a file cannot be written.
        ManifestError: the manifest changed since the keys were made.
    """
    for path in (task.path, task.failures_path):
        path.unlink(missing_ok=True)  # what a worker process left that died over it
    compression = task.encoder.output_options.encode.compression
    with (
        PreviousRecords(task.previous) as previous,
        create_shard_file(task.path, compression) as file,
        FailureWriter(task.failures_path) as failures,
    ):
        ledger = _Ledger()
        work = _Work(task, previous)
        outcomes = encode_all(work, work.items())
        for position, key, outcome in zip(task.positions, split_keys(task.keys), outcomes, strict=True):
            if isinstance(outcome, FailedRecord):
                failures.add(Failure(position, key.hex(), *outcome))
                ledger.add_failure(key, outcome)
            else:
                ledger.add(_append(file, key, outcome), isinstance(outcome, ReusedRecord))
        return ledger.close(task, file.finish())


class _Item(NamedTuple):
    record: ParsedRecord | None  # None where the key alone says enough
    position: int
    key: bytes
    full_key: bytes

    @property
    def is_cheap(self) -> bool:
        """See `OrderedMap`: to copy a record takes less than to wake a thread for it."""
        return self.record is None


class _Work:
    """What is done with one record; runs in any thread."""

    def __init__(self, task: ShardTask, previous: PreviousRecords) -> None:
        self._task = task
        self._previous = previous
        self._keys = KeyMaker(task.encoder.output_options, task.encoder.names)

    def items(self) -> Iterator[_Item]:
        """Records to encode are read as a stream; those to copy are not read at all."""
        positions = array("Q", (position for position, _, full_key in self._planned() if self._is_new(full_key)))
        keys = (key for _, key, full_key in self._planned() if self._is_new(full_key))
        records = self._keys.read(self._task.source, positions, keys)
        coming = read_ahead(records, self._task.encoder.images_root)
        for position, key, full_key in self._planned():
            yield _Item(next(coming) if self._is_new(full_key) else None, position, key, full_key)

    def __call__(self, item: _Item) -> EncodedRecord | ReusedRecord | FailedRecord:
        if item.record is None:
            reused = self._previous.take(item.full_key)
            if reused is not None:
                return reused
        return self._task.encoder(item.record or self._read_again(item))

    def _is_new(self, full_key: bytes) -> bool:
        return full_key not in self._previous

    def _planned(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Position, key and full key of each record."""
        task = self._task
        return zip(task.positions, split_keys(task.keys), split_keys(task.full_keys), strict=True)

    def _read_again(self, item: _Item) -> ParsedRecord:
        """The record whose earlier version turned out to be damaged."""
        return next(self._keys.read(self._task.source, [item.position], [item.key]))


class _Ledger:
    """The metadata of a shard, as it grows."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._entries = BytesIO()  # gives what was written without a copy
        self._statistics = Statistics()
        self._copied = 0

    def add(self, entry: RecordEntry, copied: bool) -> None:
        self._keys += bytes.fromhex(entry.key)
        self._entries.write(_encode_entry(entry) + b"\n")
        self._statistics.add(entry)
        self._copied += copied

    def add_failure(self, key: bytes, failed: FailedRecord) -> None:
        self._keys += key_of_failure(key)
        self._statistics.add_failure(failed.reason)

    def close(self, task: ShardTask, file: WrittenFile) -> WrittenShard:
        codec = pixel_codec() if self._statistics.notes["reencoded"] else None
        compressed_by = compressor(task.encoder.output_options.encode.compression)
        metadata = ShardMetadata(
            fingerprint=shard_fingerprint(bytes(self._keys), codec, compressed_by),
            records=file.records,
            size_bytes=file.size_bytes,
            crc32c=file.crc32c,
            statistics=self._statistics.as_dict(),
            pixel_codec=codec,
            compressor=compressed_by,
        )
        return WrittenShard(
            task.number, task.path, metadata, self._entries.getvalue(), task.failures_path, self._copied
        )


def _append(file: ShardFile | GzipShardFile, key: bytes, outcome: EncodedRecord | ReusedRecord) -> RecordEntry:
    if isinstance(outcome, ReusedRecord):
        place = file.append([outcome.frame], outcome.entry.image_bytes)
        return msgspec.structs.replace(outcome.entry, offset=place.offset, inflated_offset=place.inflated_offset)
    return _entry(key, file.append(encode_frame(*outcome.payload), len(outcome.payload[1])), outcome)


def _entry(key: bytes, place: Place, encoded: EncodedRecord) -> RecordEntry:
    record, objects = encoded.record, encoded.record.object
    full_key = key if has_image(record) else key_with_image(key, encoded.source_digest)
    return RecordEntry(
        key=full_key.hex(),
        offset=place.offset,
        size_bytes=place.size_bytes,
        image_bytes=len(encoded.payload[1]),
        boxes=len(objects.bbox.xmin),
        parts=len(objects.parts.x),
        image_label=None if record.class_ == _NO_CLASS else int(record.class_.label),
        object_labels=[int(label) for label in objects.bbox.label],
        notes=encoded.image.notes,
        mended=encoded.mended,
        inflated_offset=place.inflated_offset,
        duplicate_boxes=encoded.duplicate_boxes,
    )
