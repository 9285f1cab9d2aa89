"""Decode images with TensorFlow in threads, each image alone so that an error names it; compare them with records."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, NamedTuple

from tfrec_stage.verify.findings import Findings
from tfrec_stage.verify.parsing import ParsedBatch, import_tensorflow

_JPEG: Final = b"\xff\xd8\xff"
_FILL: Final = 0xFF
_FRAME_MARKERS: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of frame headers, which have size and components. DHT, JPG and DAC are in the same range, but are none."""
_CHUNK: Final = 16
"""Images that a thread decodes per task."""
_WAITING_BATCHES: Final = 2
"""Batches whose images are being decoded while the next one is read."""


class DecodedImage(NamedTuple):
    """What TensorFlow found in an image."""

    height: int
    """In pixels; 0 if it cannot be decoded."""
    width: int
    """In pixels; 0 if it cannot be decoded."""
    channels: int
    """Components of the JPEG before any conversion; 0 if it cannot be decoded."""
    sha256: bytes | None
    """SHA-256 of the stored bytes, 32 bytes; None if not requested."""
    error: str | None = None
    """Why it cannot be decoded."""


class DecodedBatch(NamedTuple):
    """A batch with its decoded images."""

    parsed: ParsedBatch
    images: list[DecodedImage]
    """One per record, in the same order; empty if the records do not store images."""


class ImageVerifier:
    """Decodes the images of batches in a thread pool, and returns the batches in their order."""

    def __init__(self, pool: ThreadPoolExecutor, *, with_hashes: bool) -> None:
        self._tf = import_tensorflow()
        self._pool = pool
        self._with_hashes = with_hashes
        self._waiting: deque[tuple[ParsedBatch, list[Future[list[DecodedImage]]]]] = deque()

    def submit(self, parsed: ParsedBatch) -> Iterator[DecodedBatch]:
        """Submit a batch, and iterate over earlier batches that have to finish before the next one is read."""
        images = parsed.columns.scalars.get("image/encoded", ())
        chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
        self._waiting.append((parsed, [self._pool.submit(self._decode_all, chunk) for chunk in chunks]))
        if len(self._waiting) > _WAITING_BATCHES:
            yield self._next()

    def finish(self) -> Iterator[DecodedBatch]:
        """Iterate over the remaining batches."""
        while self._waiting:
            yield self._next()

    def _next(self) -> DecodedBatch:
        parsed, futures = self._waiting.popleft()
        return DecodedBatch(parsed, [image for future in futures for image in future.result()])

    def _decode_all(self, images: Iterable[bytes]) -> list[DecodedImage]:
        with self._tf.device("CPU:0"):
            return [self._decode(image) for image in images]

    def _decode(self, image: bytes) -> DecodedImage:
        digest = sha256(image).digest() if self._with_hashes else None
        if not image.startswith(_JPEG):  # `decode_jpeg` would decode PNG and GIF as well
            begins = f"it begins with {image[:8]!r}" if image else "it is empty"
            return DecodedImage(0, 0, 0, digest, f"expected a JPEG, but {begins}")
        try:
            height, width, _ = self._tf.io.decode_jpeg(image, channels=3).shape
        except self._tf.errors.OpError as error:
            return DecodedImage(0, 0, 0, digest, f"TensorFlow says: {' '.join(str(error.message).split())}")
        # `channels=3` converts gray and CMYK, so the number of stored components is not in the shape.
        return DecodedImage(height, width, _count_components(image), digest)


@contextmanager
def image_verifier(threads: int, *, with_hashes: bool) -> Iterator[ImageVerifier]:
    """Create an `ImageVerifier`. Its threads end with the block; images not yet begun are then dropped."""
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            yield ImageVerifier(pool, with_hashes=with_hashes)
        finally:
            pool.shutdown(cancel_futures=True)


def check_images(batch: DecodedBatch, findings: Findings) -> None:
    """Compare what was decoded with what the records state."""
    columns = batch.parsed.columns
    for row, (location, image) in enumerate(zip(batch.parsed.locations, batch.images, strict=True)):
        if image.error is not None:
            findings.add("image_undecodable", location, image.error)
            continue
        width, height = int(columns.scalars["image/width"][row]), int(columns.scalars["image/height"][row])
        if (width, height) != (image.width, image.height):
            size = f"{image.width} x {image.height}"
            message = f"the image has {size} pixels, but the record says {width} x {height}"
            findings.add("image_size", location, message)
        if image.channels != 3:
            findings.add("image_format", location, f"expected an RGB image, but it has {image.channels} components")
    _check_hashes(batch, findings)


def check_formats(parsed: ParsedBatch, findings: Findings, *, stores_images: bool) -> None:
    """Check colour space, channels and, if images are stored, format as stated by the records."""
    required: dict[str, object] = {"image/colorspace": b"RGB", "image/channels": 3}
    # Without a stored image the format is that of the original file, which may be any.
    required |= {"image/format": b"JPEG"} if stores_images else {}
    for key, expected in required.items():
        values = parsed.columns.scalars.get(key, ())
        for location, value in zip(parsed.locations, values, strict=True):
            if value != expected:
                findings.add("image_format", location, f"{key}: expected {_show(expected)}, but got {_show(value)}")


def check_sizes(parsed: ParsedBatch, findings: Findings) -> None:
    """Check that records state at least one pixel. For images that are not stored and so cannot be decoded."""
    heights, widths = (parsed.columns.scalars[key].tolist() for key in ("image/height", "image/width"))
    for location, height, width in zip(parsed.locations, heights, widths, strict=True):
        if height < 1 or width < 1:
            message = f"expected at least 1 x 1 pixels, but the record says {width} x {height}"
            findings.add("image_size", location, message)


def _count_components(jpeg: bytes) -> int:
    """Return the number of components in the frame header of a JPEG that decodes.

    Source: ITU-T T.81, B.1.1 (markers and segments) and B.2.2 (frame header).
    """
    position = 2
    while (marker := jpeg[position + 1]) not in _FRAME_MARKERS:
        # Any number of 0xff bytes may fill the space before a marker. Segments have their length after the marker.
        is_fill = marker == _FILL
        position += 1 if is_fill else 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return jpeg[position + 9]


def _check_hashes(batch: DecodedBatch, findings: Findings) -> None:
    # Only records of the profile od_api state a hash; without the key nothing is compared.
    stated = batch.parsed.columns.scalars.get("image/key/sha256", ())
    for location, image, text in zip(batch.parsed.locations, batch.images, stated, strict=False):
        if image.sha256 is not None and text != image.sha256.hex().encode():
            message = f"image/key/sha256: expected {image.sha256.hex()}, but got {_show(text)}"
            findings.add("image_digest", location, message)


def _show(value: object) -> str:
    return repr(value.decode(errors="backslashreplace")) if isinstance(value, bytes) else str(value)
