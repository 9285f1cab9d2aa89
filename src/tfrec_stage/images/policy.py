"""Options of images: how it is verified that they decode, how they are re-encoded, and which formats are read."""

import enum
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from PIL import Image

from tfrec_stage.errors import ConfigError
from tfrec_stage.options import check_types, check_within, show

FORMATS: Final = ("PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
"""Formats that are read besides JPEG: all are recognised by their first bytes, and none runs a program, as EPS does."""


class Verify(enum.Enum):
    """How it is verified that a JPEG stored unchanged can be decoded."""

    decode = "decode"
    """Its structure is complete, and libjpeg decodes it at 1/8 scale."""
    structure = "structure"
    """Its structure is complete: every segment and scan up to the end marker."""


@dataclass
class ImagePolicy:
    """How images are stored. Output options: all but `verify` change the bytes of shards.

    Raises:
        ConfigError: a field is out of its range.
    """

    verify: Verify = Verify.decode
    """How it is verified that a JPEG decodes."""
    jpeg_quality: int = 95
    """libjpeg quality of re-encoded images, 1 to 100; colour is never subsampled. More than 95 gains nothing:
    TensorFlow's default is a fast DCT, whose errors are largest at the highest qualities."""
    background: list[int] = field(default_factory=lambda: [255, 255, 255])
    """Red, green and blue, 0 to 255, under transparent pixels."""

    def __post_init__(self) -> None:
        check_types(self, "encode")
        check_within("encode.jpeg_quality", self.jpeg_quality, 1, 100)
        if len(self.background) != 3 or not all(0 <= level <= 255 for level in self.background):
            raise ConfigError(
                f"encode.background: expected [red, green, blue], each 0 to 255, but got {show(self.background)}"
            )


@cache
def readable_formats() -> tuple[str, ...]:
    """Return JPEG and those of `FORMATS` that this Pillow supports, for `Image.open`."""
    Image.init()  # imports all of Pillow's formats, which registers their names
    return tuple(name for name in ("JPEG", *FORMATS) if name in Image.OPEN)
