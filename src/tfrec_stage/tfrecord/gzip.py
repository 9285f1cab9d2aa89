"""Compressed shards: one gzip file of frames, written in blocks that inflate independently.

    header    10 bytes: no name, no time, unknown system
    blocks    frames, deflated together or stored as they are; each block ends on a whole byte
    trailer   an empty last block, then uint32 CRC32 and uint32 length modulo 2**32 of all frames, little endian

Any gzip reader takes it as one file. No block refers to bytes before it, so that a reader that knows where a block
begins can inflate from there: an incremental build copies single records out of an earlier shard.

Small records are deflated many at a time, because most of their bytes are the names of their keys. A record that is
mostly an image larger than deflate's window has a stored block of its own: nothing after it could refer to anything
before it, and JPEGs hardly shrink. Where a block ends depends on the frames alone, so the same records give the same
file, whether they were encoded or copied. Measurements: docs/adr/0013, benchmarks/bench_gzip.py.

Source: RFC 1951 (deflate) and RFC 1952 (gzip).
"""

import gzip
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.file_writer import FramePosition, ShardWriter, WrittenFile

# Magic number, method 8 (deflate), no flags, no time (4 bytes), no extra flags, system 255 (unknown). A name or a time
# would give other bytes for the same records.
GZIP_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
GZIP_MAGIC: Final = GZIP_HEADER[:3]
"""The first bytes of every gzip file whose data is deflated."""
BLOCK_BYTES: Final = 1 << 17
"""Frames are deflated together until they have this many bytes. Half as many leave 5 % more; more bytes take longer to
read back, as everything before a record in its block has to be inflated."""
RAW_WINDOW_BITS: Final = -zlib.MAX_WBITS
"""Tells zlib that a block has no header and no checksum of its own."""

_WINDOW_BYTES: Final = 1 << 15
_LEVEL: Final = 6  # level 1 leaves 10 % more of annotations; level 9 saves 2 % and takes up to four times as long
_LAST_BLOCK: Final = b"\x03\0"  # marked as the last one, compressed with fixed codes, and nothing but its end code
_TRAILER: Final = struct.Struct("<II")
_STORED: Final = struct.Struct("<BHH")  # not the last block, not compressed; the length, and its complement
_MAX_STORED: Final = 0xFFFF  # bytes in a stored block, as its length has 16 bits


class GzipShardWriter(ShardWriter):
    """Writes a new gzip file of frames."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._write([GZIP_HEADER])
        self._block = bytearray()  # frames of the block that is not written yet
        self._length = self._crc32 = 0

    def append(self, frame: Sequence[bytes], image_bytes: int) -> FramePosition:
        """Write one record, at once or later together with others; see `ShardWriter`."""
        joined = b"".join(frame)
        self._records += 1
        self._length += len(joined)
        self._crc32 = zlib.crc32(joined, self._crc32)
        if has_own_block(len(joined), image_bytes):
            self._end_block()
            position = FramePosition(self.size_bytes, len(joined))
            self._write([store_block(joined)])
            return position
        # The pending block will begin where the file ends now.
        position = FramePosition(self.size_bytes, len(joined), len(self._block))
        self._block += joined
        if len(self._block) >= BLOCK_BYTES:
            self._end_block()
        return position

    def finish(self) -> WrittenFile:
        """See `ShardWriter`."""
        self._end_block()
        self._write([gzip_trailer(self._crc32, self._length)])
        return super().finish()

    def _end_block(self) -> None:
        if self._block:
            self._write([deflate_block(self._block)])
            self._block.clear()


def has_own_block(frame_bytes: int, image_bytes: int) -> bool:
    """Return whether a frame is stored in a block of its own: most of it is an image larger than deflate's window.

    `cache.frame_reader` calls it too, to know how an existing shard was written.
    """
    return image_bytes > max(_WINDOW_BYTES, frame_bytes // 2)


def deflate_block(data: bytes | bytearray) -> bytes:
    """Deflate bytes into a block; the same bytes only from the same zlib (`zlib_version`)."""
    # A new compressor for each block: it cannot refer to bytes of earlier ones. Z_SYNC_FLUSH ends on a whole byte and
    # without the mark of a last block, so that another block can follow.
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, RAW_WINDOW_BITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def store_block(data: bytes) -> bytes:
    """Store bytes as they are, with five bytes of header before every 65,535.

    >>> store_block(b"ab").hex()
    '000200fdff6162'
    """
    pieces: list[bytes | memoryview] = []
    view = memoryview(data)
    for start in range(0, len(view), _MAX_STORED):
        piece = view[start : start + _MAX_STORED]
        pieces += (_STORED.pack(0, len(piece), len(piece) ^ 0xFFFF), piece)
    return b"".join(pieces)


def stored_size(size_bytes: int) -> int:
    """Return the length of what `store_block` gives for so many bytes."""
    return size_bytes + _STORED.size * -(-size_bytes // _MAX_STORED)


def read_stored_block(block: bytes) -> bytes:
    """Return the bytes that were given to `store_block`; the headers are skipped, not checked.

    >>> read_stored_block(store_block(b"ab"))
    b'ab'
    """
    view, step = memoryview(block), _STORED.size + _MAX_STORED
    return b"".join([view[start + _STORED.size : start + step] for start in range(0, len(block), step)])


def gzip_trailer(crc32: int, length: int) -> bytes:
    """Return the end of the file, given the CRC32 and the length in bytes of all frames."""
    return _LAST_BLOCK + _TRAILER.pack(crc32, length & 0xFFFFFFFF)


@cache
def zlib_version() -> str:
    """Name the library that deflates, for example `zlib 1.2.13, level 6, sample 0f1e2d3c`.

    The sample is a checksum of something deflated: libraries that replace zlib may report its version and still give
    other bytes.
    """
    # Constant for ever: another sample would give another name, and every compressed shard would be built again.
    sample = b"".join(b"image/object/%d/%d" % (number % 7, number * number) for number in range(8192))
    return f"zlib {zlib.ZLIB_RUNTIME_VERSION}, level {_LEVEL}, sample {zlib.crc32(deflate_block(sample)):08x}"


class GzipShardReader(gzip.GzipFile):
    """The frames in a gzip file, by any writer, as a stream of bytes.

    Raises:
        ShardError: on reading, if the file is damaged or ends too early.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        """Read like any stream; the read that reaches the end compares the checksum of all bytes."""
        start = self.tell()
        try:
            return super().read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ShardError(
                f"{self._file.name}: the gzip file is damaged after byte {start} of its uncompressed content: {error}; "
                "build the shard again, or fetch it again"
            ) from error

    def close(self) -> None:
        """Close the stream and the file; `GzipFile` does not close a file that it was given."""
        super().close()
        self._file.close()
