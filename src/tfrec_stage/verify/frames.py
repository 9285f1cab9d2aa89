"""Read the frames of a TFRecord file that may be damaged: everything readable is read, each defect reported once.

`tfrecord.framing.decode_frames` stops at the first defect instead.
"""

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from google_crc32c import value

from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, mask_crc

UNREADABLE: Final = (OSError, EOFError, zlib.error, ShardError)
"""What opening and reading a file may raise, compressed ones included."""
_PIECE: Final = 1 << 26
"""Bytes read at once, so that a length gone wild allocates no more than the file has."""
_BELIEVABLE: Final = 1 << 28
"""A length that does not have its CRC32C is not even tried from here on: it would read all that is left."""


class WholeFrame(NamedTuple):
    """A record whose payload has its CRC32C."""

    record: int
    """Number of the record, from 0."""
    offset: int
    """Where its frame begins, in bytes."""
    payload: bytes


class BrokenFrame(NamedTuple):
    """A defect of the framing."""

    kind: str
    """One of `faults.KINDS`."""
    record: int
    """Number of the record, from 0."""
    offset: int
    """Where its frame begins, in bytes."""
    message: str
    is_last: bool
    """Whether how many records follow cannot be known."""
    is_lost: bool = True
    """Whether the record cannot be read."""


def read_frames(stream: BinaryIO, expected_records: int | None = None) -> Iterator[WholeFrame | BrokenFrame]:
    """Iterate over frames and defects in the order of the file.

    After a payload with a wrong CRC32C, reading goes on: the start of the next frame is known. A length with a wrong
    CRC32C is trusted if the payload it implies has the right one; otherwise nothing after it can be found.

    Args:
        stream: the file, read forward only.
        expected_records: how many records the file should have, if known: bytes after the last of them that are no
            record are reported as `trailing_bytes`.
    """
    offset = record = 0
    while header := _read(stream, HEADER.size):
        payload, size, broken = _read_frame(stream, header, record, offset)
        if broken is not None and broken.is_last and record == expected_records:
            message = f"behind the last of {record} records there are bytes that are no record"
            broken = BrokenFrame("trailing_bytes", record, offset, message, is_last=True, is_lost=False)
        if broken is not None:
            yield broken
            if broken.is_last:
                return
        if broken is None or not broken.is_lost:
            yield WholeFrame(record, offset, payload)
        offset += size
        record += 1


def _read_frame(stream: BinaryIO, header: bytes, record: int, offset: int) -> tuple[bytes, int, BrokenFrame | None]:
    """Return payload and size of the frame, and its defect if it has one."""
    if len(header) < HEADER.size:
        return b"", 0, _cut(record, offset, HEADER.size, len(header))
    length, length_crc = HEADER.unpack(header)
    has_length = mask_crc(value(header[:8])) == length_crc
    if not has_length and length > _BELIEVABLE:
        return b"", 0, _broken_length(record, offset, believed=False)
    payload, footer = _read(stream, length), _read(stream, FOOTER.size)
    size = HEADER.size + length + FOOTER.size
    has_payload = len(footer) == FOOTER.size and mask_crc(value(payload)) == FOOTER.unpack(footer)[0]
    if not has_length:
        return payload, size, _broken_length(record, offset, believed=has_payload)
    if len(footer) < FOOTER.size:
        return b"", 0, _cut(record, offset, size, HEADER.size + len(payload) + len(footer))
    if not has_payload:
        message = f"the content of {length} bytes does not have its CRC32C"
        return b"", size, BrokenFrame("payload_crc", record, offset, message, is_last=False)
    return payload, size, None


def _broken_length(record: int, offset: int, *, believed: bool) -> BrokenFrame:
    message = "the length of the record does not have its CRC32C"
    if believed:
        message += ", but its content does: the CRC alone is damaged"
    elif offset == 0:
        message += ": the file is damaged from its first byte, or is no TFRecord file"
    else:
        message += ", so that the rest of the file cannot be read"
    return BrokenFrame("length_crc", record, offset, message, is_last=not believed, is_lost=not believed)


def _cut(record: int, offset: int, expected: int, got: int) -> BrokenFrame:
    message = f"expected {expected} bytes, but the file ends after {got}"
    return BrokenFrame("truncated", record, offset, message, is_last=True)


def skip(stream: BinaryIO, size: int) -> None:
    """Skip bytes of a stream that may be compressed, and then cannot seek."""
    if stream.seekable():
        stream.seek(size, os.SEEK_CUR)
        return
    while size > 0 and (piece := stream.read(min(size, _PIECE))):
        size -= len(piece)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read up to `size` bytes: fewer at the end of the file."""
    if size <= _PIECE:
        return stream.read(size)
    pieces = []
    while size > 0 and (piece := stream.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
