"""The profile `od_api`, read by the code of the Object Detection API and of the Model Garden."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.exporters.consumers import consume, needs
from tests.exporters.truth import TrueImage, build_coco, build_voc, read_coco, read_voc
from tfrec_stage.dataset_info import read_labels
from tfrec_stage.schema.options import AreaUnit

SharedData = Callable[[str], Path]
OLD_MESSAGES = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
NUM_KEYPOINTS = 17


def write_names(directory: Path) -> dict[str, int]:
    """Write the table `id,name` that the Model Garden's other decoder reads; return ids by name."""
    labels = read_labels(directory / "labels.json")
    (directory / "names.csv").write_text("".join(f"{label.label + 1},{label.text}\n" for label in labels))
    return {label.text: label.label + 1 for label in labels}


def check_record(got: dict, true: TrueImage, ids: dict[str, int]) -> None:
    """Assert that a decoded record equals the annotations of its image."""
    assert got["shape"] == [true.height, true.width, 3]
    true.check_boxes(got["boxes"])
    assert got["classes"] == got["classes_by_name"] == [ids[each.name] for each in true.objects]
    if true.objects[:1] and true.objects[0].area is not None:
        assert got["area"] == pytest.approx([each.area for each in true.objects], rel=1e-5)
        assert got["crowd"] == [each.is_crowd for each in true.objects]


class TestModelGarden:
    """`tf-models-official`."""

    def test_coco(self, shared_data: SharedData, tmp_path: Path) -> None:
        """Boxes, classes (from 1), areas in pixels and crowds equal COCO's, and RetinaNet's parser builds targets."""
        needs("official.vision")
        root = shared_data("tiny_coco")
        directory = build_coco(root, tmp_path, profiles=["od_api"], area=AreaUnit.pixels)
        ids = write_names(tmp_path)
        consumed, truth = consume("model_garden", directory, tmp_path / "names.csv"), read_coco(root, "train")
        read = consumed["records"]
        assert read.keys() == truth.keys() == set(map(str, consumed["source_ids"]))
        trained = set()
        for name, true in truth.items():
            check_record(read[name], true, ids)
            assert read[name]["size"] == [true.height, true.width]
            assert read[name]["parsed"] == [128, 128, 3]
            of_image = {label for label in read[name]["trained"] if label > 0}  # 0 is background, -2 is ignored
            assert of_image <= {ids[each.name] for each in true.objects}
            trained |= of_image
        assert min(trained) == ids["person"] == 1

    def test_voc(self, shared_data: SharedData, tmp_path: Path) -> None:
        """All 217 raccoons are read as class 1; ids need not be numbers unless the parser evaluates."""
        needs("official.vision")
        root = shared_data("raccoon_voc")
        directory = build_voc(root, tmp_path, profiles=["od_api"])
        ids = write_names(tmp_path)
        read, truth = consume("model_garden", directory, tmp_path / "names.csv")["records"], read_voc(root)
        assert read.keys() == truth.keys()
        for name, true in truth.items():
            check_record(read[name], true, ids)
        assert sum(record["classes"].count(1) for record in read.values()) == 217


class TestObjectDetectionApi:
    """`tf-models-research-object-detection`."""

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_coco(self, shared_data: SharedData, tmp_path: Path, split: str) -> None:
        """Boxes, classes by number and name, keypoints by order and name, crowds and areas equal COCO's."""
        needs("object_detection.data_decoders")
        root = shared_data("tiny_coco")
        directory = build_coco(root, tmp_path, split, profiles=["od_api"], area=AreaUnit.pixels)
        read = consume("object_detection_api", directory, NUM_KEYPOINTS, **OLD_MESSAGES)
        labels = read_labels(tmp_path / "labels.json")
        assert read["names"] == {label.text: label.label + 1 for label in labels}
        assert read["categories"][0] == {
            "id": 1,
            "name": "person",
            "keypoints": {name: place for place, name in enumerate(labels[0].keypoints)},
        }
        truth = read_coco(root, split)
        assert read["records"].keys() == truth.keys()
        seen = 0
        for name, true in truth.items():
            got = read["records"][name]
            check_record(got, true, read["names"])
            assert got["group_of"] == [int(each.is_crowd) for each in true.objects]
            assert got["source_id"] == name
            assert got["sha256"] == sha256(true.path.read_bytes()).hexdigest()
            seen += check_keypoints(got, true)
        assert seen == {"train": 57, "val": 46}[split]

    def test_voc(self, shared_data: SharedData, tmp_path: Path) -> None:
        """All 217 raccoons are read as class 1, with their flag `difficult`."""
        needs("object_detection.data_decoders")
        root = shared_data("raccoon_voc")
        directory = build_voc(root, tmp_path, profiles=["od_api"])
        read = consume("object_detection_api", directory, 0, **OLD_MESSAGES)
        assert read["names"] == {"raccoon": 1}
        truth = read_voc(root)
        assert read["records"].keys() == truth.keys()
        for name, true in truth.items():
            check_record(read["records"][name], true, read["names"])
            assert read["records"][name]["difficult"] == [int(each.is_difficult) for each in true.objects]
        assert sum(len(record["classes"]) for record in read["records"].values()) == 217


def check_keypoints(got: dict, true: TrueImage) -> int:
    """Assert that the keypoints equal the annotations; return how many objects have a labelled keypoint."""
    assert got["keypoints"] == got["keypoints_by_name"]
    seen = 0
    for number, each in enumerate(true.objects):
        x, y, v = (each.keypoints[place::3] or [0] * NUM_KEYPOINTS for place in range(3))
        assert got["visible"][number] == [value > 0 for value in v]
        for place, (gy, gx) in enumerate(got["keypoints"][number]):
            assert (gx < 0) == (v[place] == 0)
            if v[place]:
                assert [gx * true.width, gy * true.height] == pytest.approx([x[place], y[place]], abs=0.01)
        seen += any(v)
    return seen
