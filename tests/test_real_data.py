"""Real COCO and VOC annotations survive import and build: TensorFlow parses and decodes the shards."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions
from tfrec_stage.importers import find_importer
from tfrec_stage.importers.import_stage import import_dataset
from tfrec_stage.manifest import open_manifest


def examples(tf, directory: Path) -> dict[str, dict[str, list]]:
    """Return every record by its image id, parsed by TensorFlow."""
    parsed = {}
    for path in sorted(directory.glob("*-of-*")):
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(raw).features.feature
            values = {key: list(getattr(f, f.WhichOneof("kind")).value) for key, f in features.items()}
            parsed[values["image/id"][0].decode()] = values
    return parsed


@pytest.fixture
def build_coco(shared_data: Callable[[str], Path], tmp_path: Path):
    """A function that imports annotations of tiny_coco and builds 3 shards; it returns the report and directory."""
    root = shared_data("tiny_coco")

    def make(split: str, *kinds: str, **encode: Any):
        files = tuple(root / "annotations" / f"{kind}_{split}2017.json" for kind in kinds)
        dataset = find_importer("coco")(files, root / f"{split}2017", root)
        imported = import_dataset(dataset, tmp_path / "manifest.jsonl")
        assert imported.problems == ()
        request = BuildRequest(split, tmp_path / "out", 3, OutputOptions(EncodeOptions(**encode)), images_root=root)
        return build(open_manifest(tmp_path / "manifest.jsonl"), request), tmp_path / "out"

    return make


def annotations_of(root: Path, split: str, kind: str) -> dict[str, list[dict[str, Any]]]:
    """Return the annotations of a COCO file by image id."""
    content = json.loads((root / "annotations" / f"{kind}_{split}2017.json").read_text())
    by_image: dict[str, list[dict[str, Any]]] = {str(image["id"]): [] for image in content["images"]}
    for annotation in content["annotations"]:
        by_image[str(annotation["image_id"])].append(annotation)
    return by_image


@pytest.mark.parametrize(
    ("split", "kind", "objects", "with_keypoints"),
    [
        ("train", "instances", 470, 0),
        ("val", "instances", 382, 0),
        ("train", "person_keypoints", 99, 57),
        ("val", "person_keypoints", 127, 46),
    ],
)
def test_coco_boxes_and_keypoints_in_pixels(
    tf, build_coco, shared_data, split: str, kind: str, objects: int, with_keypoints: int
) -> None:
    """No image fails and all decode; in pixels, each box and keypoint is that of the annotation to 0.01."""
    report, directory = build_coco(split, kind)
    assert (report.statistics.images, len(report.failures)) == (50, 0)
    assert report.statistics.boxes == objects
    annotations = annotations_of(shared_data("tiny_coco"), split, kind)
    visible = 0
    for image_id, example in examples(tf, directory).items():
        width, height = example["image/width"][0], example["image/height"][0]
        assert tf.io.decode_jpeg(example["image/encoded"][0], channels=3).shape == (height, width, 3)
        by_id = {str(annotation["id"]): annotation for annotation in annotations.pop(image_id)}
        assert sorted(by_id) == sorted(name.decode() for name in example["image/object/id"])
        for number, name in enumerate(example["image/object/id"]):
            annotation = by_id[name.decode()]
            assert pixels_of_box(example, number, width, height) == pytest.approx(annotation["bbox"], abs=0.01)
            area = example["image/object/area"][number] * width * height
            assert area == pytest.approx(annotation["area"], rel=1e-5)
            if kind == "person_keypoints":
                keypoints = pixels_of_parts(example, number, width, height)
                assert keypoints == pytest.approx(annotation["keypoints"], abs=0.01)
                visible += any(annotation["keypoints"][2::3])
    assert annotations == {}
    assert visible == with_keypoints


def pixels_of_box(example: dict[str, list], number: int, width: int, height: int) -> list[float]:
    """Return left, top, width and height of a box in pixels, as in COCO."""
    xmin, xmax, ymin, ymax = (example[f"image/object/bbox/{edge}"][number] for edge in ("xmin", "xmax", "ymin", "ymax"))
    return [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]


def pixels_of_parts(example: dict[str, list], number: int, width: int, height: int) -> list[float]:
    """Return x and y in pixels and visibility of each of the 17 keypoints of an object."""
    part = slice(number * 17, (number + 1) * 17)
    columns = (example[f"image/object/parts/{key}"][part] for key in ("x", "y", "v"))
    return [value for x, y, v in zip(*columns, strict=True) for value in (x * width, y * height, v)]


def test_instances_and_keypoints_are_merged(tf, build_coco) -> None:
    """Both files together give all instances, and persons with their keypoints."""
    report, directory = build_coco("train", "instances", "person_keypoints")
    assert report.statistics.boxes == 470
    assert report.statistics.parts == 470 * 17
    persons = sum(any(values["image/object/parts/v"]) for values in examples(tf, directory).values())
    assert persons > 0


def test_voc_boxes_in_pixels(tf, shared_data, tmp_path: Path) -> None:
    """In pixels, each box is that of its XML file to 0.01; the three grayscale images are re-encoded as RGB."""
    root = shared_data("raccoon_voc")
    dataset = find_importer("voc")((root / "annotations",), root / "images", root)
    imported = import_dataset(dataset, tmp_path / "manifest.jsonl")
    assert (imported.records, imported.problems) == (200, ())
    request = BuildRequest("train", tmp_path / "out", num_shards=4, images_root=root)
    report = build(open_manifest(tmp_path / "manifest.jsonl"), request)
    assert (report.statistics.images, report.statistics.boxes, len(report.failures)) == (200, 217, 0)
    assert (dict(report.statistics.transforms), dict(report.statistics.repaired)) == ({"reencoded": 3}, {})
    gray = 0
    for name, example in examples(tf, tmp_path / "out").items():
        width, height = example["image/width"][0], example["image/height"][0]
        path = root / "images" / f"{name}.jpg"
        with Image.open(path) as image:
            gray += image.mode == "L"
            assert (example["image/encoded"][0] == path.read_bytes()) == (image.mode == "RGB")
        assert tf.io.decode_jpeg(example["image/encoded"][0], channels=3).shape == (height, width, 3)
        stated = list(ET.parse(root / "annotations" / f"{name}.xml").iter("bndbox"))
        assert example["image/object/count"] == [len(stated)]
        assert example["image/object/bbox/text"] == [b"raccoon"] * len(stated)
        for number, box in enumerate(stated):
            left, top, right, bottom = (float(box.findtext(edge)) for edge in ("xmin", "ymin", "xmax", "ymax"))
            expected = [left, top, right - left, bottom - top]
            assert pixels_of_box(example, number, width, height) == pytest.approx(expected, abs=0.01)
    assert gray == 3


def test_compressed_annotations(tf, build_coco) -> None:
    """Without images, gzip shrinks COCO's annotations to about a third, and TensorFlow reads the same records."""
    content, sizes = {}, {}
    for compression in Compression:
        report, directory = build_coco("train", "instances", compression=compression, store_images=False)
        paths = sorted(map(str, directory.glob("*-of-*")))
        kind = "GZIP" if compression is Compression.gzip else ""
        content[compression] = list(tf.data.TFRecordDataset(paths, kind).as_numpy_iterator())
        sizes[compression] = sum(shard.size_bytes for shard in report.shards)
    assert content[Compression.gzip] == content[Compression.none]
    assert len(content[Compression.gzip]) == 50
    assert sizes[Compression.gzip] < sizes[Compression.none] * 0.35
