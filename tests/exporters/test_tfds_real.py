"""Real annotations through TensorFlow Datasets: it reads what is in the annotation files."""

import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.importers import find_importer
from tfrec_stage.importers.import_stage import import_dataset
from tfrec_stage.manifest import open_manifest
from tfrec_stage.schema.options import Profile

tfds = pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets")


@pytest.fixture
def read_with_tfds(tmp_path: Path):
    """A function that imports annotations and builds four shards; returns TFDS's builder and examples by image id."""

    def make(importer: str, annotations: list[Path], images: Path, root: Path) -> tuple[Any, dict[str, Any]]:
        dataset = find_importer(importer)(tuple(annotations), images, root)
        imported = import_dataset(dataset, tmp_path / "manifest.jsonl")
        assert imported.problems == ()
        output_options = OutputOptions(EncodeOptions(profiles=[Profile.tfds]))
        request = BuildRequest("train", tmp_path / "out", 4, output_options, root, labels=imported.labels)
        report = build(open_manifest(tmp_path / "manifest.jsonl"), request)
        assert not len(report.failures)
        builder = tfds.builder_from_directory(tmp_path / "out")
        assert builder.info.splits["train"].shard_lengths == [shard.records for shard in report.shards]
        examples = tfds.as_numpy(builder.as_dataset(split="train"))
        return builder, {example["image/id"].decode(): example for example in examples}

    return make


def pixels(objects: dict[str, Any], width: int, height: int) -> list[list[float]]:
    """Left, top, right and bottom edge of each box, in pixels."""
    return [[left * width, top * height, right * width, low * height] for top, left, low, right in objects["bbox"]]


def test_coco_is_read_back(read_with_tfds, shared_data: Callable[[str], Path]) -> None:
    """Boxes, classes, areas, crowds and keypoints of all 470 objects equal their annotations, matched by id."""
    root = shared_data("tiny_coco")
    files = [root / "annotations" / f"{kind}_train2017.json" for kind in ("instances", "person_keypoints")]
    instances, keypoints = (json.loads(path.read_text()) for path in files)
    stated = defaultdict(dict)
    for annotation in instances["annotations"]:
        stated[annotation["image_id"]][str(annotation["id"])] = annotation
    of_persons = {str(annotation["id"]): annotation["keypoints"] for annotation in keypoints["annotations"]}
    category = {each["id"]: each["name"] for each in instances["categories"]}
    builder, examples = read_with_tfds("coco", files, root / "train2017", root)
    names = builder.info.features["objects"]["label"].names
    objects_seen = persons_seen = 0
    assert len(examples) == len(instances["images"]) == 50
    for image in instances["images"]:
        example, width, height = examples[str(image["id"])], image["width"], image["height"]
        assert example["image/encoded"].shape == (height, width, 3)
        assert example["image/filename"].decode() == f"train2017/{image['file_name']}"
        objects = example["objects"]
        ids = [name.decode() for name in objects["id"]]
        assert sorted(ids) == sorted(stated[image["id"]])
        for number, (name, box) in enumerate(zip(ids, pixels(objects, width, height), strict=True)):
            annotation = stated[image["id"]][name]
            left, top, across, down = annotation["bbox"]
            assert box == pytest.approx([left, top, left + across, top + down], abs=0.01)
            assert objects["area"][number] == pytest.approx(annotation["area"], rel=1e-5)
            assert bool(objects["is_crowd"][number]) == bool(annotation["iscrowd"])
            assert names[objects["label"][number]] == category[annotation["category_id"]]
            objects_seen += 1
            if name in of_persons:
                assert parts(example, number, width, height) == pytest.approx(of_persons[name], abs=0.01)
                persons_seen += 1
    assert (objects_seen, persons_seen) == (470, 99)


def parts(example: dict[str, Any], number: int, width: int, height: int) -> list[float]:
    """x, y and visibility of each of the 17 keypoints of an object, in pixels."""
    part = slice(number * 17, (number + 1) * 17)
    columns = (example[f"image/object/parts/{key}"][part] for key in ("x", "y", "v"))
    return [float(value) for x, y, v in zip(*columns, strict=True) for value in (x * width, y * height, v)]


def test_voc_is_read_back(read_with_tfds, shared_data: Callable[[str], Path]) -> None:
    """All 217 boxes of 200 images are read; areas, which the XML does not state, are those of the boxes."""
    root = shared_data("raccoon_voc")
    builder, examples = read_with_tfds("voc", [root / "annotations"], root / "images", root)
    assert builder.info.features["objects"]["label"].names == ["raccoon"]
    seen = 0
    assert len(examples) == 200
    for name, example in examples.items():
        tree = ET.parse(root / "annotations" / f"{name}.xml")
        width, height = (int(tree.findtext(f"size/{side}")) for side in ("width", "height"))
        assert example["image/encoded"].shape == (height, width, 3)
        assert example["image/filename"].decode() == f"images/{name}.jpg"
        edges = ("xmin", "ymin", "xmax", "ymax")
        stated = [[float(node.findtext(edge)) for edge in edges] for node in tree.iter("bndbox")]
        objects = example["objects"]
        assert pixels(objects, width, height) == [pytest.approx(box, abs=0.01) for box in stated]
        areas = [(right - left) * (low - top) for left, top, right, low in stated]
        assert objects["area"] == pytest.approx(areas, rel=1e-4)
        assert objects["label"].tolist() == [0] * len(stated)
        seen += len(stated)
    assert seen == 217
