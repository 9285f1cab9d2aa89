"""The EXIF orientation of an image: finding its tag, and applying or clearing it.

Source: EXIF 2.32, section 4.6.4 (tag 0x0112); TIFF 6.0, section 2 (the directory that contains it).
"""

import struct
from dataclasses import dataclass
from typing import Final

from tfrec_stage.errors import RecordError

_TAG: Final = 0x0112  # "Orientation"
_FORMATS: Final = {1: "B", 3: "H", 4: "I"}  # the standard says SHORT; some cameras write BYTE or LONG
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels have to be rotated or mirrored to be upright."""

    value: int = 1
    """1: upright, 3: rotated by 180°, 6 and 8: by 90°; 2, 4, 5 and 7: the same, mirrored."""
    at: int = 0
    """Offset of the value in the searched bytes; 0 if there is none."""
    format: str = ""
    """Format of the value in the notation of `struct`."""

    def apply(self, stored: Size) -> Size:
        """Return width and height of the upright image, given those stored."""
        width, height = stored
        return (height, width) if self.value >= 5 else stored

    def clear(self, data: bytes) -> bytes:
        """Return the searched bytes with the orientation set to 1 (upright)."""
        number = struct.pack(self.format, 1)
        return b"".join((data[: self.at], number, data[self.at + len(number) :]))

    def choose(self, stored: Size, annotated: Size | None) -> "Orientation":
        """Return the orientation to apply, so that the image is the frame that its annotations were made on.

        That is the upright image, as viewers show it, unless the size that the annotations were made on can only be
        that of the stored frame: then the stored frame is kept.

        Args:
            stored: size as stored.
            annotated: size that the annotations were made on, if the record states it.

        Raises:
            RecordError: `annotation_invalid` if `annotated` fits neither frame.
        """
        upright = self.apply(stored)
        # Both frames may have this size (square images, rotations by 180°): then the upright one is assumed.
        if annotated is None or annotated == upright:
            return self
        if annotated == stored:
            return UPRIGHT
        expected = _show(upright) if upright == stored else f"{_show(upright)} upright or {_show(stored)} as stored"
        message = f"$.width, $.height: expected those of the image, {expected}, but the record says {_show(annotated)}"
        raise RecordError("annotation_invalid", message)

    def is_ambiguous(self, stored: Size, annotated: Size | None) -> bool:
        """Return whether the size cannot show if annotations were made on the upright or on the stored frame."""
        return self.value != 1 and (annotated is None or stored == self.apply(stored))


UPRIGHT: Final = Orientation()


def find_orientation(exif: bytes, start: int = 0, end: int | None = None) -> Orientation:
    r"""Find the orientation in an EXIF block, which begins with a TIFF header; upright if missing or malformed.

    Args:
        exif: bytes that contain the block.
        start: offset of the block's TIFF header.
        end: offset after the block; None for the end of the bytes.

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
    # An entry has 12 bytes: tag, type, count, value. Damaged EXIF may count more entries than the block holds.
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
