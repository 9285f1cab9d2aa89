"""Decode the first frame of images other than JPEG to RGB pixels, with Pillow.

The content decides the format, never the suffix of the file. Colour profiles are not applied.
"""

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from PIL import Image, ImageFile

from tfrec_stage.errors import ConfigError, RecordError
from tfrec_stage.images.exif import Orientation, Size, find_orientation
from tfrec_stage.images.jpeg import compile_search
from tfrec_stage.images.policy import FORMATS

PIXEL_LIMIT: Final = 178_956_970
"""Maximum number of pixels: Pillow refuses more by default, and so does TensorFlow's decoder (2^29 bytes)."""
SIDE_LIMIT: Final = 65_500
"""Maximum width and height that libjpeg reads or writes."""
_EIGHT_BIT_MODES: Final = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"})
_search_animation: Final = compile_search(b"acTL")  # the chunk of an animated PNG
_lock: Final = threading.Lock()

# PNG, IHDR chunk: offsets in the file.
_PNG_DEPTH, _PNG_COLOR_TYPE = 24, 25
_PNG_GRAY, _PNG_RGB = 0, 2
# TIFF tags: BitsPerSample and PhotometricInterpretation (1: 0 is black).
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_BLACK_IS_ZERO = 258, 262, 1


class Pixels(NamedTuple):
    """The first frame of an image."""

    image: Image.Image
    """RGB, 8 bits, as stored."""
    format: str
    """Its format."""
    exif: Orientation
    """Its EXIF orientation."""
    transforms: list[str]
    """What was done to it; some of `encode.TRANSFORMS`."""


def decode_pixels(data: bytes, background: Sequence[int]) -> Pixels:
    """Decode the first frame. Threads may call it at the same time.

    Args:
        data: content of an image file that is not a JPEG.
        background: red, green and blue, 0 to 255, under transparent pixels.

    Raises:
        RecordError: the image cannot be read (`image_…`).
    """
    name = _identify(data)
    try:
        image = _open(data, name)
        check_size(image.size)
        _load(image, data)
        pixels, transforms = _flatten(_reduce_depth(image, data), background)
        if _has_more_frames(image):
            transforms.append("first_frame")
    except (RecordError, ConfigError):  # raised by this module: the last clause would report them as damage
        raise
    except Image.DecompressionBombError as error:
        raise RecordError("image_too_large", str(error)) from None
    except Exception as error:  # noqa: BLE001 - parsers may raise anything on damaged data
        raise RecordError("image_corrupt", f"damaged {name}, or of an unknown kind: {explain_error(error)}") from None
    return Pixels(pixels, name, _read_orientation(image), transforms)


def check_size(size: Size) -> None:
    """Refuse images that are too large for the decoders.

    Raises:
        RecordError: `image_too_large`.
    """
    width, height = size
    if width * height > PIXEL_LIMIT or max(size) > SIDE_LIMIT:
        limits = f"at most {PIXEL_LIMIT} pixels and {SIDE_LIMIT} a side"
        raise RecordError("image_too_large", f"expected {limits}, but got {width} x {height}")


def as_rgb(image: Image.Image) -> Image.Image:
    """Return the image in RGB; unchanged if it is, as `convert` would copy every pixel."""
    return image if image.mode == "RGB" else image.convert("RGB")


def explain_error(error: Exception) -> str:
    """Return the message of a decoder, for the end of a sentence."""
    return f"says {str(error) or type(error).__name__!r}"


def _identify(data: bytes) -> str:
    """Return the name of the format, by its first bytes."""
    with _lock:  # the first call imports all of Pillow's formats, which is not safe in threads
        Image.init()
    for name in FORMATS:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        if accept and accept(data[:16]) is True:
            return name
    message = f"expected JPEG, {', '.join(FORMATS)}, but the content begins with {data[:16]!r}"
    raise RecordError("image_unknown_format", message)


def _open(data: bytes, name: str) -> ImageFile.ImageFile:
    """Read the header. Unlike `Image.open` it tries one format only, and does not warn of large images."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ConfigError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on, which lets damaged images through: set it to False"
        )
    with _quiet():
        return Image.OPEN[name][0](io.BytesIO(data), "")


def _load(image: ImageFile.ImageFile, data: bytes) -> None:
    """Decode the first frame, without the lock if no warning can occur."""
    if image.format != "TIFF" and not _search_animation(data):
        image.load()
        return
    with _quiet():
        image.load()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings, one thread at a time: `catch_warnings` replaces a list that all threads share."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reduce_depth(image: Image.Image, data: bytes) -> Image.Image:
    """Scale 16-bit gray to 8 bits; Pillow does that for colour, but would clip gray.

    Raises:
        RecordError: `image_unsupported` if the range of the samples is unknown, or Pillow misreads them.
    """
    # Pillow compares a transparent colour with samples that it has scaled to 8 bits: the wrong pixels would match.
    if image.format == "PNG" and "transparency" in image.info and _has_scaled_transparent_color(data):
        raise _unsupported(image, f"a transparent colour of {data[_PNG_DEPTH]} bits, which Pillow compares with 8")
    if image.mode in _EIGHT_BIT_MODES:
        return image
    if not image.mode.startswith("I;16") and (image.mode, image.format) != ("I", "PPM"):
        raise _unsupported(image, f"samples of kind {image.mode}")
    # Pillow leaves 12-bit gray unscaled, and does not invert 16-bit gray in which 0 is white.
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TIFF_BITS, (16,)) != (16,) or tags.get(_TIFF_PHOTOMETRIC, _TIFF_BLACK_IS_ZERO) != _TIFF_BLACK_IS_ZERO:
        got = f"gray of {tags.get(_TIFF_BITS)} bits, photometric interpretation {tags.get(_TIFF_PHOTOMETRIC)}"
        raise _unsupported(image, got)
    # The high byte of each sample, without rounding. `convert("L")` alone would clip every level above 255 to white.
    return image.convert("I").point(lambda level: level * (1 / 256)).convert("L")


def _has_scaled_transparent_color(data: bytes) -> bool:
    return data[_PNG_COLOR_TYPE] in (_PNG_GRAY, _PNG_RGB) and data[_PNG_DEPTH] in (2, 4, 16)


def _unsupported(image: Image.Image, got: str) -> RecordError:
    return RecordError(
        "image_unsupported", f"unsupported {image.format}: expected samples of 8 or 16 bits, but got {got}"
    )


def _flatten(image: Image.Image, background: Sequence[int]) -> tuple[Image.Image, list[str]]:
    """Return RGB pixels, with transparent ones composed over the background."""
    if not image.has_transparency_data:
        return as_rgb(image), []
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, tuple(background))
    canvas.paste(rgba, mask=rgba)
    return canvas, ["alpha_flattened"]


def _has_more_frames(image: Image.Image) -> bool:
    try:
        with _quiet():
            return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 - GIF reads the second frame, which may be damaged
        return True


def _read_orientation(image: Image.Image) -> Orientation:
    """Return the EXIF orientation of a loaded image; Pillow has already applied that of a TIFF."""
    exif = b"" if image.format == "TIFF" else image.info.get("exif", b"")
    return find_orientation(exif.removeprefix(b"Exif\0\0"))
