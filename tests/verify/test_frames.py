"""Frames that may be damaged."""

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


def walk(data: bytes, expected: int | None = None) -> list[WholeFrame | BrokenFrame]:
    return list(read_frames(io.BytesIO(data), expected))


def test_sound_frames() -> None:
    """Number, offset and payload of each."""
    assert walk(FILE) == [WholeFrame(*each) for each in zip(range(3), OFFSETS, PAYLOADS, strict=True)]
    assert walk(b"") == []


def header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", mask_crc(value(packed)))


@pytest.mark.parametrize("length", [1 << 27, 1 << 40, (1 << 64) - 1])
def test_a_length_gone_wild(length: int) -> None:
    """A length beyond the file, its CRC right or wrong, reads no more than there is."""
    (*_, cut) = walk(FILE + header(length) + b"some bytes")
    assert (cut.kind, cut.record, cut.offset, cut.is_last) == ("truncated", 3, len(FILE), True)
    (*_, broken) = walk(FILE + struct.pack("<QI", length, 0) + b"some bytes")
    assert (broken.kind, broken.record, broken.offset, broken.is_last) == ("length_crc", 3, len(FILE), True)


def test_a_length_that_is_right_after_all() -> None:
    """Where its CRC alone is damaged the payload proves it: nothing is lost."""
    data = bytearray(FILE)
    data[16 + 8] ^= 1
    found = walk(bytes(data))
    assert [type(each) for each in found] == [WholeFrame, BrokenFrame, WholeFrame, WholeFrame]
    assert (found[1].kind, found[1].is_lost) == ("length_crc", False)


def test_trailing_bytes_need_the_number_of_records() -> None:
    """Who does not know how many there are takes them for a record with a damaged length."""
    assert [each.kind for each in walk(FILE + b"x" * 20, 3) if isinstance(each, BrokenFrame)] == ["trailing_bytes"]
    assert [each.kind for each in walk(FILE + b"x" * 20, 2) if isinstance(each, BrokenFrame)] == ["length_crc"]
    assert [each.kind for each in walk(FILE + b"x" * 20) if isinstance(each, BrokenFrame)] == ["length_crc"]


class Forward(io.RawIOBase):
    """A stream that cannot seek, as a compressed one."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)

    def readable(self) -> bool:
        return True


def test_skipping(tmp_path: Path) -> None:
    """By seeking where that can be done, else by reading; the end of the file ends it."""
    for stream in (io.BytesIO(FILE), Forward(FILE)):
        skip(stream, OFFSETS[2])
        assert stream.read() == FILE[OFFSETS[2] :]
    short = Forward(FILE)
    skip(short, 10**6)
    assert short.read() == b""


def test_damaged_compression_is_unreadable() -> None:
    """What decompressing raises is among what is caught."""
    from tfrec_stage.verify.frames import UNREADABLE

    with pytest.raises(UNREADABLE):
        zlib.decompress(b"no zlib")
