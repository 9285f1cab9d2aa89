"""Read single TFRecord frames of cached shards, at the offsets that their entries give.

A gzip shard is made of blocks that inflate independently (`tfrecord.gzip`), so that one record can be read without
inflating everything before it.
"""

import os
import zlib
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from tfrec_stage.shards.metadata import RecordEntry
from tfrec_stage.tfrecord.gzip import RAW_WINDOW_BITS, has_own_block

KEPT_BLOCKS: Final = 32
"""Blocks kept inflated, about 4 MB: most records are read in the order in which they are stored."""
_CHUNK: Final = 1 << 15


class FrameReader:
    """Reads frames of an uncompressed shard. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, entry: RecordEntry) -> bytes:
        """Return the frame of a record, unchecked: other bytes, or fewer, if the file is damaged."""
        # pread and not seek and read: threads share the descriptor, and its position.
        return os.pread(self._fd, entry.size_bytes, entry.offset)


class GzipFrameReader(FrameReader):
    """Reads frames of a shard that `GzipShardWriter` wrote. Threads may share it."""

    def __init__(self, path: Path, kept: "InflatedBlocks") -> None:
        super().__init__(path)
        self._kept = kept

    def read(self, entry: RecordEntry) -> bytes:
        """See `FrameReader`."""
        try:
            if has_own_block(entry.size_bytes, entry.image_bytes):
                return _Block(self._fd, entry.offset).read(0, entry.size_bytes)
            return self._kept.read(self._fd, entry)
        except zlib.error:
            return b""


class InflatedBlocks:
    """Keeps the blocks of several shards that were read last, since a block holds many small records."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[int, int], _Block] = OrderedDict()
        self._lock = Lock()

    def read(self, fd: int, entry: RecordEntry) -> bytes:
        """Return the frame of a record that shares its block with others.

        Raises:
            zlib.error: the file is damaged.
        """
        place = (fd, entry.offset)
        with self._lock:
            block = self._blocks.setdefault(place, _Block(*place))
            self._blocks.move_to_end(place)
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
            return block.read(entry.inflated_offset, entry.size_bytes)


class _Block:
    """The bytes that inflate from an offset in a file; inflated only as far as needed."""

    def __init__(self, fd: int, offset: int) -> None:
        self._fd = fd
        self._offset = offset
        self._inflate = zlib.decompressobj(RAW_WINDOW_BITS)
        self._inflated = bytearray()

    def read(self, start: int, size: int) -> bytes:
        end = start + size
        while len(self._inflated) < end and not self._inflate.eof and (data := self._next_data()):
            self._inflated += self._inflate.decompress(data, end - len(self._inflated))
        return bytes(self._inflated[start:end])

    def _next_data(self) -> bytes:
        if self._inflate.unconsumed_tail:
            return self._inflate.unconsumed_tail
        data = os.pread(self._fd, _CHUNK, self._offset)
        self._offset += len(data)
        return data
