"""Read single records, images and failures out of cached shards, at the places that `cache.reuse` found.

Nothing is trusted: an entry has to have the key that was looked for, and a frame its checksums. What is damaged or gone
is not returned, and the record is then encoded like a new one.
"""

import logging
import os
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec
from google_crc32c import extend, value

from tfrec_stage.cache.frame_reader import FrameReader, GzipFrameReader, InflatedBlocks
from tfrec_stage.cache.shard_cache import CachedShard
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.images.policy import Verify
from tfrec_stage.shards.metadata import FailedImage, RecordEntry
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, mask_crc

OPEN_SHARDS: Final = 64
"""Shards that a task keeps open: the records of one task may come from thousands, and a process may open about 1,000
files."""
_WINDOW_BYTES: Final = 1 << 16
"""How much of a sidecar is read at a time: some 200 lines, and most are asked for in their order."""
_FAILED: Final = b'["failed"'
"""How the line of a `FailedImage` begins; that of a `RecordEntry` begins with a key in hexadecimal."""
_decode_entry = msgspec.json.Decoder(RecordEntry).decode
_decode_failure = msgspec.json.Decoder(FailedImage).decode
_log = logging.getLogger(__name__)


class EarlierShard(NamedTuple):
    """A cached shard, as tasks need it."""

    path: Path
    """The shard file."""
    sidecar: Path
    """File with the metadata on its first line, then the entries."""
    is_gzip: bool
    """Whether the shard file is compressed."""

    @classmethod
    def of(cls, shard: CachedShard) -> "EarlierShard":
        """Return what tasks need of a cached shard."""
        return cls(shard.path, shard.sidecar, shard.metadata.compressor is not None)


class ImageUse(NamedTuple):
    """What a build needs of the images of its records."""

    verify: Verify
    """How they have to be verified."""
    is_stored: bool
    """Whether records hold them."""
    needs_sha256: bool
    """Whether records hold the SHA-256 of the encoded image."""


class ReusedRecord(NamedTuple):
    """One record as it is stored in an earlier shard."""

    entry: RecordEntry
    """What is known of it."""
    frame: list[bytes]
    """The pieces of its TFRecord frame, checksums compared."""


class EarlierShards:
    """Reads from earlier shards. One thread may use it at a time."""

    def __init__(self, shards: tuple[EarlierShard, ...]) -> None:
        self._shards = shards
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._blocks = InflatedBlocks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def record(self, shard: int, offset: int, key: bytes) -> ReusedRecord | None:
        """Return the record with a key; None if it is not there undamaged.

        Args:
            shard: number of its shard, from 0.
            offset: offset of its line in the entries of the shard.
            key: its key.
        """
        found = self._line(shard, offset)
        if not isinstance(found, RecordEntry) or found.key != key.hex():
            return None
        frame = self._open[shard].frames.read(found)
        return ReusedRecord(found, frame) if _is_intact(frame, found.size_bytes) else None

    def image(self, shard: int, offset: int, image_key: bytes, use: ImageUse) -> EncodedImage | None:
        """Return the image with an image key; None if it is not there undamaged.

        Args:
            shard: number of its shard, from 0.
            offset: offset of the line of its record in the entries of the shard.
            image_key: its image key.
            use: what the build needs of it: its bytes are read only if they are stored or their digest is not known.
        """
        found = self._line(shard, offset)
        if not isinstance(found, RecordEntry) or found.image_key != image_key.hex():
            return None
        data = b""
        if use.is_stored or (use.needs_sha256 and not found.image_sha256):
            frame = self._open[shard].frames.read(found)
            if not _is_intact(frame, found.size_bytes):
                return None
            data = frame[1]
        return EncodedImage(
            data,
            found.width,
            found.height,
            found.transforms,
            source_format=found.source_format,
            sha256=found.image_sha256 or None,
            is_decoded=found.is_decoded,
        )

    def failure(self, shard: int, offset: int, image_key: bytes) -> FailedImage | None:
        """Return why the image with an image key cannot be stored; None if that is not there undamaged."""
        found = self._line(shard, offset)
        return found if isinstance(found, FailedImage) and found.image_key == image_key.hex() else None

    def _line(self, shard: int, offset: int) -> RecordEntry | FailedImage | None:
        try:
            if shard not in self._open:
                if len(self._open) == OPEN_SHARDS:
                    self._open.popitem(last=False)[1].close()
                self._open[shard] = _OpenShard(self._shards[shard], self._blocks)
            self._open.move_to_end(shard)
            return decode_line(self._open[shard].line(offset))
        except (OSError, msgspec.MsgspecError):  # the cache was deleted or damaged in the meantime
            return None


class _OpenShard:
    """The open files of one shard."""

    def __init__(self, shard: EarlierShard, blocks: InflatedBlocks) -> None:
        with ExitStack() as files:
            self.frames = files.enter_context(
                GzipFrameReader(shard.path, blocks) if shard.is_gzip else FrameReader(shard.path)
            )
            self._sidecar = files.enter_context(shard.sidecar.open("rb"))
            self._start = len(self._sidecar.readline())
            self._window, self._window_offset = b"", 0
            self._files = files.pop_all()

    def line(self, offset: int) -> bytes:
        """Return the line at an offset in the entries."""
        begin = offset - self._window_offset
        end = self._window.find(b"\n", begin) if 0 <= begin < len(self._window) else -1
        size_bytes = _WINDOW_BYTES
        while end < 0:
            self._window = os.pread(self._sidecar.fileno(), size_bytes, self._start + offset)
            self._window_offset, begin = offset, 0
            end = self._window.find(b"\n")
            if len(self._window) < size_bytes:  # the end of the file
                break
            size_bytes *= 2
        return self._window[begin:] if end < 0 else self._window[begin:end]

    def close(self) -> None:
        self._files.close()


def decode_line(line: bytes) -> RecordEntry | FailedImage:
    """Decode one line of the entries.

    Raises:
        msgspec.MsgspecError: it is neither.
    """
    return _decode_failure(line) if line.startswith(_FAILED) else _decode_entry(line)


def read_entries(shard: CachedShard) -> bytes:
    """Return the entries of a cached shard, one per line; empty if its sidecar is damaged or gone."""
    try:
        with shard.sidecar.open("rb") as file:
            file.readline()  # the metadata
            entries = file.read()
    except OSError:
        return b""
    if value(entries) == shard.entries_crc32c:
        return entries
    _log.warning("%s is damaged; the records of the shard are not copied from it", shard.sidecar)
    return b""


def _is_intact(frame: list[bytes], size_bytes: int) -> bool:
    """Return whether the pieces are a whole frame of this size; the first has its header, the last its footer."""
    if (
        not frame
        or sum(map(len, frame)) != size_bytes
        or min(len(frame[0]) - HEADER.size, len(frame[-1]) - FOOTER.size) < 0
    ):
        return False
    length, length_crc = HEADER.unpack_from(frame[0])
    (payload_crc,) = FOOTER.unpack_from(frame[-1], len(frame[-1]) - FOOTER.size)
    payload = [*frame]
    payload[0] = payload[0][HEADER.size :]
    payload[-1] = payload[-1][: -FOOTER.size]
    crc = 0
    for piece in payload:
        crc = extend(crc, piece)
    return bool(
        length == size_bytes - HEADER.size - FOOTER.size
        and mask_crc(value(frame[0][:8])) == length_crc
        and mask_crc(crc) == payload_crc
    )
