"""The profile `od_api`: its keys, its label map and areas in pixels."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.exporters.splits import Split, box, build_split
from tests.exporters.truth import build_coco
from tests.project import Project, read_all
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.exporters.class_names import MAX_LABEL
from tfrec_stage.exporters.label_map import write_label_map
from tfrec_stage.schema.options import AreaUnit, Profile

CORE_KEYS = 27
OD_API_KEYS = 12
BOXES = {"xmin": [0.1, 0.2], "xmax": [0.5, 0.6], "ymin": [0.1, 0.2], "ymax": [0.5, 0.6]}


def values(split: Split) -> list[dict[str, Any]]:
    """Features of every record, by key."""
    records = sorted(split.finished().records(), key=lambda record: record.features["image/id"].values)
    return [{key: feature.values for key, feature in record.features.items()} for record in records]


def two_objects(bbox: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A record with two objects."""
    return {"object": {"bbox": BOXES | (bbox or {})} | more}


@pytest.mark.parametrize("options", [{"profiles": ["od_api"]}, {"od_api_keys": True}])
def test_the_further_keys(tmp_path: Path, options: dict[str, Any]) -> None:
    """The profile or the older option adds twelve keys, with classes from 1; the core keys are unchanged."""
    record = two_objects({"label": [0, 3], "text": ["cat", "owl"]}, is_crowd=[0, 1]) | {"extra": {"difficult": [1, 0]}}
    (tmp_path / "plain").mkdir()
    (plain,) = values(build_split(tmp_path / "plain", [record], 1))
    (got,) = values(build_split(tmp_path, [record], 1, **options))
    assert (len(plain), len(got)) == (CORE_KEYS, CORE_KEYS + OD_API_KEYS)
    assert {key: got[key] for key in plain} == plain
    assert got["image/source_id"] == [b"0"]
    assert got["image/key/sha256"] == [sha256(got["image/encoded"][0]).hexdigest().encode()]
    assert got["image/object/class/label"] == [1, 4]
    assert got["image/object/class/text"] == [b"cat", b"owl"]
    assert got["image/object/is_crowd"] == got["image/object/group_of"] == [0, 1]
    assert got["image/object/difficult"] == [1, 0]
    assert (tmp_path / "out" / "label_map.pbtxt").exists()


def test_the_older_option_is_the_profile(tmp_path: Path) -> None:
    """`od_api_keys: true` gives the same shards and files as the profile."""
    project = Project.of(tmp_path, 4, encode={"od_api_keys": True})
    before = project.build_clean()
    project.encode = {"profiles": _profiles("od_api")}
    after = project.build_clean()
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"index.json"}  # which has the options


def test_boxes_without_labels_are_of_one_class(tmp_path: Path) -> None:
    """Boxes without labels get id 1, named `object` in the label map, because the API needs a class for each box."""
    split = build_split(tmp_path, [two_objects()], 1, profiles=["od_api"])
    assert values(split)[0]["image/object/class/label"] == [1, 1]
    assert 'id: 1\n  name: "object"' in (split.directory / "label_map.pbtxt").read_text()


def test_extra_as_text_says_the_same(tmp_path: Path) -> None:
    """`extra` gives the same flags as an object and as its JSON text, which is how it is read back."""
    record = two_objects({"label": [0, 3], "text": ["cat", "owl"]}) | {"extra": '{"difficult": [1, 0]}'}
    (got,) = values(build_split(tmp_path, [record], 1, profiles=["od_api"]))
    assert got["image/object/difficult"] == [1, 0]


@pytest.mark.parametrize(
    "extra", ["text", "{", {"difficult": [1]}, {"difficult": "01"}, {"difficult": [2, 0]}, [1, 0], {}]
)
def test_only_flags_are_difficult(tmp_path: Path, extra: object) -> None:
    """An `extra` that does not have one flag per object gives no flags."""
    (got,) = values(build_split(tmp_path, [two_objects() | {"extra": extra}], 1, profiles=["od_api"]))
    assert got["image/object/difficult"] == []


LABELS = (Label(0, "person", keypoints=("nose", "ear", "toe")), Label(1, "cat", keypoints=("nose",)), Label(2, "car"))
PARTS = {"x": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "y": [0.6, 0.5, 0.4, 0.3, 0.2, 0.1], "v": [2, 0, 1, 0, 0, 2]}


class TestKeypoints:
    """Parts under the keys of the Object Detection API."""

    def build(self, tmp_path: Path, label: list[int], names: bool = True, **parts: Any) -> dict[str, Any]:
        project = Project.of(tmp_path, 1, encode={"profiles": _profiles("od_api")}, num_shards=1)
        project.labels = LABELS if names else ()
        project.records["0"] |= two_objects({"label": label}, parts=PARTS | parts)
        project.build()
        (got,) = values(Split(project.out))
        return {key.rpartition("/")[2]: value for key, value in got.items() if key.startswith("image/object/keypoint/")}

    def test_what_they_hold(self, tmp_path: Path) -> None:
        """Positions and visibilities equal those of the parts, `num` counts those in the image, `text` names each."""
        got = self.build(tmp_path, [0, 1])
        assert got["x"] == pytest.approx(PARTS["x"])
        assert got["y"] == pytest.approx(PARTS["y"])
        assert got["visibility"] == PARTS["v"]
        assert got["num"] == [2, 1]
        assert got["text"] == [b"nose", b"ear", b"toe", b"nose", b"", b""]

    def test_classes_without_names(self, tmp_path: Path) -> None:
        """Parts of a class without names of parts get empty names."""
        assert self.build(tmp_path, [2, 9])["text"] == [b""] * 6

    def test_boxes_without_labels(self, tmp_path: Path) -> None:
        """Boxes without labels are of class 0, so their parts have its names."""
        assert self.build(tmp_path, [])["text"] == [b"nose", b"ear", b"toe"] * 2

    def test_without_names(self, tmp_path: Path) -> None:
        """If no class has names of parts, `text` is empty."""
        assert self.build(tmp_path, [0, 1], names=False)["text"] == []

    def test_without_visibilities(self, tmp_path: Path) -> None:
        """Without visibilities, `num` counts all parts."""
        got = self.build(tmp_path, [0, 1], v=[])
        assert (got["visibility"], got["num"]) == ([], [3, 3])

    def test_without_parts(self, tmp_path: Path) -> None:
        """`num` is 0 for an object without parts, and empty for an image without objects."""
        first, second = values(build_split(tmp_path, [two_objects(), {}], 1, profiles=["od_api"]))
        assert (first["image/object/keypoint/num"], first["image/object/keypoint/x"]) == ([0, 0], [])
        assert second["image/object/keypoint/num"] == []

    def test_other_names_are_other_bytes(self, tmp_path: Path) -> None:
        """New names of parts build every shard again, but only with the profile."""
        project = Project.of(tmp_path, 8, encode={"profiles": _profiles("od_api")})
        project.build()
        assert project.build().built == ()
        project.labels = LABELS
        assert len(project.build().built) == project.num_shards
        assert project.build().built == ()
        project.encode = {}
        project.build()
        project.labels = ()
        assert project.build().built == ()
        assert read_all(project.out) == project.build_clean()

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_num_equals_that_of_coco(self, shared_data: Callable[[str], Path], tmp_path: Path, split: str) -> None:
        """`num` is the `num_keypoints` of the object's annotation, 0 if it is not a person."""
        root = shared_data("tiny_coco")
        directory = build_coco(root, tmp_path, split, profiles=["od_api"])
        persons = json.loads((root / "annotations" / f"person_keypoints_{split}2017.json").read_text())["annotations"]
        expected = {str(person["id"]): person["num_keypoints"] for person in persons}
        counted = 0
        for got in values(Split(directory)):
            for name, number in zip(got["image/object/id"], got["image/object/keypoint/num"], strict=True):
                assert number == expected.get(name.decode(), 0)
                counted += number
        assert counted == sum(expected.values()) > 0


class TestLabelMap:
    """`label_map.pbtxt`."""

    def test_its_text(self, tmp_path: Path) -> None:
        """Items have ids from 1 and their name twice; keypoints have ids from 0."""
        labels = (Label(0, "cat", keypoints=("nose", "tail")), Label(1, "dog"))
        split = build_split(tmp_path, [box(1)])
        write_label_map(split.finished(labels))
        assert (split.directory / "label_map.pbtxt").read_text() == (
            'item {\n  id: 1\n  name: "cat"\n  display_name: "cat"\n'
            '  keypoints {\n    id: 0\n    label: "nose"\n  }\n  keypoints {\n    id: 1\n    label: "tail"\n  }\n}\n'
            'item {\n  id: 2\n  name: "dog"\n  display_name: "dog"\n}\n'
        )

    def test_any_name_is_read_back(self, tmp_path: Path) -> None:
        """Protobuf's own parser reads back names with quotes, backslashes, control characters and any letters."""
        names = [
            'a "b"',
            "c\\d",
            "e'f",
            "line\nbreak",
            "\t\x00\x07\x7f1",
            "Größe",
            "浣熊",
            "🦝",
            "\\n",
            "# no: comment {",
        ]
        split = build_split(tmp_path, [box(0)])
        write_label_map(split.finished(tuple(map(Label, range(len(names)), names))))
        read = read_label_map(split.directory / "label_map.pbtxt")
        assert [(item.id, item.name, item.display_name) for item in read.item] == [
            (number, name, name) for number, name in enumerate(names, 1)
        ]

    def test_labels_too_large_to_list(self, tmp_path: Path) -> None:
        """A label above `MAX_LABEL` is a ConfigError; a million names are not listed."""
        with pytest.raises(
            ConfigError, match=r"^encode.profiles: expected labels up to 999,999, .*, but got 1000000; "
        ):
            build_split(tmp_path, [box(MAX_LABEL + 1)], profiles=["od_api"])
        assert not (tmp_path / "out").exists()


def test_areas_in_pixels(tmp_path: Path) -> None:
    """`area=pixels` multiplies areas by the width and height of the image, and changes nothing else."""
    record = two_objects(area=[0.25, 0.0])
    (tmp_path / "pixels").mkdir()
    (normalized,) = values(build_split(tmp_path, [record], 1))
    (pixels,) = values(build_split(tmp_path / "pixels", [record], 1, area="pixels"))
    assert pixels.pop("image/object/area") == [0.25 * 40 * 30, 0.0]
    assert normalized.pop("image/object/area") == [0.25, 0.0]
    assert pixels == normalized


def test_areas_in_pixels_equal_those_of_coco(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Areas in pixels equal COCO's, to the precision of a 32-bit float."""
    root = shared_data("tiny_coco")
    annotations = json.loads((root / "annotations" / "instances_train2017.json").read_text())["annotations"]
    expected = {str(annotation["id"]): annotation["area"] for annotation in annotations}
    got = values(Split(build_coco(root, tmp_path, area=AreaUnit.pixels)))
    areas = {
        name.decode(): area
        for each in got
        for name, area in zip(each["image/object/id"], each["image/object/area"], strict=True)
    }
    assert areas == pytest.approx(expected, rel=1e-6)


def _profiles(*names: str) -> list[Any]:
    return [Profile(name) for name in names]


def read_label_map(path: Path) -> Any:
    """Read a label map with protobuf and the message type of the Object Detection API."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="test", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    item = file.message_type.add(name="Item")
    for number, (name, kind) in enumerate([("name", kinds.TYPE_STRING), ("id", kinds.TYPE_INT32)], 1):
        item.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    item.field.add(name="display_name", number=3, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    labels = file.message_type.add(name="Map")
    labels.field.add(name="item", number=1, type=kinds.TYPE_MESSAGE, type_name=".test.Item", label=kinds.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Map"))()
    return text_format.Parse(path.read_text(encoding="utf-8"), message)


def test_flags_go_with_dropped_objects(tmp_path: Path) -> None:
    """If a box without area is dropped, the remaining objects keep their own flags."""
    edges = {"xmin": [0.1, 0.5, 0.2], "xmax": [0.9, 0.5, 0.8], "ymin": [0.1] * 3, "ymax": [0.9] * 3}
    flags = {"difficult": [1, 0, 0], "folder": "a"}
    record = {"object": {"bbox": edges | {"text": ["cat", "dog", "owl"]}}, "extra": flags}
    (got,) = values(build_split(tmp_path, [record], 1, profiles=["od_api"], degenerate_boxes="drop"))
    assert got["image/object/class/text"] == [b"cat", b"owl"]
    assert got["image/object/difficult"] == [1, 0]
    assert got["image/extra"] == [b'{"difficult": [1, 0], "folder": "a"}']
