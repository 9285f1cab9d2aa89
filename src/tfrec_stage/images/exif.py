"""The EXIF orientation of an image: where its tag is, what it says, what size it leaves.

Source: EXIF 2.32, section 4.6.4 (tag 0x0112); TIFF 6.0, section 2 (the directory that it stands in).
"""

import struct
from dataclasses import dataclass
from typing import Final

from tfrec_stage.errors import RecordError

_TAG: Final = 0x0112
_FORMATS: Final = {1: "B", 3: "H", 4: "I"}  # the standard says SHORT; some cameras write BYTE or LONG
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels have to be turned to stand upright."""

    value: int = 1
    """1 upright, 3 half a turn, 6 and 8 a quarter; 2, 4, 5 and 7 the same, mirrored."""
    at: int = 0
    """Offset of the number in the bytes that were searched; 0 where there is none."""
    format: str = ""
    """Format of the number, as `struct` names it."""

    def apply(self, stored: Size) -> Size:
        """Width and height of the upright image, from those stored."""
        width, height = stored
        return (height, width) if self.value >= 5 else stored

    def clear(self, data: bytes) -> bytes:
        """The bytes that were searched, in which the number now says 1: upright as they are."""
        number = struct.pack(self.format, 1)
        return b"".join((data[: self.at], number, data[self.at + len(number) :]))

    def choose(self, stored: Size, declared: Size | None) -> "Orientation":
        """The turn to make so that the image is the frame that its annotations were made on.

        Annotations are made on what a viewer shows, the upright image, unless the declared size can only be that
        of the stored frame: that one is then left as it is.

        Raises:
            RecordError: `annotation_invalid`; the declared size is that of neither frame.
        """
        upright = self.apply(stored)
        if declared is None or declared == upright:
            return self
        if declared == stored:
            return UPRIGHT
        expected = _show(upright) if upright == stored else f"{_show(upright)} upright or {_show(stored)} as stored"
        message = f"$.width, $.height: expected those of the image, {expected}, but the record says {_show(declared)}"
        raise RecordError("annotation_invalid", message)

    def is_ambiguous(self, stored: Size, declared: Size | None) -> bool:
        """Whether nothing tells if annotations were made on the upright image or on the stored one."""
        return self.value != 1 and (declared is None or stored == self.apply(stored))


UPRIGHT: Final = Orientation()


def find_orientation(exif: bytes, start: int = 0, end: int | None = None) -> Orientation:
    r"""Orientation in a block of EXIF, which begins with a TIFF header; upright where absent or malformed.

    Args:
        exif: bytes that hold the block.
        start: offset of the block's TIFF header.
        end: offset behind the block; the end of the bytes where None.

    Example:
        >>> find_orientation(b"II*\0\x08\0\0\0" b"\1\0" b"\x12\1\3\0\1\0\0\0\6\0\0\0").value
        6
    """
    order = _BYTE_ORDERS.get(exif[start : start + 4])
    end = len(exif) if end is None else end
    if order is None or end - start < 8:
        return UPRIGHT
    directory = start + struct.unpack_from(order + "I", exif, start + 4)[0]
    if directory + 2 > end:
        return UPRIGHT
    count = struct.unpack_from(order + "H", exif, directory)[0]
    stop = min(directory + 2 + 12 * count, end - 11)
    for entry in range(directory + 2, stop, 12):
        tag, kind = struct.unpack_from(order + "HH", exif, entry)
        if tag == _TAG:
            return _read_value(exif, entry + 8, order + _FORMATS.get(kind, "H"))
    return UPRIGHT


def _read_value(exif: bytes, at: int, number_format: str) -> Orientation:
    value = struct.unpack_from(number_format, exif, at)[0]
    return Orientation(value, at, number_format) if 1 <= value <= 8 else UPRIGHT


def _show(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
