"""Turn the bytes of any image into an upright 8-bit RGB JPEG that TensorFlow decodes, or say why not.

    such a JPEG          ──structure, decode──▶ the same bytes
    any other image      ──first frame, 8 bit, alpha over the background, upright──▶ a new JPEG

The content decides the format, never the suffix of the file. Colour profiles are not applied.
"""

import errno
import io
import os
from contextlib import suppress
from functools import cache
from typing import BinaryIO, Final, NamedTuple

from PIL import Image, features

from tfrec_stage.errors import OutputError, RecordError
from tfrec_stage.images.decode import as_rgb, check_size, decode_pixels, explain_error
from tfrec_stage.images.exif import Orientation, Size
from tfrec_stage.images.jpeg import JpegHeader, parse_jpeg
from tfrec_stage.images.policy import ImagePolicy, Verify

TRANSFORMS: Final = frozenset(
    {
        "reencoded",  # Pillow wrote a new JPEG
        "rotated",  # an EXIF orientation was applied to the pixels
        "orientation_ambiguous",  # it was applied, but the record does not say on which frame annotations were made
        "raw_frame_kept",  # the EXIF orientation was set to 1, as annotations were made on the stored frame
        "first_frame",  # further frames or pictures of the file were dropped
        "trailing_bytes_dropped",  # bytes after the end of the JPEG were dropped
        "alpha_flattened",  # transparent pixels were composed over the background
    }
)

# Coding processes that TensorFlow is known to decode; it may lack others (arithmetic, lossless).
_STORED_UNCHANGED: Final = frozenset({"baseline", "extended", "progressive"})
# By EXIF orientation. Pillow rotates counterclockwise: 6 needs a quarter turn clockwise.
_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class EncodedImage(NamedTuple):
    """An upright 8-bit JPEG of three components, RGB or YCbCr."""

    data: bytes
    """The JPEG, from its first marker to its end marker."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    transforms: tuple[str, ...] = ()
    """What was done to it; some of `TRANSFORMS`."""
    colorspace: str = "RGB"
    """Colour space that it decodes to."""
    channels: int = 3
    """Channels that it decodes to."""
    format: str = "JPEG"
    """Format of `data`."""
    source_format: str = "JPEG"
    """Format of the original file, by its content."""
    sha256: str | None = None
    """SHA-256 of `data` in hexadecimal if already known; None: computed when needed."""
    is_decoded: bool = False
    """Whether its pixels were decoded, and not only its structure checked."""

    @property
    def is_reencoded(self) -> bool:
        """Whether Pillow wrote the bytes, so that its version matters."""
        return "reencoded" in self.transforms


@cache
def pixel_codec() -> str:
    """Name the libraries that re-encode images, with versions: `pillow 13.0.0, libjpeg-turbo 3.1.2`."""
    library = "libjpeg-turbo" if features.check_feature("libjpeg_turbo") else "libjpeg"
    version = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    return f"pillow {features.version_module('pil')}, {library} {version}"


def encode_image(
    data: bytes, policy: ImagePolicy, *, annotated_size: Size | None = None, sha256: str | None = None
) -> EncodedImage:
    """Return the image as shards store it. Threads may call it at the same time.

    Args:
        data: content of an image file.
        policy: what to verify, and how to re-encode.
        annotated_size: width and height that the annotations were made on, if the record states them.
        sha256: SHA-256 of `data` in hexadecimal, if it is known.

    Raises:
        RecordError: the image cannot be read (`image_…`) or is not of the annotated size (`annotation_invalid`).
        OutputError: the system has no memory for the new JPEG.
    """
    if not data:
        raise RecordError("image_empty", "expected an image, but got 0 bytes")
    # Start of image (ff d8), and the first byte of the marker that has to follow.
    if data.startswith(b"\xff\xd8\xff"):
        return _encode_jpeg(data, policy, annotated_size, sha256)
    return _encode_other(data, policy, annotated_size)


def _encode_jpeg(data: bytes, policy: ImagePolicy, annotated_size: Size | None, sha256: str | None) -> EncodedImage:
    header = parse_jpeg(data)
    _check_variant(header)
    check_size(header.size)
    rotation = header.orientation.choose(header.size, annotated_size)
    transforms = _orientation_transforms(header.orientation, rotation, header.size, annotated_size)
    if header.end < len(data):
        transforms.append("first_frame" if header.has_more_pictures else "trailing_bytes_dropped")
        # What follows the end marker is not part of the image: phones append further pictures and depth maps.
        data, sha256 = data[: header.end], None
    if rotation.value != 1 or header.components != 3 or header.process not in _STORED_UNCHANGED:
        return _write_jpeg(_decode_jpeg(data, header), rotation, policy, transforms)
    if policy.verify is Verify.decode:
        _verify_decodable(data, header)
    if header.orientation.value != 1:
        # The stored frame is kept, so its tag has to say upright: otherwise readers that apply EXIF would rotate it.
        data, sha256 = header.orientation.clear(data), None
    is_decoded = policy.verify is Verify.decode
    return EncodedImage(data, header.width, header.height, tuple(transforms), sha256=sha256, is_decoded=is_decoded)


def _check_variant(header: JpegHeader) -> None:
    if header.precision != 8:
        raise RecordError(
            "image_unsupported", f"unsupported JPEG: expected 8 bits a sample, but got {header.precision}"
        )
    if header.components not in (1, 3, 4):
        message = f"unsupported JPEG: expected 1, 3 or 4 components, but got {header.components}"
        raise RecordError("image_unsupported", message)


def _verify_decodable(data: bytes, header: JpegHeader) -> None:
    """Have libjpeg read all entropy-coded data. At 1/8 scale in gray it skips most of the other work."""
    _run_libjpeg(data, header, "L", scale=8)


def _decode_jpeg(data: bytes, header: JpegHeader) -> Image.Image:
    return _run_libjpeg(data, header, {1: "L", 3: "RGB", 4: "CMYK"}[header.components], scale=1)


def _run_libjpeg(data: bytes, header: JpegHeader, mode: str, scale: int) -> Image.Image:
    """Decode at 1/scale with Pillow's decoder alone: its JPEG plugin warns, and obeys LOAD_TRUNCATED_IMAGES."""
    # CMYK is stored inverted, as Adobe does; Pillow and browsers assume that even without an Adobe segment.
    raw_mode = "CMYK;I" if mode == "CMYK" else mode
    size = (-(-header.width // scale), -(-header.height // scale))  # libjpeg rounds up
    try:
        return Image.frombytes(mode, size, data, "jpeg", (raw_mode, "", scale, 0))
    except ValueError as error:
        if header.process in _STORED_UNCHANGED:
            raise RecordError("image_corrupt", f"damaged JPEG: libjpeg {explain_error(error)}") from None
        raise RecordError(
            "image_unsupported", f"unsupported JPEG: Pillow cannot decode {header.process} coding"
        ) from None


def _orientation_transforms(
    exif: Orientation, rotation: Orientation, stored: Size, annotated_size: Size | None
) -> list[str]:
    if exif.value == 1:
        return []
    if rotation.value == 1:
        return ["raw_frame_kept"]
    return ["rotated", "orientation_ambiguous"] if exif.is_ambiguous(stored, annotated_size) else ["rotated"]


def _encode_other(data: bytes, policy: ImagePolicy, annotated_size: Size | None) -> EncodedImage:
    pixels = decode_pixels(data, policy.background)
    rotation = pixels.exif.choose(pixels.image.size, annotated_size)
    transforms = pixels.transforms + _orientation_transforms(pixels.exif, rotation, pixels.image.size, annotated_size)
    return _write_jpeg(pixels.image, rotation, policy, transforms)._replace(source_format=pixels.format)


def _write_jpeg(pixels: Image.Image, rotation: Orientation, policy: ImagePolicy, transforms: list[str]) -> EncodedImage:
    """Encode pixels as a new JPEG without metadata."""
    upright = pixels.transpose(_TRANSPOSITIONS[rotation.value]) if rotation.value != 1 else pixels
    try:
        data = _save_jpeg(as_rgb(upright), policy.jpeg_quality)
    except OSError as error:
        raise OutputError(f"cannot encode {upright.width} x {upright.height} pixels as a JPEG: {error}") from error
    return EncodedImage(data, *upright.size, transforms=(*transforms, "reencoded"), is_decoded=True)


def _save_jpeg(pixels: Image.Image, quality: int) -> bytes:
    with _open_buffer() as buffer:
        # Colour is not subsampled: masks and drawings would lose their edges.
        pixels.save(buffer, "JPEG", quality=quality, subsampling=0, comment=None)
        buffer.seek(0)
        data = buffer.read()
    if not data.endswith(b"\xff\xd9"):  # Pillow does not check that everything was written
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data


def _open_buffer() -> BinaryIO:
    """Open a file in memory. Pillow writes to one with a descriptor without holding the GIL."""
    with suppress(AttributeError, OSError):  # only Linux has it, and not in every sandbox
        return open(os.memfd_create("jpeg"), "w+b", buffering=0)  # noqa: PTH123 - a descriptor has no path
    return io.BytesIO()
