"""Records that an earlier version of a shard has, found again by their key."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import msgspec
from google_crc32c import value

from tfrec_stage.cache.stored_frames import GzipFrames, InflatedBlocks, StoredFrames
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.shards.metadata import RecordEntry, ShardMetadata
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, mask_crc

_log = logging.getLogger(__name__)
_decode_entry = msgspec.json.Decoder(RecordEntry).decode
_KEY_IN_LINE = slice(2, 34)  # an entry's line begins with ["<32 hexadecimal digits>"


class CachedShard(NamedTuple):
    """A finished shard in the store."""

    path: Path
    """The file."""
    metadata: ShardMetadata
    """What it is."""
    sidecar: Path
    """Its sidecar: the metadata and the entries."""
    entries_crc32c: int
    """CRC32C of the entries."""

    def read_entries(self) -> bytes:
        """A `RecordEntry` a line, as JSON; nothing where the sidecar is damaged or gone."""
        try:
            with self.sidecar.open("rb") as file:
                file.readline()
                entries = file.read()
        except OSError:
            return b""
        if value(entries) == self.entries_crc32c:
            return entries
        _log.warning("%s is damaged; the records of the shard are not copied from it", self.sidecar)
        return b""


class ReusedRecord(NamedTuple):
    """One record as it stood in an earlier version."""

    entry: RecordEntry
    """What is known of it."""
    frame: bytes
    """Its frame, checksum compared."""


class PreviousRecords:
    """Looks records up in earlier shards. Safe to read from many threads."""

    def __init__(self, shards: Sequence[CachedShard]) -> None:
        self._blocks = InflatedBlocks()
        self._lines: dict[bytes, tuple[StoredFrames, bytes]] = {}
        with ExitStack() as files:
            for shard in shards:
                if shard.metadata.pixel_codec in (None, pixel_codec()):
                    self._add(shard, files)
            self._files = files.pop_all()

    def __enter__(self) -> "PreviousRecords":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def __contains__(self, key: bytes) -> bool:
        return bool(self._lines) and key.hex().encode() in self._lines

    def take(self, key: bytes) -> ReusedRecord | None:
        """The record of this key, or None where the file is damaged there: it is then encoded as if it were new."""
        frames, line = self._lines[key.hex().encode()]
        try:
            entry = _decode_entry(line)
        except msgspec.MsgspecError:
            return None
        frame = frames.read(entry)
        return ReusedRecord(entry, frame) if _is_whole(frame, entry.size_bytes) else None

    def _add(self, shard: CachedShard, files: ExitStack) -> None:
        try:
            is_plain = shard.metadata.compressor is None
            frames = files.enter_context(StoredFrames(shard.path) if is_plain else GzipFrames(shard.path, self._blocks))
        except FileNotFoundError:  # the store was deleted meanwhile
            return
        self._lines.update((line[_KEY_IN_LINE], (frames, line)) for line in shard.read_entries().splitlines())


def _is_whole(frame: bytes, size_bytes: int) -> bool:
    if len(frame) != size_bytes or size_bytes < HEADER.size + FOOTER.size:
        return False
    length, length_crc = HEADER.unpack_from(frame)
    payload = frame[HEADER.size : -FOOTER.size]
    (payload_crc,) = FOOTER.unpack_from(frame, len(frame) - FOOTER.size)
    return bool(
        length == len(payload) and mask_crc(value(frame[:8])) == length_crc and mask_crc(value(payload)) == payload_crc
    )
