"""Frames of damaged files are read as far as possible."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from google_crc32c import value

from tfrec_stage.tfrecord.framing import encode_frame, mask_crc
from tfrec_stage.verify.frames import BrokenFrame, WholeFrame, read_frames, skip

PAYLOADS = [b"", b"one", b"two" * 100]
FILE = b"".join(b"".join(encode_frame(payload)) for payload in PAYLOADS)
OFFSETS = [0, 16, 35]


def read_all(data: bytes, expected: int | None = None) -> list[WholeFrame | BrokenFrame]:
    """Read all frames and defects of a file."""
    return list(read_frames(io.BytesIO(data), expected))


def test_sound_frames() -> None:
    """Number, offset and payload of every valid frame are returned."""
    assert read_all(FILE) == [WholeFrame(*each) for each in zip(range(3), OFFSETS, PAYLOADS, strict=True)]
    assert read_all(b"") == []


def header(length: int) -> bytes:
    """Return the header of a frame with a right checksum."""
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", mask_crc(value(packed)))


@pytest.mark.parametrize("length", [1 << 27, 1 << 40, (1 << 64) - 1])
def test_a_length_beyond_the_file(length: int) -> None:
    """A length beyond the end of the file, its CRC right or wrong, is reported, and reads no more than there is."""
    (*_, cut) = read_all(FILE + header(length) + b"some bytes")
    assert (cut.kind, cut.record, cut.offset, cut.is_last) == ("truncated", 3, len(FILE), True)
    (*_, broken) = read_all(FILE + struct.pack("<QI", length, 0) + b"some bytes")
    assert (broken.kind, broken.record, broken.offset, broken.is_last) == ("length_crc", 3, len(FILE), True)


def test_a_damaged_crc_of_a_right_length() -> None:
    """If only the CRC of a length is damaged, the CRC of the payload proves the length, and nothing is lost."""
    data = bytearray(FILE)
    data[16 + 8] ^= 1
    frames = read_all(bytes(data))
    assert [type(each) for each in frames] == [WholeFrame, BrokenFrame, WholeFrame, WholeFrame]
    assert (frames[1].kind, frames[1].is_lost) == ("length_crc", False)


def test_trailing_bytes_need_the_number_of_records() -> None:
    """Without the number of records, trailing bytes look like a record with a damaged length."""
    assert [each.kind for each in read_all(FILE + b"x" * 20, 3) if isinstance(each, BrokenFrame)] == ["trailing_bytes"]
    assert [each.kind for each in read_all(FILE + b"x" * 20, 2) if isinstance(each, BrokenFrame)] == ["length_crc"]
    assert [each.kind for each in read_all(FILE + b"x" * 20) if isinstance(each, BrokenFrame)] == ["length_crc"]


class ForwardOnly(io.RawIOBase):
    """A stream that cannot seek, like a compressed one."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)

    def readable(self) -> bool:
        return True


def test_skipping(tmp_path: Path) -> None:
    """Bytes are skipped by seeking if possible, otherwise by reading, and not beyond the end of the file."""
    for stream in (io.BytesIO(FILE), ForwardOnly(FILE)):
        skip(stream, OFFSETS[2])
        assert stream.read() == FILE[OFFSETS[2] :]
    short = ForwardOnly(FILE)
    skip(short, 10**6)
    assert short.read() == b""


def test_damaged_compression_is_unreadable() -> None:
    """What decompression raises is among the errors that are caught."""
    from tfrec_stage.verify.frames import UNREADABLE

    with pytest.raises(UNREADABLE):
        zlib.decompress(b"no zlib")
