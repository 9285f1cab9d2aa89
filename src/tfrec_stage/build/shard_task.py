"""Write one shard: records → a TFRecord file, and the metadata of what was written.

This is the unit of work of every engine. A task says where to read, and its result is small; no record travels between
processes. What is found in earlier shards is taken from there (`cache.reuse`): the record, or at least its image.
"""

from array import array
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import compress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tfrec_stage.build.failures import FailedRecord, Failure, FailureWriter
from tfrec_stage.build.fingerprint import (
    NO_KEY,
    KeyMaker,
    compressor_version,
    key_of_failure,
    key_with_image,
    shard_fingerprint,
    split_keys,
)
from tfrec_stage.build.options import Compression
from tfrec_stage.build.record_encoder import EncodedRecord, RecordEncoder
from tfrec_stage.cache.earlier_shards import EarlierShards, ReusedRecord
from tfrec_stage.cache.hash_cache import encode_image_hashes
from tfrec_stage.cache.reuse import Action, Found
from tfrec_stage.engine import OrderedMap
from tfrec_stage.images.encode import EncodedImage, pixel_codec
from tfrec_stage.images.file import read_ahead
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ImageClass, ParsedRecord
from tfrec_stage.shards.metadata import FailedImage, RecordEntry, ShardMetadata, WrittenShard
from tfrec_stage.shards.statistics import Statistics
from tfrec_stage.tfrecord.file_writer import FramePosition, ShardWriter, WrittenFile
from tfrec_stage.tfrecord.framing import HEADER, encode_frame
from tfrec_stage.tfrecord.gzip import GzipShardWriter

_NO_CLASS = ImageClass()
_CHEAP: Final = (Action.copy, Action.reuse_image)
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
    image_keys: bytes = field(default=b"", repr=False)
    """Their image keys; may be empty if `found` is None."""
    found: Found | None = None
    """Where the records are in earlier shards; None: nowhere."""

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
        EarlierShards(task.found.shards if task.found else ()) as earlier,
        _create_file(task.path, compression) as file,
        FailureWriter(task.failures_path) as failures,
    ):
        records = _RecordSupply(task, earlier)
        metadata = _MetadataBuilder()
        results = ordered_map(records.encode_or_copy, records)
        for _, (result, item) in zip(task.positions, results, strict=True):
            if isinstance(result, FailedRecord):
                failures.add(Failure(item.position, item.key.hex(), result.reason, result.message))
                metadata.add_failure(item, result)
            elif isinstance(result, ReusedRecord):
                position = file.append(result.frame, result.entry.image_bytes)
                metadata.add_copied(result.entry, position)
            else:
                position = file.append(encode_frame(*result.payload), len(result.payload[1]))
                metadata.add_encoded(item, result, position)
        return metadata.build(task, file.finish())


class _Item(NamedTuple):
    """One record of a task."""

    record: ParsedRecord | None
    """The record; None if it is to be copied, and need not be read."""
    position: int
    key: bytes
    full_key: bytes
    action: int = Action.encode
    image_key: bytes = NO_KEY
    place: tuple[int, int] = (0, 0)
    """Where it, its image or its failure is in earlier shards: shard, and offset of the line in its entries."""
    known_failure: FailedImage | None = None
    """Why its image could not be stored by an earlier build."""

    @property
    def is_cheap(self) -> bool:
        """Whether to process it in the thread of the task (see `OrderedMap`): it takes less than waking another one."""
        return self.action in _CHEAP


class _RecordSupply:
    """The records of a task in their order, and what is done with each; `encode_or_copy` may run in any thread."""

    def __init__(self, task: ShardTask, earlier: EarlierShards) -> None:
        self._keys = KeyMaker(task.encoder.output_options, task.encoder.keypoint_names)
        self._task = task
        # Used in the thread of the task alone: by `__iter__`, and for items that are cheap.
        self._earlier = earlier
        self._image_use = task.encoder.output_options.encode.image_use

    def __iter__(self) -> Iterator[_Item]:
        task = self._task
        if task.found is not None:
            yield from self._mixed(task.found)
            return
        records = self._read(task.positions, split_keys(task.keys))
        yield from map(_Item, records, task.positions, split_keys(task.keys), split_keys(task.full_keys))

    def _mixed(self, found: Found) -> Iterator[_Item]:
        """Iterate over records of which some are in earlier shards. Those that are copied are not read."""
        # Each kind is one stream in the order of writing.
        with_file = self._read(*self._planned(found, {Action.encode, Action.reuse_failure}))
        without_file = self._keys.read(self._task.source, *self._planned(found, {Action.reuse_image}))
        all_keys = map(split_keys, (self._task.keys, self._task.full_keys, self._task.image_keys))
        for position, key, full_key, image_key, (action, shard, offset) in zip(
            self._task.positions, *all_keys, found, strict=True
        ):
            record, known_failure = None, None
            if action == Action.reuse_image:
                record = next(without_file)
            elif action != Action.copy:
                record = next(with_file)
            if action == Action.reuse_failure:
                known_failure = self._earlier.failure(shard, offset, image_key)
            yield _Item(record, position, key, full_key, action, image_key, (shard, offset), known_failure)

    def _planned(self, found: Found, actions: Container[int]) -> tuple["array[int]", Iterator[bytes]]:
        """Return the positions and the keys of the records for which one of these actions is planned."""
        is_planned = [action in actions for action in found.actions]
        return array("Q", compress(self._task.positions, is_planned)), compress(split_keys(self._task.keys), is_planned)

    def _read(self, positions: "array[int]", keys: Iterator[bytes]) -> Iterator[ParsedRecord]:
        """Read records whose image files will be read, and prefetch these."""
        return read_ahead(self._keys.read(self._task.source, positions, keys), self._task.encoder.images_root)

    def encode_or_copy(self, item: _Item) -> tuple[EncodedRecord | ReusedRecord | FailedRecord, _Item]:
        """Copy a record from an earlier shard, or encode it; return what came of it, and the item."""
        if item.action == Action.encode and item.record is not None:
            return self._task.encoder(item.record), item
        known: EncodedImage | FailedImage | None = item.known_failure
        if item.action == Action.copy:
            reused = self._earlier.record(*item.place, item.full_key)
            if reused is not None:
                return reused, item
        elif item.action == Action.reuse_image:
            known = self._earlier.image(*item.place, item.image_key, self._image_use)
        return self._task.encoder(item.record or self._read_again(item), known), item

    def _read_again(self, item: _Item) -> ParsedRecord:
        """Read a record that was to be copied, but turned out to be damaged in the earlier shard."""
        return next(self._keys.read(self._task.source, [item.position], [item.key]))


class _MetadataBuilder:
    """Collects the metadata of a shard while its records are written."""

    def __init__(self) -> None:
        self._keys = bytearray()
        self._entries = BytesIO()
        self._statistics = Statistics()
        self._copied = self._reused_images = 0
        self._image_hashes = BytesIO()

    def add_copied(self, entry: RecordEntry, position: FramePosition) -> None:
        """Add a record that was copied from an earlier shard."""
        self._copied += 1
        self._add(msgspec.structs.replace(entry, offset=position.offset, inflated_offset=position.inflated_offset))

    def add_encoded(self, item: _Item, encoded: EncodedRecord, position: FramePosition) -> None:
        """Add a record that was encoded."""
        full_key, image_key = item.full_key, encoded.image_key
        if image_key is None:
            self._reused_images += 1
            image_key = item.image_key
        elif (image_hash := encoded.image_hash) is not None:
            # By what was read and not by what was planned: the file may have changed since it was hashed.
            full_key = key_with_image(item.key, image_hash.digest)
            if item.full_key == item.key:  # a first build hashes no image before it encodes
                self._image_hashes.write(encode_image_hashes([image_hash]))
        self._add(_entry(full_key, image_key, position, encoded))

    def add_failure(self, item: _Item, failed: FailedRecord) -> None:
        """Add a record that failed."""
        self._keys += key_of_failure(item.key)
        self._statistics.add_failure(failed.reason)
        if failed.image is not None:
            self._entries.write(_encode_entry(failed.image) + b"\n")

    def build(self, task: ShardTask, file: WrittenFile) -> WrittenShard:
        """Return the metadata of the finished shard."""
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
        hashes = self._image_hashes.getvalue()
        copied, reused_images = self._copied, self._reused_images
        return WrittenShard(
            task.number, task.path, metadata, entries, task.failures_path, copied, reused_images, hashes
        )

    def _add(self, entry: RecordEntry) -> None:
        self._keys += bytes.fromhex(entry.key)
        self._entries.write(_encode_entry(entry) + b"\n")
        self._statistics.add(entry)


def _create_file(path: Path, compression: Compression) -> ShardWriter:
    return GzipShardWriter(path) if compression is Compression.gzip else ShardWriter(path)


def _entry(full_key: bytes, image_key: bytes, position: FramePosition, encoded: EncodedRecord) -> RecordEntry:
    record, objects, image = encoded.record, encoded.record.object, encoded.image
    return RecordEntry(
        key=full_key.hex(),
        offset=position.offset,
        size_bytes=position.size_bytes,
        image_bytes=len(encoded.payload[1]),
        boxes=len(objects.bbox.xmin),
        parts=len(objects.parts.x),
        image_label=None if record.class_ == _NO_CLASS else int(record.class_.label),
        object_labels=[int(label) for label in objects.bbox.label],
        transforms=image.transforms,
        repaired=encoded.repaired,
        inflated_offset=position.inflated_offset,
        duplicate_boxes=encoded.duplicate_boxes,
        image_key=image_key.hex(),
        image_offset=HEADER.size + len(encoded.payload[0]),
        width=image.width,
        height=image.height,
        source_format=image.source_format,
        is_decoded=image.is_decoded,
        image_sha256=image.sha256 or "",
    )
