"""Pin an image: its SHA-256 and its size, read from its bytes and header; no pixel is decoded.

Only formats that a build accepts are opened: an import never starts a decoder for any other.
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

_ON_ITS_SIDE: Final = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a file states about its image; None if it cannot be read."""

    sha256: str | None = None
    """Digest of the file, in hexadecimal."""
    raw: tuple[int, int] | None = None
    """Width and height of the stored frame, in pixels."""
    upright: tuple[int, int] | None = None
    """Width and height after the rotation that the file asks for, in pixels."""


def pin(record: ImageRecord, images_root: Path) -> ImageRecord | Problem:
    """Return the record with its image's `sha256` and the size of the frame that its annotations were made on.

    A stated width and height are kept if they fit the stored or the upright frame; otherwise the upright frame is used.
    If the file cannot be read, the record is unchanged, and the build reports why.
    """
    if not (is_utf8(record.filename) and is_utf8(str(record.id))):
        return Problem(record.filename, "expected a name in UTF-8, as TFRecord readers do; rename the file")
    facts = inspect_image(images_root / record.filename)
    if facts.raw is None or facts.upright is None:
        return msgspec.structs.replace(record, sha256=facts.sha256)
    width, height = (record.width or facts.upright[0], record.height or facts.upright[1])
    if (width, height) not in (facts.raw, facts.upright):
        return Problem(record.filename, _mismatch(record, (width, height), facts.upright))
    return msgspec.structs.replace(record, sha256=facts.sha256, width=width, height=height)


def inspect_image(path: Path) -> ImageFacts:
    """Return the hash of a file and the sizes of its image; what cannot be read is None, never an error."""
    try:
        content = read_image_file(path)
    except RecordError:
        return ImageFacts()
    return ImageFacts(hashlib.sha256(content).hexdigest(), *_read_sizes(content))


def _mismatch(record: ImageRecord, stated: tuple[int, int], actual: tuple[int, int]) -> str:
    return (
        f"image {record.id} was annotated as {stated[0]}x{stated[1]} pixels, but the file has "
        f"{actual[0]}x{actual[1]}; its boxes belong to another image or were not scaled with it"
    )


def _read_sizes(content: bytes) -> tuple[tuple[int, int], tuple[int, int]] | tuple[None, None]:
    try:
        with Image.open(BytesIO(content), formats=readable_formats()) as image:
            raw = image.size
            upright = (raw[1], raw[0]) if _orientation(image) in _ON_ITS_SIDE else raw
    except Exception:  # noqa: BLE001 - plug-ins raise nearly anything on damage; the encoder says what
        return None, None
    return raw, upright


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow already returns the upright size of a TIFF
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # getexif() would decode all pixels to look for a chunk after them
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))
