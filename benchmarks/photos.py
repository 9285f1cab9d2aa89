"""The images that benchmarks work on, and the records that name them."""

import io
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

SIZE_BYTES = 110_000
"""Size of a photo, as ImageNet's JPEGs have it on average."""
BYTES_A_PIXEL = SIZE_BYTES / (500 * 375)
DISTINCT = 16
"""Pictures that are drawn (of large ones two); further files hold the same, each with a number in a comment."""
LABELS = ("person", "dog", "bird", "bicycle", "kite")


@dataclass(frozen=True)
class PhotoSet:
    """Image files and their manifest."""

    root: Path
    """Folder that file names start from."""
    records: list[dict[str, Any]]
    """One image record a file, pinned by its digest, with a few boxes and keypoints."""
    manifest: Path
    """The same records as JSON Lines."""

    def __len__(self) -> int:
        return len(self.records)

    @property
    def paths(self) -> list[Path]:
        """The files, in the order of the records."""
        return [self.root / record["filename"] for record in self.records]

    def change_first_image(self, number: int) -> None:
        """Give the first image other bytes, and pin them; each number gives others."""
        content = add_comment(self.paths[0].read_bytes(), number)
        self.paths[0].write_bytes(content)
        self.records[0]["sha256"] = sha256(content).hexdigest()

    def write_manifest(self, path: Path) -> None:
        """Write the records as they are now as JSON Lines."""
        path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in self.records))


def draw_photos(root: Path, count: int, size_bytes: int = SIZE_BYTES) -> PhotoSet:
    """Draw `count` JPEGs of about `size_bytes`, every one a file of its own."""
    distinct = DISTINCT if size_bytes <= SIZE_BYTES else 2
    drawn = [encode_photo(seed, size_bytes) for seed in range(min(count, distinct))]
    contents = (add_comment(drawn[number % len(drawn)], number) for number in range(count))
    return _write(root, contents, ".jpg")


def draw_photos_of_many_sizes(root: Path, count: int) -> PhotoSet:
    """Draw `count` JPEGs of 30 to 400 KB, sizes spread evenly on a logarithmic scale."""
    source = random.Random(0)
    sizes = [round(30_000 * (400 / 30) ** source.random()) for _ in range(min(count, DISTINCT))]
    drawn = [encode_photo(seed, size) for seed, size in enumerate(sizes)]
    return _write(root, (add_comment(source.choice(drawn), number) for number in range(count)), ".jpg")


def draw_pngs(root: Path, count: int) -> PhotoSet:
    """Draw `count` photo-like PNGs of 500 x 375 pixels."""
    return _write(root, (_to_bytes(draw_picture(seed, 500, 375), "PNG") for seed in range(count)), ".png")


def take_photos(folder: Path, manifest: Path, count: int) -> PhotoSet:
    """The first `count` JPEGs of somebody's folder, which is only read."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})[:count]
    return _describe(folder, paths, manifest)


def encode_photo(seed: int, size_bytes: int = SIZE_BYTES) -> bytes:
    """A photo-like JPEG whose size is near `size_bytes`: as many pixels as a photo has, then the quality."""
    pixels = size_bytes / BYTES_A_PIXEL
    picture = draw_picture(seed, round(math.sqrt(pixels * 4 / 3)), round(math.sqrt(pixels * 3 / 4)))
    low, high = 1, 98
    while low < high:
        middle = (low + high) // 2
        is_large = len(_to_bytes(picture, quality=middle)) >= size_bytes
        low, high = (low, middle) if is_large else (middle + 1, high)
    near = [_to_bytes(picture, quality=quality) for quality in (max(1, low - 1), low)]
    return min(near, key=lambda jpeg: abs(len(jpeg) - size_bytes))


def draw_picture(seed: int, width: int, height: int) -> Image.Image:
    """Noise of every scale laid over one another, the coarse ones strongest, as in a photo."""
    source = random.Random(seed)
    picture = _noise(source, 4, 3, (width, height))
    cells = 8
    while cells < width:
        octave = _noise(source, cells, cells * 3 // 4, (width, height))
        picture = Image.blend(picture, octave, 0.25)
        cells *= 2
    return picture


def describe(number: int) -> dict[str, Any]:
    """What a detection record says beside its image: one to six boxes, and in every third their keypoints."""
    source = random.Random(number)
    count = source.randint(1, 6)
    parts = 0 if number % 3 else 17 * count
    low, high = _numbers(source, 2 * count, 0.0, 0.5), _numbers(source, 2 * count, 0.5, 1.0)
    labels = [source.randrange(len(LABELS)) for _ in range(count)]
    return {
        "class": {"label": labels[0], "text": LABELS[labels[0]]},
        "object": {
            "area": _numbers(source, count, 0.0, 0.3),
            "id": [str(1000 * number + index) for index in range(count)],
            "is_crowd": [0] * count,
            "bbox": {
                "xmin": low[:count],
                "xmax": high[:count],
                "ymin": low[count:],
                "ymax": high[count:],
                "label": labels,
                "text": [LABELS[label] for label in labels],
            },
            "parts": {
                "x": _numbers(source, parts, 0.0, 1.0),
                "y": _numbers(source, parts, 0.0, 1.0),
                "v": [source.randrange(3) for _ in range(parts)],
            },
        },
    }


def _noise(source: random.Random, width: int, height: int, size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("RGB", (width, height), source.randbytes(width * height * 3)).resize(size)


def _numbers(source: random.Random, count: int, low: float, high: float) -> list[float]:
    return [round(source.uniform(low, high), 6) for _ in range(count)]


def _to_bytes(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def add_comment(jpeg: bytes, number: int) -> bytes:
    """The same image with a number in a comment, behind the JFIF segment that Pillow begins with."""
    text = b"photo %08d" % number
    behind_jfif = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:behind_jfif] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[behind_jfif:]


def _write(root: Path, contents: Iterator[bytes], suffix: str) -> PhotoSet:
    images = root / "images"
    images.mkdir(parents=True)
    for number, content in enumerate(contents):
        (images / f"{number:08d}{suffix}").write_bytes(content)
    return _describe(images, sorted(images.iterdir()), root / "manifest.jsonl")


def _describe(root: Path, paths: list[Path], manifest: Path) -> PhotoSet:
    records = [
        {
            "filename": str(path.relative_to(root)),
            "id": str(number),
            "sha256": sha256(path.read_bytes()).hexdigest(),
            **describe(number),
        }
        for number, path in enumerate(paths)
    ]
    photos = PhotoSet(root, records, manifest)
    photos.write_manifest(manifest)
    return photos
