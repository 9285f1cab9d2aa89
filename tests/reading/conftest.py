"""Shards of forty small images, built once."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import encode_noise
from tfrec_stage import create

IMAGES = 40
NUM_SHARDS = 5


def describe(number: int) -> dict[str, Any]:
    """Annotations of 0 to 3 objects with two parts each; every number is exact in 32 bits."""
    source, count = random.Random(number), number % 4

    def draw(low: int, high: int, size: int = count) -> list[float]:
        return [source.randint(low, high) / 128 for _ in range(size)]

    labels = [source.randrange(3) for _ in range(count)]
    return {
        "id": f"{number:02d}",
        "extra": json.dumps({"number": number}),
        "class": {"label": number % 3, "text": f"class {number % 3}", "conf": 0.5},
        "object": {
            "count": count,
            "area": draw(0, 128),
            "id": [f"{number}-{index}" for index in range(count)],
            "bbox": {
                "xmin": draw(0, 60),
                "xmax": draw(61, 128),
                "ymin": draw(0, 60),
                "ymax": draw(61, 128),
                "score": draw(0, 128),
                "label": labels,
                "text": [f"class {label}" for label in labels],
                "conf": draw(0, 128),
            },
            "parts": {
                "x": draw(0, 128, 2 * count),
                "y": draw(0, 128, 2 * count),
                "v": [source.randrange(3) for _ in range(2 * count)],
                "score": draw(0, 128, 2 * count),
            },
        },
    }


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds images/, shards in out/ and shards without images in bare/. Tests must not change it."""
    root = tmp_path_factory.mktemp("reading")
    (root / "images").mkdir()
    dataset = []
    for number in range(IMAGES):
        image_format = "PNG" if number % 5 == 4 else "JPEG"
        name = f"{number:02d}.{image_format.lower()}"
        width, height = 40 + number % 3 * 8, 30
        (root / "images" / name).write_bytes(encode_noise(number, width, height, image_format))
        dataset.append({"filename": name, **describe(number)})
    for folder, store_images in (("out", True), ("bare", False)):
        failed = create(
            dataset, "train", root / folder, NUM_SHARDS, 1, store_images=store_images, images_root=root / "images"
        )
        assert failed == []
    return root


@pytest.fixture
def shards(root: Path) -> Path:
    """Directory of shards with images."""
    return root / "out"


@pytest.fixture
def bare_shards(root: Path) -> Path:
    """Directory of shards with `store_images: false`."""
    return root / "bare"
