"""Real annotations, built into shards and read back: nothing is lost, with either reader."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tfrec_stage import create, load_dataset, read_records
from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.importers import find_importer
from tfrec_stage.importers.import_stage import import_dataset
from tfrec_stage.manifest import open_manifest

READERS = 4


class Coco(NamedTuple):
    """Shards of 50 COCO images with persons and keypoints, and their annotation file."""

    shards: Path
    images: dict[str, dict[str, Any]]
    """Images by id, as in the annotation file."""
    annotations: dict[str, list[dict[str, Any]]]
    """Annotations by image id, as in the annotation file."""


@pytest.fixture
def coco(shared_data: Callable[[str], Path], tmp_path: Path) -> Coco:
    """tiny_coco's training images in three shards."""
    root = shared_data("tiny_coco")
    path = root / "annotations" / "person_keypoints_train2017.json"
    import_dataset(find_importer("coco")((path,), root / "train2017", root), tmp_path / "manifest.jsonl")
    request = BuildRequest("train", tmp_path / "out", num_shards=3, images_root=root)
    assert not len(build(open_manifest(tmp_path / "manifest.jsonl"), request).failures)
    content = json.loads(path.read_text())
    annotations: dict[str, list[dict[str, Any]]] = {str(image["id"]): [] for image in content["images"]}
    for annotation in content["annotations"]:
        annotations[str(annotation["image_id"])].append(annotation)
    return Coco(tmp_path / "out", {str(image["id"]): image for image in content["images"]}, annotations)


def test_records_are_the_annotations(coco: Coco) -> None:
    """Every box and keypoint equals that of the annotation file, matched by id, to 0.01 pixel; none is missing."""
    seen = 0
    for record in read_records(coco.shards):
        width, height, objects = record["width"], record["height"], record["object"]
        by_id = {str(annotation["id"]): annotation for annotation in coco.annotations[record["id"]]}
        assert sorted(objects["id"]) == sorted(by_id)
        assert (width, height) == tuple(coco.images[record["id"]][key] for key in ("width", "height"))
        for number, name in enumerate(objects["id"]):
            left, top, box_width, box_height = by_id[name]["bbox"]
            box = {key: objects["bbox"][key][number] for key in ("xmin", "xmax", "ymin", "ymax")}
            assert [box["xmin"] * width, box["ymin"] * height] == pytest.approx([left, top], abs=0.01)
            assert (box["xmax"] - box["xmin"]) * width == pytest.approx(box_width, abs=0.01)
            assert (box["ymax"] - box["ymin"]) * height == pytest.approx(box_height, abs=0.01)
            parts = {key: objects["parts"][key][17 * number : 17 * number + 17] for key in ("x", "y", "v")}
            columns = zip(parts["x"], parts["y"], parts["v"], strict=True)
            pixels = [value for x, y, v in columns for value in (x * width, y * height, v)]
            assert pixels == pytest.approx(by_id[name]["keypoints"], abs=0.01)
        seen += 1
    assert seen == 50


def test_both_readers_count_the_annotations(tf, coco: Coco) -> None:
    """Each image has the annotated size and as many boxes and visible keypoints as annotated."""
    boxes = {name: len(annotations) for name, annotations in coco.annotations.items()}
    visible = {
        name: sum(v > 0 for annotation in annotations for v in annotation["keypoints"][2::3])
        for name, annotations in coco.annotations.items()
    }
    records = {record["id"]: record["object"] for record in read_records(coco.shards)}
    assert {name: objects["count"] for name, objects in records.items()} == boxes
    assert {name: sum(v > 0 for v in objects["parts"]["v"]) for name, objects in records.items()} == visible
    ours = {}
    for element in load_dataset(coco.shards):
        name = element["image/id"].numpy().decode()
        ours[name] = (
            int(element["image/object/bbox/xmin"].shape[0]),
            int(tf.math.count_nonzero(element["image/object/parts/v"])),
        )
        assert element["image"].shape == (coco.images[name]["height"], coco.images[name]["width"], 3)
    assert ours == {name: (boxes[name], visible[name]) for name in boxes}
    assert sum(visible.values()) > 0


def test_several_readers(tf, coco: Coco) -> None:
    """Four readers of three shards get every image once, evenly, the same with both functions."""
    assigned = Counter()
    for index in range(READERS):
        elements = load_dataset(coco.shards, shard=(index, READERS), fields=["image/id"])
        ours = [element["image/id"].numpy().decode() for element in elements]
        records = read_records(coco.shards, shard=(index, READERS), fields=["image/id"])
        assert ours == [record["id"] for record in records]
        assert 10 <= len(ours) <= 15
        assigned.update(ours)
    assert assigned == Counter(list(coco.images))


def test_the_same_shards_again(coco: Coco, tmp_path: Path) -> None:
    """`create()` with the records read builds the same bytes."""
    assert create(read_records(coco.shards), "train", tmp_path / "again", 3, 1) == []
    shards = list(coco.shards.glob("*-of-*"))
    assert len(shards) == 3
    for path in shards:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
