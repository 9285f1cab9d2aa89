"""A small valid build with everything that verify compares, and a way to verify it."""

import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import encode_noise
from tfrec_stage import create
from tfrec_stage.manifest import open_manifest
from tfrec_stage.verify.report import Report
from tfrec_stage.verify.verify import VerifyRequest, verify_shards

SHARDS = 3


@dataclass(frozen=True)
class Build:
    """A directory of shards, and the manifest that they were built from."""

    directory: Path
    manifest: Path

    def shard(self, number: int) -> Path:
        """Return the path of one shard."""
        return self.directory / f"train-{number:05d}-of-{SHARDS:05d}"

    @property
    def index(self) -> Path:
        """`index.json`."""
        return self.directory / "index.json"

    @property
    def stats(self) -> Path:
        """`stats.json`."""
        return self.directory / "stats.json"

    @property
    def classes(self) -> Path:
        """`classes.json`."""
        return self.directory / "classes.json"

    def verify(self, with_manifest: bool = True) -> Report:
        """Verify the build."""
        manifest = open_manifest(self.manifest) if with_manifest else None
        return verify_shards(VerifyRequest("train", str(self.directory), manifest, num_threads=2))


def write_manifest(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records as JSON Lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def make_records(folder: Path, count: int) -> list[dict[str, Any]]:
    """Write image files, and return records that pin them, each with boxes and parts; image 5 is damaged."""
    folder.mkdir()
    return [make_record(folder, number, broken=number == 5) for number in range(count)]


def make_record(folder: Path, number: int, *, broken: bool = False) -> dict[str, Any]:
    """Write one image file, and return its record with two boxes and two parts."""
    data = b"<html>" if broken else encode_noise(number)
    path = folder / f"{number:04d}.jpg"
    path.write_bytes(data)
    edge = (number % 7 + 1) / 10
    return {
        "filename": path.name,
        "id": f"id {number}",
        "sha256": sha256(data).hexdigest(),
        "class": {"label": number % 3, "text": f"class {number % 3}"},
        "object": {
            "area": [0.1, 0.2],
            "bbox": {
                "xmin": [0.0, 0.1],
                "xmax": [edge, 1.0],
                "ymin": [0.0, 0.2],
                "ymax": [edge, 0.9],
                "label": [number % 3, 4],
                "text": [f"class {number % 3}", "bird"],
            },
            "parts": {"x": [0.1, 0.2], "y": [0.3, 0.4], "v": [2, 0]},
        },
    }


def make_build(folder: Path, records: list[dict[str, Any]], images: Path, **options: Any) -> Build:
    """Build shards from records."""
    build = Build(folder / "shards", folder / "manifest.jsonl")
    folder.mkdir(exist_ok=True)
    write_manifest(build.manifest, records)
    create(records, "train", build.directory, SHARDS, 2, images_root=images, **options)
    return build


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a valid build that tests must not change."""
    folder = tmp_path_factory.mktemp("pristine")
    return make_build(folder, make_records(folder / "images", 13), folder / "images")


@pytest.fixture
def build(tf, pristine: Build, tmp_path: Path) -> Build:
    """Return a copy of the valid build that tests may damage."""
    shutil.copytree(pristine.directory, tmp_path / "shards")
    return Build(tmp_path / "shards", pristine.manifest)
