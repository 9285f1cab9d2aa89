"""Real annotations, read directly from their files to compare with, and splits built from them."""

import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.importers import find_importer
from tfrec_stage.importers.import_stage import import_dataset
from tfrec_stage.manifest import open_manifest
from tfrec_stage.schema.options import Profile

NUM_SHARDS = 3


@dataclass
class TrueObject:
    """One annotated object."""

    name: str
    """Name of its class."""
    box: list[float]
    """Top, left, bottom and right edge, in pixels."""
    area: float | None = None
    """Area in square pixels."""
    is_crowd: bool = False
    is_difficult: bool = False
    keypoints: list[float] = field(default_factory=list)
    """x, y and v of each, in pixels."""


@dataclass
class TrueImage:
    """One annotated image."""

    path: Path
    width: int
    height: int
    objects: list[TrueObject] = field(default_factory=list)

    def check_boxes(self, boxes: list[list[float]]) -> None:
        """Assert that normalised boxes (top, left, bottom, right) are those annotated, to a hundredth of a pixel."""
        sizes = [self.height, self.width, self.height, self.width]
        pixels = [[edge * size for edge, size in zip(box, sizes, strict=True)] for box in boxes]
        assert len(pixels) == len(self.objects)
        for got, true in zip(pixels, self.objects, strict=True):
            assert got == pytest.approx(true.box, abs=0.01)


def read_coco(root: Path, split: str) -> dict[str, TrueImage]:
    """Images of tiny_coco by id, with all instances; persons have their keypoints."""
    files = [root / "annotations" / f"{kind}_{split}2017.json" for kind in ("instances", "person_keypoints")]
    instances, persons = (json.loads(path.read_text()) for path in files)
    names = {category["id"]: category["name"] for category in instances["categories"]}
    keypoints = {annotation["id"]: annotation["keypoints"] for annotation in persons["annotations"]}
    images = {
        image["id"]: TrueImage(root / f"{split}2017" / image["file_name"], image["width"], image["height"])
        for image in instances["images"]
    }
    for annotation in instances["annotations"]:
        x, y, width, height = annotation["bbox"]
        images[annotation["image_id"]].objects.append(
            TrueObject(
                names[annotation["category_id"]],
                [y, x, y + height, x + width],
                annotation["area"],
                bool(annotation["iscrowd"]),
                keypoints=keypoints.get(annotation["id"], []),
            )
        )
    assert images
    return {str(name): image for name, image in images.items()}


def read_voc(root: Path) -> dict[str, TrueImage]:
    """Images of raccoon_voc by name."""
    images = {}
    for path in sorted((root / "annotations").glob("*.xml")):
        tree = ET.parse(path)
        width, height = (int(tree.findtext(f"size/{side}")) for side in ("width", "height"))
        image = images[path.stem] = TrueImage(root / "images" / f"{path.stem}.jpg", width, height)
        for each in tree.iter("object"):
            box = [float(each.findtext(f"bndbox/{edge}")) for edge in ("ymin", "xmin", "ymax", "xmax")]
            image.objects.append(TrueObject(each.findtext("name"), box, is_difficult=each.findtext("difficult") == "1"))
    assert images
    return images


def build_coco(root: Path, directory: Path, split: str = "train", **encode: Any) -> Path:
    """Import and build a split of tiny_coco; return the directory of its shards."""
    files = tuple(root / "annotations" / f"{kind}_{split}2017.json" for kind in ("instances", "person_keypoints"))
    return _build(find_importer("coco")(files, root / f"{split}2017", root), root, directory, encode)


def build_voc(root: Path, directory: Path, **encode: Any) -> Path:
    """Import and build raccoon_voc; return the directory of its shards."""
    return _build(find_importer("voc")((root / "annotations",), root / "images", root), root, directory, encode)


def _build(dataset: Any, root: Path, directory: Path, encode: dict[str, Any]) -> Path:
    imported = import_dataset(dataset, directory / "manifest.jsonl")
    assert imported.problems == ()
    encode = encode | {"profiles": [Profile(name) for name in encode.get("profiles", ())]}
    request = BuildRequest(
        "train",
        directory / "out",
        NUM_SHARDS,
        output_options=OutputOptions(encode=EncodeOptions(**encode)),
        images_root=root,
        labels=imported.labels,
    )
    assert not len(build(open_manifest(directory / "manifest.jsonl"), request).failures)
    return directory / "out"
