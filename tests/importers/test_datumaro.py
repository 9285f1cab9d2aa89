import importlib.util
import json
import logging

import pytest

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers import datumaro, find_importer

is_installed = importlib.util.find_spec("datumaro") is not None
needs_datumaro = pytest.mark.skipif(not is_installed, reason="the optional group datumaro is not installed")


@pytest.fixture
def kitti(draw, tmp_path):
    """Write two images in KITTI's layout: two cars in the first, none in the second."""
    for name in ("1.png", "2.png"):
        draw(f"training/image_2/{name}")
    lines = ("Car 0 0 0 5 2 15 6 0 0 0 0 0 0 0", "Van 0 0 0 0 0 20 10 0 0 0 0 0 0 0")
    labels = tmp_path / "training" / "label_2" / "1.txt"
    labels.parent.mkdir()
    labels.write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def own_format(draw, tmp_path):
    """Write annotations of one image in Datumaro's own format."""

    def write(*annotations, subset="train"):
        draw(f"images/{subset}/a.png")
        item = {"id": "a", "annotations": annotations, "image": {"path": "a.png"}}
        labels = [{"name": "cat", "parent": ""}, {"name": "dog", "parent": ""}]
        content = {"info": {}, "categories": {"label": {"labels": labels}}, "items": [item]}
        path = tmp_path / "annotations" / f"{subset}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.fixture
def read_all(sort_out):
    def read(root, name="datumaro", **options):
        return sort_out(datumaro.read((root,), root, root, format=name, **options).records)

    return read


def shape(kind, **fields):
    return {"id": 1, "type": kind, "label_id": 0, "group": 0, "attributes": {}, "z_order": 0} | fields


@needs_datumaro
def test_a_format_of_datumaro_becomes_records(kitti, sort_out):
    """A format that only Datumaro reads gives boxes, labels and file names; an image without objects is kept."""
    dataset = find_importer("datumaro", {"format": "kitti_detection"})((kitti,), kitti, kitti)
    records, problems = sort_out(dataset.records)
    assert [label.text for label in dataset.labels] == ["Car", "Van"]
    assert [(each.filename, each.id, each.object.size) for each in records] == [
        ("training/image_2/1.png", "1", 2),
        ("training/image_2/2.png", "2", 0),
    ]
    boxes = records[0].object.bbox
    assert (boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax) == ([0.25, 0], [0.75, 1], [0.2, 0], [0.6, 1])
    assert records[0].object.area == [pytest.approx(0.2), 1]
    assert all(each.sha256 and each.width == 20 for each in records)
    assert not problems


@needs_datumaro
def test_shapes_of_one_group_are_one_object(own_format, read_all):
    """Box, polygon and points of one group are one object, with the polygon's area and the points as parts."""
    root = own_format(
        shape("bbox", bbox=[5, 2, 10, 4], group=3),
        shape("polygon", points=[5, 2, 15, 2, 15, 6], group=3),
        shape("points", points=[5, 2, 10, 5], visibility=[2, 1], group=3),
        shape("bbox", bbox=[0, 0, 20, 10], label_id=1),
    )
    (record,), problems = read_all(root)
    objects = record.object
    assert (objects.bbox.xmin, objects.bbox.xmax, objects.bbox.text) == ([0.25, 0], [0.75, 1], ["cat", "dog"])
    assert objects.area == [pytest.approx(0.1), 1]
    assert (objects.parts.x, objects.parts.v) == ([0.25, 0.5, 0, 0], [2, 1, 0, 0])
    assert not problems


@needs_datumaro
def test_each_box_of_a_group_is_an_object(own_format, read_all):
    """Boxes of one group are one object each."""
    root = own_format(shape("bbox", bbox=[5, 2, 10, 4], group=3), shape("bbox", bbox=[0, 0, 20, 10], group=3))
    (record,), _ = read_all(root)
    assert record.object.bbox.xmax == [0.75, 1]


@needs_datumaro
def test_a_polygon_alone_becomes_the_box_around_it(own_format, read_all):
    """An object without a box gets the box around its polygon."""
    (record,), _ = read_all(own_format(shape("polygon", points=[5, 2, 15, 2, 15, 6])))
    assert (record.object.bbox.xmin, record.object.bbox.ymax) == ([0.25], [0.6])


@needs_datumaro
def test_a_label_of_the_image_is_its_class(own_format, read_all):
    """A label without a shape is the class of the whole image; two of them are a problem."""
    (record,), _ = read_all(own_format(shape("label", label_id=1)))
    assert (record.class_.label, record.class_.text) == (1, "dog")
    _, problems = read_all(own_format(shape("label"), shape("label", label_id=1)))
    assert problems[0].message == "expected one class for the whole image, but got 2"


@needs_datumaro
@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"type": "caption", "caption": "A cat."}, "expected classes, boxes, outlines and points, but got caption"),
        (
            {"type": "bbox", "bbox": [0, 0, 1, 1], "label_id": None},
            "expected a label of each object, but a bbox has none",
        ),
    ],
)
def test_what_a_record_cannot_hold_is_a_problem(own_format, read_all, annotation, message):
    """An annotation of another kind, or without a label, makes its image a problem."""
    records, problems = read_all(own_format(shape(**{"kind": annotation.pop("type"), **annotation})))
    assert not records
    assert [each.message for each in problems] == [message]


@needs_datumaro
def test_ids_of_several_subsets_begin_with_the_subset(own_format, read_all):
    """Ids begin with the subset's name only if several subsets are read."""
    own_format(subset="val")
    root = own_format(subset="train")
    assert [each.id for each in read_all(root)[0]] == ["train/a", "val/a"]
    assert [each.id for each in read_all(root, subset="val")[0]] == ["a"]
    with pytest.raises(SourceError, match="expected the subset 'test', but got train, val"):
        read_all(root, subset="test")


@needs_datumaro
def test_keypoints_have_names(tiny_coco, tmp_path, sort_out, caplog):
    """Real COCO files read by Datumaro give the same objects and keypoints as the importer `coco`."""
    caplog.set_level(logging.ERROR)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    name = "person_keypoints_val2017.json"
    (tmp_path / "annotations" / name).symlink_to(tiny_coco / "annotations" / name)
    (tmp_path / "images" / "val2017").symlink_to(tiny_coco / "val2017")
    dataset = datumaro.read((tmp_path,), tmp_path, tmp_path, format="coco_person_keypoints")
    coco = find_importer("coco")((tmp_path / "annotations" / name,), tiny_coco / "val2017", tiny_coco)
    (label,) = dataset.labels
    assert label == Label(0, "person", 0, coco.labels[0].keypoints)
    records, problems = sort_out(dataset.records)
    expected = {each.filename: each for each in coco.records}
    assert not problems
    for record in records:
        other = expected[record.filename.removeprefix("images/")].object
        assert sorted(record.object.id) == sorted(other.id)
        assert sorted(record.object.bbox.xmin) == pytest.approx(sorted(other.bbox.xmin), abs=1e-5)
        assert sorted(record.object.parts.v) == sorted(other.parts.v)


@needs_datumaro
def test_an_unknown_format_is_refused(tmp_path):
    """A data set that Datumaro cannot read is an error that names it, with Datumaro's message."""
    with pytest.raises(SourceError, match="expected a data set that Datumaro reads, but: "):
        datumaro.read((tmp_path,), tmp_path, tmp_path)


def test_one_data_set_is_expected(tmp_path):
    """More or fewer than one entry in `annotations` is refused."""
    with pytest.raises(SourceError, match="expected one data set in `annotations`, but got 0"):
        datumaro.read((), tmp_path, tmp_path)


@pytest.mark.skipif(is_installed, reason="Datumaro is installed")
def test_without_datumaro_its_group_is_named(tmp_path):
    """Without the library the error says what to install."""
    with pytest.raises(ConfigError, match=r"pip install 'tfrec-stage\[datumaro\]'"):
        datumaro.read((tmp_path,), tmp_path, tmp_path)
