"""Any image's bytes → an upright 8-bit RGB JPEG that TensorFlow decodes, or the reason why not.

    a JPEG of that kind  ──structure, decode──▶ the same bytes
    any other image      ──first frame, 8 bit, alpha over the background, upright──▶ a new JPEG

The content decides what an image is, never the suffix of its file. Colour profiles are not applied.
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

NOTES: Final = frozenset(
    {
        "reencoded",  # the bytes are a new JPEG, made by Pillow
        "rotated",  # an EXIF orientation was applied to the pixels
        "orientation_ambiguous",  # it was, though nothing says on which frame the annotations were made
        "raw_frame_kept",  # an EXIF orientation was set to 1, for the annotations were made on the stored frame
        "first_frame",  # the file has more frames or pictures, which were dropped
        "trailing_bytes_dropped",  # bytes behind the end of the JPEG were dropped
        "alpha_flattened",  # transparent pixels were laid over the background
    }
)

_PASSED_THROUGH: Final = frozenset({"baseline", "extended", "progressive"})
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
    """Pixels of a row."""
    height: int
    """Rows."""
    notes: tuple[str, ...] = ()
    """What was done to it; some of `NOTES`."""
    colorspace: str = "RGB"
    """Colour space that it decodes to."""
    channels: int = 3
    """Channels that it decodes to."""
    format: str = "JPEG"
    """Format of `data`."""
    source_format: str = "JPEG"
    """Format of the file it came from, by its content."""
    sha256: str | None = None
    """SHA-256 of `data` in hexadecimal, if it is known already; None: computed where it is needed."""

    @property
    def is_reencoded(self) -> bool:
        """Whether Pillow made the bytes, so that its version matters."""
        return "reencoded" in self.notes


@cache
def pixel_codec() -> str:
    """What encodes pixels anew: `pillow 13.0.0, libjpeg-turbo 3.1.2`."""
    library = "libjpeg-turbo" if features.check_feature("libjpeg_turbo") else "libjpeg"
    version = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    return f"pillow {features.version_module('pil')}, {library} {version}"


def encode_image(data: bytes, policy: ImagePolicy, *, declared: Size | None = None) -> EncodedImage:
    """The image as shards hold it; may be called from many threads at once.

    Args:
        data: content of an image file.
        policy: what to prove, and how to re-encode.
        declared: width and height of the frame that annotations were made on, if the record says so.

    Raises:
        RecordError: the image cannot be read (`image_…`) or is not of the declared size (`annotation_invalid`).
        OutputError: the system has no room for the new JPEG.
    """
    if not data:
        raise RecordError("image_empty", "expected an image, but got 0 bytes")
    if data.startswith(b"\xff\xd8\xff"):
        return _encode_jpeg(data, policy, declared)
    return _encode_other(data, policy, declared)


def _encode_jpeg(data: bytes, policy: ImagePolicy, declared: Size | None) -> EncodedImage:
    header = parse_jpeg(data)
    _check_variant(header)
    check_size(header.size)
    turn = header.orientation.choose(header.size, declared)
    notes = _note_orientation(header.orientation, turn, header.size, declared)
    if header.end < len(data):
        notes.append("first_frame" if header.has_more_pictures else "trailing_bytes_dropped")
        data = data[: header.end]
    if turn.value != 1 or header.components != 3 or header.kind not in _PASSED_THROUGH:
        return _write_jpeg(_decode_jpeg(data, header), turn, policy, notes)
    if policy.verify is Verify.decode:
        _prove_decodable(data, header)
    if header.orientation.value != 1:
        data = header.orientation.clear(data)
    return EncodedImage(data, header.width, header.height, tuple(notes))


def _check_variant(header: JpegHeader) -> None:
    if header.precision != 8:
        raise RecordError(
            "image_unsupported", f"unsupported JPEG: expected 8 bits a sample, but got {header.precision}"
        )
    if header.components not in (1, 3, 4):
        message = f"unsupported JPEG: expected 1, 3 or 4 components, but got {header.components}"
        raise RecordError("image_unsupported", message)


def _prove_decodable(data: bytes, header: JpegHeader) -> None:
    """Let libjpeg go through all entropy-coded data; an eighth of the size and gray spare it most of the rest."""
    _run_libjpeg(data, header, "L", scale=8)


def _decode_jpeg(data: bytes, header: JpegHeader) -> Image.Image:
    return _run_libjpeg(data, header, {1: "L", 3: "RGB", 4: "CMYK"}[header.components], scale=1)


def _run_libjpeg(data: bytes, header: JpegHeader, mode: str, scale: int) -> Image.Image:
    """Decode at 1/scale, without Pillow's own reading of the headers: it warns, and obeys LOAD_TRUNCATED_IMAGES."""
    # Writers of CMYK store it inverted, as Adobe does; Pillow and browsers assume it even without an Adobe segment.
    raw_mode = "CMYK;I" if mode == "CMYK" else mode
    size = (-(-header.width // scale), -(-header.height // scale))
    try:
        return Image.frombytes(mode, size, data, "jpeg", (raw_mode, "", scale, 0))
    except ValueError as error:
        if header.kind in _PASSED_THROUGH:
            raise RecordError("image_corrupt", f"damaged JPEG: libjpeg {explain_error(error)}") from None
        raise RecordError("image_unsupported", f"unsupported JPEG: Pillow cannot decode {header.kind} coding") from None


def _note_orientation(exif: Orientation, turn: Orientation, stored: Size, declared: Size | None) -> list[str]:
    if exif.value == 1:
        return []
    if turn.value == 1:
        return ["raw_frame_kept"]
    return ["rotated", "orientation_ambiguous"] if exif.is_ambiguous(stored, declared) else ["rotated"]


def _encode_other(data: bytes, policy: ImagePolicy, declared: Size | None) -> EncodedImage:
    pixels = decode_pixels(data, policy.background)
    turn = pixels.exif.choose(pixels.image.size, declared)
    notes = pixels.notes + _note_orientation(pixels.exif, turn, pixels.image.size, declared)
    return _write_jpeg(pixels.image, turn, policy, notes)._replace(source_format=pixels.format)


def _write_jpeg(pixels: Image.Image, turn: Orientation, policy: ImagePolicy, notes: list[str]) -> EncodedImage:
    """A new JPEG without metadata; colour is not subsampled, for masks and drawings would lose their edges."""
    upright = pixels.transpose(_TRANSPOSITIONS[turn.value]) if turn.value != 1 else pixels
    try:
        data = _save_jpeg(as_rgb(upright), policy.jpeg_quality)
    except OSError as error:
        raise OutputError(f"cannot encode {upright.width} x {upright.height} pixels as a JPEG: {error}") from error
    return EncodedImage(data, *upright.size, notes=(*notes, "reencoded"))


def _save_jpeg(pixels: Image.Image, quality: int) -> bytes:
    with _open_buffer() as buffer:
        pixels.save(buffer, "JPEG", quality=quality, subsampling=0, comment=None)
        buffer.seek(0)
        data = buffer.read()
    if not data.endswith(b"\xff\xd9"):  # Pillow does not look whether all of it was written
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data


def _open_buffer() -> BinaryIO:
    """A file in memory; to one that the kernel knows Pillow writes without holding the GIL."""
    with suppress(AttributeError, OSError):  # only Linux has it, and not within every sandbox
        return open(os.memfd_create("jpeg"), "w+b", buffering=0)  # noqa: PTH123 - it has no path
    return io.BytesIO()
