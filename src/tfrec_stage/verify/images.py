"""Decode images with TensorFlow: several at a time, each on its own, so that the error names the image."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, NamedTuple

from tfrec_stage.reading.columns import Columns
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.parsing import Parsed, import_tensorflow

_JPEG: Final = b"\xff\xd8\xff"
_FILL: Final = 0xFF
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of the segment that says how the image is coded."""
_CHUNK: Final = 16
"""Images that a thread takes at once."""
_AHEAD: Final = 2
"""Batches that wait for their images, so that threads decode while the next is read."""


class ImageFacts(NamedTuple):
    """What TensorFlow decoded."""

    height: int
    width: int
    channels: int
    """Components of the JPEG, before any conversion."""
    digest: bytes | None
    """SHA-256 of the image, 32 bytes; None if it was not asked for."""
    error: str | None = None
    """Why it cannot be decoded."""


class VerifiedBatch(NamedTuple):
    """A batch with its decoded images."""

    parsed: Parsed
    images: list[ImageFacts]
    """In the order of the records; none if the images are not stored."""


class ImageVerifier:
    """Decodes batches in its own threads, and returns them in their order."""

    def __init__(self, pool: ThreadPoolExecutor, *, with_digests: bool) -> None:
        self._tf = import_tensorflow()
        self._pool = pool
        self._with_digests = with_digests
        self._waiting: deque[tuple[Parsed, list[Future[list[ImageFacts]]]]] = deque()

    def verifier(self, parsed: Parsed) -> Iterator[VerifiedBatch]:
        """Submit a batch; return batches that are finished."""
        images = parsed.columns.scalars.get("image/encoded", ())
        chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
        self._waiting.append((parsed, [self._pool.submit(self._decode_all, chunk) for chunk in chunks]))
        if len(self._waiting) > _AHEAD:
            yield self._next()

    def finish(self) -> Iterator[VerifiedBatch]:
        """Return the remaining batches."""
        while self._waiting:
            yield self._next()

    def _next(self) -> VerifiedBatch:
        parsed, futures = self._waiting.popleft()
        return VerifiedBatch(parsed, [facts for future in futures for facts in future.result()])

    def _decode_all(self, images: Iterable[bytes]) -> list[ImageFacts]:
        with self._tf.device("CPU:0"):
            return [self._decode(image) for image in images]

    def _decode(self, image: bytes) -> ImageFacts:
        digest = sha256(image).digest() if self._with_digests else None
        if not image.startswith(_JPEG):  # TensorFlow would decode PNG and GIF as well
            begins = f"it begins with {image[:8]!r}" if image else "it is empty"
            return ImageFacts(0, 0, 0, digest, f"expected a JPEG, but {begins}")
        try:
            height, width, _ = self._tf.io.decode_jpeg(image, channels=3).shape
        except self._tf.errors.OpError as error:
            return ImageFacts(0, 0, 0, digest, f"TensorFlow says: {' '.join(str(error.message).split())}")
        return ImageFacts(height, width, _count_components(image), digest)


@contextmanager
def image_verifier(threads: int, *, with_digests: bool) -> Iterator[ImageVerifier]:
    """Create an `ImageVerifier` with so many threads, which end with the block."""
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            yield ImageVerifier(pool, with_digests=with_digests)
        finally:
            pool.shutdown(cancel_futures=True)


def check_images(batch: VerifiedBatch, log: Findings) -> None:
    """Compare what was decoded with what the records state."""
    columns = batch.parsed.columns
    for row, (place, facts) in enumerate(zip(batch.parsed.places, batch.images, strict=True)):
        if facts.error is not None:
            log.add("image_undecodable", place, facts.error)
            continue
        stated = int(columns.scalars["image/width"][row]), int(columns.scalars["image/height"][row])
        if stated != (facts.width, facts.height):
            size = f"{facts.width} x {facts.height}"
            log.add("image_size", place, f"the image has {size} pixels, but the record says {stated[0]} x {stated[1]}")
        if facts.channels != 3:
            log.add("image_format", place, f"expected an RGB image, but it has {facts.channels} components")
    _check_digests(batch, log)


def check_formats(parsed: Parsed, log: Findings, *, are_stored: bool) -> None:
    """Check colour space, channels and, if images are stored, format of every record."""
    promised: dict[str, object] = {"image/colorspace": b"RGB", "image/channels": 3}
    promised |= {"image/format": b"JPEG"} if are_stored else {}
    for key, expected in promised.items():
        values = parsed.columns.scalars.get(key, ())
        for place, value in zip(parsed.places, values, strict=True):
            if value != expected:
                log.add("image_format", place, f"{key}: expected {_show(expected)}, but got {_show(value)}")


def check_sizes(parsed: Parsed, log: Findings) -> None:
    """Check that the sizes of images that are not stored are at least one pixel."""
    for place, height, width in _sizes(parsed.places, parsed.columns):
        if height < 1 or width < 1:
            log.add("image_size", place, f"expected at least 1 x 1 pixels, but the record says {width} x {height}")


def _sizes(places: Sequence[Location], columns: Columns) -> Iterator[tuple[Location, int, int]]:
    sizes = (columns.scalars[key].tolist() for key in ("image/height", "image/width"))
    return zip(places, *sizes, strict=True)


def _count_components(jpeg: bytes) -> int:
    """Return the number of components in the frame of a JPEG that decodes; see `images.jpeg`."""
    position = 2
    while (marker := jpeg[position + 1]) not in _FRAMES:
        is_fill = marker == _FILL
        position += 1 if is_fill else 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return jpeg[position + 9]


def _check_digests(batch: VerifiedBatch, log: Findings) -> None:
    stated = batch.parsed.columns.scalars.get("image/key/sha256", ())
    for place, facts, text in zip(batch.parsed.places, batch.images, stated, strict=False):
        if facts.digest is not None and text != facts.digest.hex().encode():
            log.add("image_digest", place, f"image/key/sha256: expected {facts.digest.hex()}, but got {_show(text)}")


def _show(value: object) -> str:
    return repr(value.decode(errors="backslashreplace")) if isinstance(value, bytes) else str(value)
