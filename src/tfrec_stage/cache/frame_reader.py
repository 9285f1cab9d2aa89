"""Read single TFRecord frames of cached shards, at the offsets that their entries give.

A gzip shard is made of blocks that inflate independently (`tfrecord.gzip`), so that one record can be read without
inflating everything before it.
"""

import os
import zlib
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tfrec_stage.shards.metadata import RecordEntry
from tfrec_stage.tfrecord.gzip import RAW_WINDOW_BITS, has_own_block, read_stored_block, stored_size

KEPT_BLOCKS: Final = 32
"""Blocks kept inflated, about 4 MB: most records are read in the order in which they are stored."""
_CHUNK: Final = 1 << 15


class FrameReader:
    """Reads frames of an uncompressed shard."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def read(self, entry: RecordEntry) -> list[bytes]:
        """Return the frame of a record, unchecked: other bytes, or fewer, if the file is damaged.

        Returns:
            The bytes before its image, the image, and those after it; the frame as a whole if the place of the image is
            not known. Read one by one: cutting the frame into pieces would copy the image.
        """
        ends = [entry.image_offset, entry.image_offset + entry.image_bytes, entry.size_bytes]
        starts = [0, *ends[:-1]] if entry.image_offset else [0]
        return [
            os.pread(self._fd, max(end - start, 0), entry.offset + start)
            for start, end in zip(starts, ends[-len(starts) :], strict=True)
        ]


class GzipFrameReader(FrameReader):
    """Reads frames of a shard that `GzipShardWriter` wrote."""

    def __init__(self, path: Path, kept: "InflatedBlocks") -> None:
        super().__init__(path)
        self._path = path
        self._kept = kept

    def read(self, entry: RecordEntry) -> list[bytes]:
        """See `FrameReader`."""
        try:
            if has_own_block(entry.size_bytes, entry.image_bytes):
                # Without zlib, which would take longer than everything else that is done with a stored image.
                frame = read_stored_block(os.pread(self._fd, stored_size(entry.size_bytes), entry.offset))
            else:
                frame = self._kept.read(self._path, self._fd, entry)
        except zlib.error:
            return []
        if not entry.image_offset:
            return [frame]
        end = entry.image_offset + entry.image_bytes
        return [frame[: entry.image_offset], frame[entry.image_offset : end], frame[end:]]


class InflatedBlocks:
    """Keeps the blocks of several shards that were read last, since a block holds many small records."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[Path, int], _Block] = OrderedDict()

    def read(self, path: Path, fd: int, entry: RecordEntry) -> bytes:
        """Return the frame of a record that shares its block with others.

        Args:
            path: the shard; descriptors do not tell shards apart, as a closed one's number is used again.
            fd: its open descriptor.
            entry: what to read.

        Raises:
            zlib.error: the file is damaged.
        """
        place = (path, entry.offset)
        block = self._blocks.setdefault(place, _Block(entry.offset))
        self._blocks.move_to_end(place)
        if len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return block.read(fd, entry.inflated_offset, entry.size_bytes)


class _Block:
    """The bytes that inflate from an offset in a file; inflated only as far as needed."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._inflate = zlib.decompressobj(RAW_WINDOW_BITS)
        self._inflated = bytearray()

    def read(self, fd: int, start: int, size: int) -> bytes:
        end = start + size
        while len(self._inflated) < end and not self._inflate.eof and (data := self._next_data(fd)):
            self._inflated += self._inflate.decompress(data, end - len(self._inflated))
        return bytes(self._inflated[start:end])

    def _next_data(self, fd: int) -> bytes:
        if self._inflate.unconsumed_tail:
            return self._inflate.unconsumed_tail
        data = os.pread(fd, _CHUNK, self._offset)
        self._offset += len(data)
        return data
