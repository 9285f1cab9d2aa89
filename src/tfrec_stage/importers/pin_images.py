"""Pin the image of a record by its SHA-256, and read its size from the header; no pixel is decoded.

Only formats that a build accepts are opened: an import never starts a decoder for another format.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
from PIL import ExifTags, Image

from tfrec_stage.errors import RecordError
from tfrec_stage.images.file import read_image_file
from tfrec_stage.images.policy import readable_formats
from tfrec_stage.importers.interface import Problem
from tfrec_stage.records import ImageRecord
from tfrec_stage.text_files import is_utf8

_SWAPS_SIDES: Final = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Hash and sizes of an image file; None for what cannot be read."""

    sha256: str | None = None
    """SHA-256 of the file, in hexadecimal."""
    raw: tuple[int, int] | None = None
    """Width and height of the frame as stored, in pixels."""
    upright: tuple[int, int] | None = None
    """Width and height after the rotation that EXIF asks for, in pixels."""


def pin(record: ImageRecord, images_root: Path) -> ImageRecord | Problem:
    """Return the record with the `sha256` of its image and the size of the frame that was annotated.

    A stated width and height must be those of the stored or of the upright frame, and are kept; missing ones are those
    of the upright frame. If the file cannot be read, the record is returned as it is, and the build reports why.
    """
    if not (is_utf8(record.filename) and is_utf8(str(record.id))):
        return Problem(record.filename, "expected a name in UTF-8, as TFRecord readers do; rename the file")
    info = inspect_image(images_root / record.filename)
    if info.raw is None or info.upright is None:
        return msgspec.structs.replace(record, sha256=info.sha256)
    width, height = (record.width or info.upright[0], record.height or info.upright[1])
    if (width, height) not in (info.raw, info.upright):
        return Problem(record.filename, _mismatch(record, (width, height), info.upright))
    return msgspec.structs.replace(record, sha256=info.sha256, width=width, height=height)


def inspect_image(path: Path) -> ImageInfo:
    """Return the hash of a file and the sizes of its image; never raises for a file that cannot be read."""
    try:
        content = read_image_file(path)
    except RecordError:
        return ImageInfo()
    return ImageInfo(hashlib.sha256(content).hexdigest(), *_read_sizes(content))


def _mismatch(record: ImageRecord, stated: tuple[int, int], actual: tuple[int, int]) -> str:
    return (
        f"image {record.id} was annotated as {stated[0]}x{stated[1]} pixels, but the file has "
        f"{actual[0]}x{actual[1]}; its boxes belong to another image or were not scaled with it"
    )


def _read_sizes(content: bytes) -> tuple[tuple[int, int], tuple[int, int]] | tuple[None, None]:
    try:
        with Image.open(BytesIO(content), formats=readable_formats()) as image:
            raw = image.size
            upright = (raw[1], raw[0]) if _orientation(image) in _SWAPS_SIDES else raw
    except Exception:  # noqa: BLE001 - Pillow's plug-ins raise almost any type on damage; the build reports it
        return None, None
    return raw, upright


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow has already swapped the size of a TIFF
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # getexif() would decode all pixels to look for a chunk after them
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))
