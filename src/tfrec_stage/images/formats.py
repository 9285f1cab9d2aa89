"""Which image formats are read, whoever reads them."""

from functools import cache
from typing import Final

from PIL import Image

FORMATS: Final = ("PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
"""What is read beside JPEG: each can be told by its first bytes, and none runs another program, as EPS does."""


@cache
def readable_formats() -> tuple[str, ...]:
    """JPEG and those of `FORMATS` that this Pillow was built with; `Image.open` takes no others."""
    Image.init()  # imports all of Pillow's formats, so that the names are known
    return tuple(name for name in ("JPEG", *FORMATS) if name in Image.OPEN)
