"""One gzip file of frames, written once from front to end.

Small records are deflated many at a time, since most of what they say is the names of their keys. A record whose image
fills deflate's window is stored as it is: nothing before it can be referred to behind it, and JPEGs hardly shrink.
Where a block ends depends on the frames alone, so that the same records give the same file however they came.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tfrec_stage.tfrecord.file_writer import NewFile, Place, WrittenFile
from tfrec_stage.tfrecord.gzip_member import GZIP_HEADER, deflate_block, gzip_ending, store_block

BLOCK_BYTES: Final = 1 << 17
"""Frames are deflated together until they are this long: half as much leaves a twentieth more, and an earlier version
is read back in no less than the part of a block that stands before a record."""
_WINDOW_BYTES: Final = 1 << 15


class GzipShardFile(NewFile):
    """A new gzip file that takes frames; the same interface as `ShardFile`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._unwritten = GZIP_HEADER
        self._block = bytearray()
        self._records = self._length = self._crc32 = 0

    def append(self, frame: Sequence[bytes], image_bytes: int) -> Place:
        """Write one record, at once or together with others.

        Args:
            frame: pieces of its frame.
            image_bytes: how many of its bytes are the image.

        Raises:
            OutputError: it cannot be written, for example because the disk is full.
        """
        joined = b"".join(frame)
        self._records += 1
        self._length += len(joined)
        self._crc32 = zlib.crc32(joined, self._crc32)
        if stands_alone(len(joined), image_bytes):
            self._end_block()
            place = Place(self._next_offset, len(joined))
            self._write_out(store_block(joined))
            return place
        place = Place(self._next_offset, len(joined), len(self._block))
        self._block += joined
        if len(self._block) >= BLOCK_BYTES:
            self._end_block()
        return place

    def finish(self) -> WrittenFile:
        """Bring everything to disk; nothing may be appended after.

        Raises:
            OutputError: the disk says no.
        """
        self._end_block()
        self._write_out(gzip_ending(self._crc32, self._length))
        return self.sync(self._records)

    @property
    def _next_offset(self) -> int:
        return self.size_bytes + len(self._unwritten)

    def _end_block(self) -> None:
        if self._block:
            self._write_out(deflate_block(self._block))
            self._block.clear()

    def _write_out(self, data: bytes) -> None:
        self.write([self._unwritten, data])
        self._unwritten = b""


def stands_alone(frame_bytes: int, image_bytes: int) -> bool:
    """Whether a frame is a block of its own, stored as it is: most of it is an image, larger than deflate's window."""
    return image_bytes > max(_WINDOW_BYTES, frame_bytes // 2)
