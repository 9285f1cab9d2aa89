"""Any image's bytes → an upright 8-bit RGB JPEG that TensorFlow decodes, or the reason why not.

    a JPEG of that kind  ──structure, decode──▶ the same bytes
    any other image      ──first frame, 8 bit, alpha over the background, upright──▶ a new JPEG

The content decides what an image is, never the suffix of its file. Colour profiles are not applied.
"""

import enum
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from PIL import Image, ImageFile

from tfrec_stage.codecs.jpeg import JpegHeader, parse_jpeg
from tfrec_stage.codecs.orientation import Orientation, Size, find_orientation
from tfrec_stage.errors import ConfigError, RecordError

PIXEL_LIMIT: Final = 178_956_970
"""Most pixels of an image: beyond it Pillow refuses by default, and TensorFlow's decoder too (2^29 bytes)."""
SIDE_LIMIT: Final = 65_500
"""Most pixels of one side that libjpeg reads or writes."""
FORMATS: Final = ("PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM")
"""What is read beside JPEG: each can be told by its first bytes, and none runs another program, as EPS does."""
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
_EIGHT_BIT_MODES: Final = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"})
_lock: Final = threading.Lock()


class Verify(enum.Enum):
    """What proves that a JPEG which is passed through can be decoded."""

    decode = "decode"
    """Its structure is whole and libjpeg decodes it, at an eighth of its size."""
    structure = "structure"
    """Its structure is whole: every segment and scan up to the end marker."""


@dataclass
class ImagePolicy:
    """How images become what shards hold; all fields but `verify` change bytes.

    Raises:
        ConfigError: a field is out of its range.
    """

    verify: Verify = Verify.decode
    """Proof that a JPEG decodes."""
    jpeg_quality: int = 95
    """libjpeg's quality of images that are re-encoded, 1 to 100; their colour is never subsampled. More than 95 is
    no gain: TensorFlow's default DCT is a fast one that errs most at the highest qualities."""
    background: list[int] = field(default_factory=lambda: [255, 255, 255])
    """Red, green and blue, 0 to 255, that transparent pixels are laid over."""

    def __post_init__(self) -> None:
        if not isinstance(self.verify, Verify):
            raise ConfigError(f"encode.verify: expected a Verify (decode or structure), but got {self.verify!r}")
        if not _is_int_within(self.jpeg_quality, 1, 100):
            raise ConfigError(f"encode.jpeg_quality: expected 1 to 100, but got {self.jpeg_quality!r}")
        if len(self.background) != 3 or not all(_is_int_within(level, 0, 255) for level in self.background):
            raise ConfigError(
                f"encode.background: expected [red, green, blue], each 0 to 255, but got {self.background}"
            )


@dataclass(frozen=True, slots=True)
class EncodedImage:
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

    @property
    def is_reencoded(self) -> bool:
        """Whether Pillow made the bytes, so that its version matters."""
        return "reencoded" in self.notes


def encode_image(data: bytes, policy: ImagePolicy, *, declared: Size | None = None) -> EncodedImage:
    """The image as shards hold it; may be called from many threads at once.

    Args:
        data: content of an image file.
        policy: what to prove, and how to re-encode.
        declared: width and height of the frame that annotations were made on, if the record says so.

    Raises:
        RecordError: the image cannot be read (`image_…`) or is not of the declared size (`annotation_invalid`).
    """
    if not data:
        raise RecordError("image_empty", "expected an image, but got 0 bytes")
    if data.startswith(b"\xff\xd8\xff"):
        return _encode_jpeg(data, policy, declared)
    return _encode_other(data, policy, declared)


def _encode_jpeg(data: bytes, policy: ImagePolicy, declared: Size | None) -> EncodedImage:
    header = parse_jpeg(data)
    _check_variant(header)
    _check_size(header.size)
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


def _check_size(size: Size) -> None:
    width, height = size
    if width * height > PIXEL_LIMIT or max(size) > SIDE_LIMIT:
        limits = f"at most {PIXEL_LIMIT} pixels and {SIDE_LIMIT} a side"
        raise RecordError("image_too_large", f"expected {limits}, but got {width} x {height}")


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
            raise RecordError("image_corrupt", f"damaged JPEG: libjpeg {_explain(error)}") from None
        raise RecordError("image_unsupported", f"unsupported JPEG: Pillow cannot decode {header.kind} coding") from None


def _note_orientation(exif: Orientation, turn: Orientation, stored: Size, declared: Size | None) -> list[str]:
    if exif.value == 1:
        return []
    if turn.value == 1:
        return ["raw_frame_kept"]
    return ["rotated", "orientation_ambiguous"] if exif.is_ambiguous(stored, declared) else ["rotated"]


def _encode_other(data: bytes, policy: ImagePolicy, declared: Size | None) -> EncodedImage:
    name = _identify(data)
    try:
        image = _open(data, name)
        _check_size(image.size)
        _load(image, data)
        pixels, notes = _flatten(_reduce_depth(image, data), policy)
        if _has_more_frames(image):
            notes.append("first_frame")
    except (RecordError, ConfigError):
        raise
    except Image.DecompressionBombError as error:
        raise RecordError("image_too_large", str(error)) from None
    except Exception as error:  # noqa: BLE001 - a parser that is fed damaged data may raise anything
        raise RecordError("image_corrupt", f"damaged {name}, or of an unknown kind: {_explain(error)}") from None
    exif = _read_orientation(image)
    turn = exif.choose(pixels.size, declared)
    notes += _note_orientation(exif, turn, pixels.size, declared)
    return replace(_write_jpeg(pixels, turn, policy, notes), source_format=name)


def _identify(data: bytes) -> str:
    """Name of the format, by its first bytes."""
    with _lock:  # the first call imports all of Pillow's formats
        Image.init()
    for name in FORMATS:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None
        if accept and accept(data[:16]) is True:
            return name
    message = f"expected JPEG, {', '.join(FORMATS)}, but the content begins with {data[:16]!r}"
    raise RecordError("image_unknown_format", message)


def _open(data: bytes, name: str) -> ImageFile.ImageFile:
    """Read the header; unlike `Image.open`, of this format only, and without a warning of large images."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ConfigError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on, which lets damaged images through: set it to False"
        )
    with _quiet():
        return Image.OPEN[name][0](io.BytesIO(data), "")


def _load(image: ImageFile.ImageFile, data: bytes) -> None:
    """Decode the first frame; outside the lock where no warning can come."""
    if image.format != "TIFF" and b"acTL" not in data:
        image.load()
        return
    with _quiet():
        image.load()


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop warnings; one thread at a time, for `catch_warnings` swaps a list that all threads share."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reduce_depth(image: Image.Image, data: bytes) -> Image.Image:
    """Scale gray of 16 bits to 8; Pillow has done it with colour, and would clip gray.

    Raises:
        RecordError: `image_unsupported` where the range of the samples is unknown, or Pillow misjudges them.
    """
    if image.format == "PNG" and "transparency" in image.info and data[25] in (0, 2) and data[24] in (2, 4, 16):
        raise _unsupported(image, f"a transparent colour of {data[24]} bits, which Pillow compares with 8")
    if image.mode in _EIGHT_BIT_MODES:
        return image
    if not image.mode.startswith("I;16") and (image.mode, image.format) != ("I", "PPM"):
        raise _unsupported(image, f"samples of kind {image.mode}")
    tags = getattr(image, "tag_v2", {})
    if tags.get(258, (16,)) != (16,) or tags.get(262, 1) != 1:
        raise _unsupported(image, f"gray of {tags.get(258)} bits, photometric interpretation {tags.get(262)}")
    return image.convert("I").point(lambda level: level * (1 / 256)).convert("L")


def _unsupported(image: Image.Image, got: str) -> RecordError:
    return RecordError(
        "image_unsupported", f"unsupported {image.format}: expected samples of 8 or 16 bits, but got {got}"
    )


def _flatten(image: Image.Image, policy: ImagePolicy) -> tuple[Image.Image, list[str]]:
    """RGB pixels, transparent ones laid over the background; a copy."""
    if not image.has_transparency_data:
        return image.convert("RGB"), []
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, tuple(policy.background))
    canvas.paste(rgba, mask=rgba)
    return canvas, ["alpha_flattened"]


def _has_more_frames(image: Image.Image) -> bool:
    try:
        with _quiet():
            return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 - GIF looks for a second frame, which may be damaged
        return True


def _read_orientation(image: Image.Image) -> Orientation:
    """EXIF orientation of what was loaded; Pillow has turned TIFF by now."""
    exif = b"" if image.format == "TIFF" else image.info.get("exif", b"")
    return find_orientation(exif.removeprefix(b"Exif\0\0"))


def _write_jpeg(pixels: Image.Image, turn: Orientation, policy: ImagePolicy, notes: list[str]) -> EncodedImage:
    """A new JPEG without metadata; colour is not subsampled, for masks and drawings would lose their edges."""
    upright = pixels.transpose(_TRANSPOSITIONS[turn.value]) if turn.value != 1 else pixels
    buffer = io.BytesIO()
    upright.convert("RGB").save(buffer, "JPEG", quality=policy.jpeg_quality, subsampling=0, comment=None)
    return EncodedImage(buffer.getvalue(), *upright.size, notes=(*notes, "reencoded"))


def _is_int_within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _explain(error: Exception) -> str:
    return f"says {str(error) or type(error).__name__!r}"
