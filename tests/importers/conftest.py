"""What the importers' tests share: small real images, and the real data sets beside the checkout."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from tests.importers.coco_files import CATEGORIES, IMAGES
from tfrec_stage.importers import Problem, coco
from tfrec_stage.records import ImageRecord

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path) -> Draw:
    """Write a small image file: its name below tmp_path, its size in pixels, and its EXIF orientation."""

    def write(name: str, size: tuple[int, int] = (20, 10), orientation: int = 1) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        Image.new("RGB", size, "teal").save(path, **({"exif": exif} if orientation != 1 else {}))
        return path

    return write


@pytest.fixture
def tiny_coco() -> Path:
    return _shared("tiny_coco")


@pytest.fixture
def raccoon_voc() -> Path:
    return _shared("raccoon_voc")


def _shared(name: str) -> Path:
    path = SHARED_DATA / name
    if not path.is_dir():
        pytest.skip(f"the real data set {name} is not beside the checkout")
    return path


@pytest.fixture
def sort_out():
    """Give a stream's records and its problems, each as a list."""

    def sort(stream: Iterable[ImageRecord | Problem]) -> tuple[list[ImageRecord], list[Problem]]:
        found = list(stream)
        records = [each for each in found if isinstance(each, ImageRecord)]
        return records, [each for each in found if isinstance(each, Problem)]

    return sort


@pytest.fixture
def coco_file(tmp_path):
    def write(annotations=(), categories=CATEGORIES, images=IMAGES, name="instances.json"):
        path = tmp_path / name
        path.write_text(json.dumps({"images": images, "annotations": list(annotations), "categories": categories}))
        return path

    return write


@pytest.fixture
def read_all(tmp_path, sort_out):
    def read(*files):
        return sort_out(coco.read(files, tmp_path / "train", tmp_path).records)

    return read
