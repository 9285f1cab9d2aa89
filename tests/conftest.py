"""Fixtures of all tests: TensorFlow, small real images, real datasets beside the checkout, and built clones."""

import io
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import pytest
from PIL import Image

hypothesis.settings.register_profile("untimed", deadline=None)  # on a slow machine an example may take long
hypothesis.settings.load_profile("untimed")

# A shell starts background jobs with SIGINT ignored, and child processes inherit that: tests of Ctrl-C would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]

MakeDataset = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def tf():
    """TensorFlow, imported once."""
    return pytest.importorskip("tensorflow")


def encode_noise(number: int, width: int = 40, height: int = 30, image_format: str = "JPEG") -> bytes:
    """Return the bytes of a small image; each number gives another image."""
    pixels = random.Random(number).randbytes(width * height // 4 * 3)
    image = Image.frombytes("RGB", (width // 2, height // 2), pixels).resize((width, height))
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def rotated_image() -> bytes:
    """Return a JPEG of 40 by 30 pixels with an EXIF orientation of 6."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    jpeg = encode_noise(9)
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def undecodable_image() -> bytes:
    """Return a JPEG of which only decoding shows that a Huffman table is damaged."""
    jpeg = bytearray(encode_noise(5))
    jpeg[jpeg.index(b"\xff\xc4") + 5] = 200
    return bytes(jpeg)


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """A function that writes image files and returns their records; every fifth image is a PNG."""

    def make(count: int, root: Path = tmp_path) -> list[dict[str, Any]]:
        (root / "images").mkdir(parents=True, exist_ok=True)
        return [_make_record(root / "images", number) for number in range(count)]

    return make


def _make_record(folder: Path, number: int) -> dict[str, Any]:
    image_format = "PNG" if number % 5 == 4 else "JPEG"
    path = folder / f"{number:04d}.{image_format.lower()}"
    path.write_bytes(encode_noise(number, image_format=image_format))
    edge = (number % 7 + 1) / 10
    return {
        "filename": str(path),
        "id": str(number),
        "class": {"label": number % 3, "text": f"class {number % 3}"},
        "object": {"bbox": {"xmin": [0.0], "xmax": [edge], "ymin": [0.0], "ymax": [edge], "label": [number % 3]}},
    }


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """A function that returns the folder of a real dataset beside the checkout, or skips the test if it is missing."""

    def find(name: str) -> Path:
        folder = ROOT.parent / "shared" / "data" / name
        if not folder.is_dir():
            pytest.skip(f"needs the real dataset {name} in {folder}")
        return folder

    return find


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone after its first `dvc repro`; tests must not change it."""
    from tests.workspace import clone_project, dvc

    clone = clone_project(tmp_path_factory.mktemp("built"))
    dvc("repro", directory=clone)
    return clone


@pytest.fixture
def clone(built: Path, tmp_path: Path) -> Path:
    """A copy of `built` with hard links kept and everything committed, which a test may change."""
    from tests.workspace import commit

    subprocess.run(["cp", "-a", built, tmp_path / "clone"], check=True)
    commit(tmp_path / "clone", "built")
    return tmp_path / "clone"
