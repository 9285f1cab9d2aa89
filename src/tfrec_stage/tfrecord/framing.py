"""TFRecord framing: payload ↔ frame.

A TFRecord file is a sequence of frames, with nothing before, between or after them:

    uint64  length of the payload, little endian
    uint32  masked CRC32C of those eight bytes
    byte    payload[length]
    uint32  masked CRC32C of the payload

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
"""

import struct
from collections.abc import Iterator
from os import SEEK_END
from typing import BinaryIO, Final, NamedTuple

from google_crc32c import extend, value

from tfrec_stage.errors import ShardError

HEADER: Final = struct.Struct("<QI")
FOOTER: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<Q")
_MASK_DELTA: Final = 0xA282EAD8


class Frame(NamedTuple):
    """One record of a TFRecord file."""

    offset: int
    """Offset of the frame, in bytes from the start of the (uncompressed) file."""
    payload: bytes
    """The record; its checksum has been compared."""


def mask_crc(crc: int) -> int:
    """Turn a CRC32C into the form stored in frames: rotated right by 15 bits, plus a constant, modulo 2**32."""
    # A CRC of data that contains CRCs detects less, and a payload may contain CRCs. The mask keeps the two apart.
    # `crc << 17` has up to 49 bits; the final mask cuts it to 32.
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def encode_frame(*payload: bytes) -> tuple[bytes, ...]:
    """Frame one payload, given in pieces; the result is a header, the same pieces without a copy, and a footer.

    >>> b"".join(encode_frame(b"ab", b"c")).hex()
    '0300000000000000f0a84a7d616263a42d8112'
    """
    length = crc = 0
    for piece in payload:
        length += len(piece)
        crc = extend(crc, piece)
    packed = _LENGTH.pack(length)
    return (HEADER.pack(length, mask_crc(value(packed))), *payload, FOOTER.pack(mask_crc(crc)))


def is_header(data: bytes) -> bool:
    """Return whether these bytes are the header of a frame: a length and its checksum."""
    return len(data) == HEADER.size and mask_crc(value(data[:8])) == HEADER.unpack(data)[1]


def decode_frames(stream: BinaryIO, name: str) -> Iterator[Frame]:
    """Iterate over the frames of a TFRecord file; the checksums of each are compared before it is returned.

    Args:
        stream: the file, read from front to end.
        name: its name in error messages.

    Raises:
        ShardError: a length or a payload does not match its checksum, or the file ends inside a frame.
    """
    offset = 0
    while header := stream.read(HEADER.size):
        payload = _read_payload(stream, header, name, offset)
        yield Frame(offset, payload)
        offset += HEADER.size + len(payload) + FOOTER.size


def frame_spans(stream: BinaryIO, name: str) -> Iterator[tuple[int, int]]:
    """Iterate over offset and size in bytes of each frame of a TFRecord file, without reading payloads.

    Args:
        stream: the file; it has to be seekable.
        name: its name in error messages.

    Raises:
        ShardError: a length does not match its checksum, or the file ends inside a frame.
    """
    end = stream.seek(0, SEEK_END)
    offset = stream.seek(0)
    while offset < end:
        size = HEADER.size + _read_length(stream.read(HEADER.size), name, offset) + FOOTER.size
        if offset + size > end:  # a seek beyond the end would not fail
            raise ShardError(f"{name}: expected {size} bytes of record at byte {offset}, but the file ends within it")
        yield offset, size
        offset = stream.seek(offset + size)


def _read_length(header: bytes, name: str, offset: int) -> int:
    if len(header) < HEADER.size:
        raise ShardError(
            f"{name}: expected {HEADER.size} bytes of header at byte {offset}, but the file ends after {len(header)}"
        )
    if not is_header(header):
        raise ShardError(f"{name}: the length of the record at byte {offset} does not have its CRC32C")
    return int(HEADER.unpack(header)[0])


def _read_payload(stream: BinaryIO, header: bytes, name: str, offset: int) -> bytes:
    # The length is trusted only because its own checksum matched: a damaged one could ask for exabytes.
    length = _read_length(header, name, offset)
    payload = stream.read(length)
    footer = stream.read(FOOTER.size)
    if len(payload) < length or len(footer) < FOOTER.size:
        raise ShardError(f"{name}: expected {length} bytes in the record at byte {offset}, but the file ends within it")
    if mask_crc(value(payload)) != FOOTER.unpack(footer)[0]:
        raise ShardError(f"{name}: the payload of the record at byte {offset} does not have its CRC32C")
    return payload
