"""One gzip member, made of blocks that need nothing of what stands before them.

    header    ten bytes: no name, no time, unknown system
    blocks    each some bytes, deflated on their own or stored as they are, ending on a whole byte
    ending    an empty last block, then uint32 CRC32 and uint32 length modulo 2**32 of all bytes, little endian

Any gzip reader takes it as one file. Who knows where a block begins can inflate from there.

Source: RFC 1951 (deflate) and RFC 1952 (gzip).
"""

import struct
import zlib
from functools import cache
from typing import Final

GZIP_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
GZIP_MAGIC: Final = GZIP_HEADER[:3]
"""What every gzip file of deflated data begins with."""
RAW_WINDOW_BITS: Final = -zlib.MAX_WBITS
"""Tells zlib that there is neither header nor checksum around a block."""

_LEVEL: Final = 6  # of annotations 1 leaves a tenth more; 9 takes up to four times as long, for a fiftieth
_LAST_BLOCK: Final = b"\x03\0"
_TRAILER: Final = struct.Struct("<II")
_STORED: Final = struct.Struct("<BHH")
_MOST_STORED: Final = 0xFFFF


def deflate_block(data: bytes | bytearray) -> bytes:
    """Bytes → a block of them, deflated. The same bytes from the same zlib (`deflater`)."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, RAW_WINDOW_BITS)
    return deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)


def store_block(data: bytes) -> bytes:
    """Bytes → a block of them as they are, five more for every 65,535.

    >>> store_block(b"ab").hex()
    '000200fdff6162'
    """
    pieces: list[bytes | memoryview] = []
    view = memoryview(data)
    for start in range(0, len(view), _MOST_STORED):
        piece = view[start : start + _MOST_STORED]
        pieces += (_STORED.pack(0, len(piece), len(piece) ^ 0xFFFF), piece)
    return b"".join(pieces)


def gzip_ending(crc32: int, length: int) -> bytes:
    """What ends the member, given the CRC32 and the length of everything in its blocks."""
    return _LAST_BLOCK + _TRAILER.pack(crc32, length & 0xFFFFFFFF)


@cache
def deflater() -> str:
    """What deflates: `zlib 1.2.13, level 6, sample 0f1e2d3c`.

    The sample is a checksum of something deflated: libraries that take zlib's place may carry its version and give
    other bytes.
    """
    sample = b"".join(b"image/object/%d/%d" % (number % 7, number * number) for number in range(8192))
    return f"zlib {zlib.ZLIB_RUNTIME_VERSION}, level {_LEVEL}, sample {zlib.crc32(deflate_block(sample)):08x}"
