"""Read the frames of a TFRecord file that may be damaged: everything readable is read, each defect is reported once.

`tfrecord.framing.decode_frames`, in contrast, stops at the first defect.
"""

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from google_crc32c import value

from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, mask_crc

UNREADABLE: Final = (OSError, EOFError, zlib.error, ShardError)
"""What opening and reading a file may raise, including compressed files."""
_CHUNK_BYTES: Final = 1 << 26
"""Bytes per read call. `read(n)` may allocate n bytes first, so a damaged length could exhaust the memory."""
_PLAUSIBLE_BYTES: Final = 1 << 28
"""A length above this is not tried if its CRC32C is wrong: that would read the rest of the file into memory."""


class WholeFrame(NamedTuple):
    """A record whose payload has the right CRC32C."""

    record: int
    """Number of the record, from 0."""
    offset: int
    """Offset of its frame in bytes."""
    payload: bytes


class BrokenFrame(NamedTuple):
    """A defect of the framing."""

    kind: str
    """One of `findings.KINDS`."""
    record: int
    """Number of the record, from 0."""
    offset: int
    """Offset of its frame in bytes."""
    message: str
    """What is wrong, for people."""
    is_last: bool
    """Whether nothing after it can be read: the start of the next frame is unknown, or there is none."""
    is_lost: bool = True
    """Whether a record is lost by it."""


def read_frames(stream: BinaryIO, expected_records: int | None = None) -> Iterator[WholeFrame | BrokenFrame]:
    """Iterate over frames and defects in the order of the file.

    After a payload with a wrong CRC32C, reading goes on: the start of the next frame is known. A length with a wrong
    CRC32C is trusted if the payload it implies has the right one. Otherwise nothing after it can be found.

    Args:
        stream: the file, read forward only.
        expected_records: number of records that the file should have, if known. Bytes after the last of them that
            are no record are then reported as `trailing_bytes`.
    """
    offset = record = 0
    while header := _read(stream, HEADER.size):
        payload, size, broken = _read_frame(stream, header, record, offset)
        if broken is not None and broken.is_last and record == expected_records:
            # All records were read, so this is not a damaged record, and none is lost.
            message = f"behind the last of {record} records there are bytes that are no record"
            broken = BrokenFrame("trailing_bytes", record, offset, message, is_last=True, is_lost=False)
        if broken is not None:
            yield broken
            if broken.is_last:
                return
        # If only the CRC of the length is wrong, the record is reported and read all the same.
        if broken is None or not broken.is_lost:
            yield WholeFrame(record, offset, payload)
        offset += size
        record += 1


def _read_frame(stream: BinaryIO, header: bytes, record: int, offset: int) -> tuple[bytes, int, BrokenFrame | None]:
    """Return payload and size of a frame, and its defect if it has one."""
    if len(header) < HEADER.size:
        return b"", 0, _truncated(record, offset, HEADER.size, len(header))
    length, length_crc = HEADER.unpack(header)
    has_length = mask_crc(value(header[:8])) == length_crc
    if not has_length and length > _PLAUSIBLE_BYTES:
        return b"", 0, _broken_length(record, offset, trusted=False)
    # Read also after a wrong CRC32C of the length: the CRC32C of the payload shows whether the length is right.
    payload, footer = _read(stream, length), _read(stream, FOOTER.size)
    size = HEADER.size + length + FOOTER.size
    has_payload = len(footer) == FOOTER.size and mask_crc(value(payload)) == FOOTER.unpack(footer)[0]
    # Report a wrong length first: it usually leads beyond the end of the file, which would look like a truncated file.
    if not has_length:
        return payload, size, _broken_length(record, offset, trusted=has_payload)
    if len(footer) < FOOTER.size:
        return b"", 0, _truncated(record, offset, size, HEADER.size + len(payload) + len(footer))
    if not has_payload:
        message = f"the content of {length} bytes does not have its CRC32C"
        return b"", size, BrokenFrame("payload_crc", record, offset, message, is_last=False)
    return payload, size, None


def _broken_length(record: int, offset: int, *, trusted: bool) -> BrokenFrame:
    message = "the length of the record does not have its CRC32C"
    if trusted:
        message += ", but its content does: the CRC alone is damaged"
    elif offset == 0:
        message += ": the file is damaged from its first byte, or is no TFRecord file"
    else:
        message += ", so that the rest of the file cannot be read"
    return BrokenFrame("length_crc", record, offset, message, is_last=not trusted, is_lost=not trusted)


def _truncated(record: int, offset: int, expected: int, got: int) -> BrokenFrame:
    message = f"expected {expected} bytes, but the file ends after {got}"
    return BrokenFrame("truncated", record, offset, message, is_last=True)


def skip(stream: BinaryIO, size: int) -> None:
    """Skip bytes. A compressed stream cannot seek, so they are read and dropped."""
    if stream.seekable():
        stream.seek(size, os.SEEK_CUR)
        return
    while size > 0 and (chunk := stream.read(min(size, _CHUNK_BYTES))):
        size -= len(chunk)


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read up to `size` bytes: fewer only at the end of the file."""
    if size <= _CHUNK_BYTES:
        return stream.read(size)
    chunks = []
    while size > 0 and (chunk := stream.read(min(size, _CHUNK_BYTES))):
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
