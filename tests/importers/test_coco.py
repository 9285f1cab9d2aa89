import json
from types import GeneratorType

import pytest

from tests.importers.coco_files import CATEGORIES, IMAGES, PERSON, annotation
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers import coco, find_importer
from tfrec_stage.records import Boxes, Parts


def test_a_box_becomes_normalised_edges(coco_file, read_all):
    """x, y, width, height in pixels become xmin, xmax, ymin, ymax over the image's size, area over both."""
    records, problems = read_all(coco_file([annotation()]))
    boxes = Boxes(xmin=[0.25], xmax=[0.75], ymin=[0.2], ymax=[0.6], label=[1], text=["car"])
    assert records[0].object.bbox == boxes
    assert (records[0].object.area, records[0].object.id, records[0].object.is_crowd) == ([0.1], ["7"], [0])
    assert not problems


def test_records_are_in_the_order_of_image_ids(coco_file, read_all):
    """Records are in the order of image ids, and an image without annotations has no objects."""
    records, _ = read_all(coco_file([annotation()]))
    assert [(each.id, each.filename, each.object.size) for each in records] == [
        ("3", "train/a.jpg", 1),
        ("20", "train/b.jpg", 0),
    ]
    assert (records[1].width, records[1].height) == (20, 10)


def test_labels_are_numbered_by_category_id(coco_file, tmp_path):
    """Labels are contiguous and in the order of category ids, independent of the order in the file."""
    labels = coco.read((coco_file(),), tmp_path, tmp_path).labels
    assert labels == (Label(0, "person", 1), Label(1, "car", 3))


def test_keypoints_become_parts(coco_file, read_all):
    """Keypoints become normalised parts with their visibility, and the label has their names."""
    path = coco_file([annotation(category_id=1, keypoints=[5, 2, 2, 0, 0, 0])], [PERSON])
    records, _ = read_all(path)
    assert records[0].object.parts == Parts(x=[0.25, 0.0], y=[0.2, 0.0], v=[2, 0])


def test_instances_and_keypoints_are_merged_by_annotation_id(coco_file, read_all, tmp_path):
    """Keypoints are added to the instance with the same id; objects without keypoints get as many parts, all zero."""
    instances = coco_file([annotation(id=7), annotation(id=8, category_id=1, bbox=[0, 0, 2, 2])])
    people = coco_file([annotation(id=8, category_id=1, keypoints=[10, 5, 2, 4, 8, 1])], [PERSON], name="p.json")
    records, problems = read_all(instances, people)
    assert records[0].object.id == ["7", "8"]
    assert records[0].object.bbox.xmax == [0.75, 0.1]
    assert records[0].object.parts == Parts(x=[0, 0, 0.5, 0.2], y=[0, 0, 0.5, 0.8], v=[0, 0, 2, 1])
    assert not problems
    assert coco.read((instances, people), tmp_path, tmp_path).labels[0] == Label(0, "person", 1, ("head", "foot"))


def test_the_order_of_the_files_changes_no_keypoint(coco_file, read_all):
    """If the person_keypoints file is named first, only the order of the objects changes."""
    instances = coco_file([annotation(id=7), annotation(id=8, category_id=1)])
    people = coco_file([annotation(id=8, category_id=1, keypoints=[10, 5, 2, 4, 8, 1])], [PERSON], name="p.json")
    records, _ = read_all(people, instances)
    assert (records[0].object.id, records[0].object.parts.v) == (["8", "7"], [2, 1, 0, 0])


def test_files_of_different_images_are_joined(coco_file, read_all):
    """The records of files that share no image are concatenated."""
    first = coco_file([annotation()], images=IMAGES[:1] + IMAGES[1:])
    other = coco_file([annotation(id=9, image_id=30)], images=[IMAGES[0] | {"id": 30}], name="more.json")
    records, _ = read_all(first, other)
    assert [(each.id, each.object.size) for each in records] == [("3", 1), ("20", 0), ("30", 1)]


@pytest.mark.parametrize(
    ("segmentation", "area"),
    [
        ([[0, 0, 4, 0, 4, 3]], 6),  # a triangle
        ([[0, 0, 4, 0, 4, 3], [10, 0, 10, 2, 12, 2, 12, 0]], 10),  # and a square in the other direction
        ({"size": [10, 20], "counts": [5, 3, 190, 2]}, 5),
        ({"size": [10, 20], "counts": "P137000]1NiN7j1"}, 18),  # the same mask, packed
        ([], 40),  # none: the area of the box
        (None, 40),
    ],
)
def test_a_missing_area_is_that_of_the_segmentation(coco_file, read_all, segmentation, area):
    """Without `area`, the area is that of the polygons or run lengths, else that of the box."""
    without = {key: value for key, value in annotation(segmentation=segmentation).items() if key != "area"}
    records, _ = read_all(coco_file([without]))
    assert records[0].object.area == [pytest.approx(area / 200)]


def test_a_box_beyond_the_image_is_kept(coco_file, read_all):
    """A box that rounding made extend beyond the image is not clipped by the importer."""
    records, _ = read_all(coco_file([annotation(bbox=[10, 0, 10.01, 10])]))
    assert records[0].object.bbox.xmax == [pytest.approx(1.0005)]


@pytest.mark.parametrize("changes", [{"bbox": [1e308] * 4}, {"bbox": [0, 0, 1e200, 1e200], "area": None}])
def test_numbers_beyond_floats_are_a_problem(coco_file, read_all, changes):
    """Edges and areas that overflow to infinity are a problem: a manifest cannot hold them."""
    records, problems = read_all(coco_file([annotation(**changes)]))
    assert [each.id for each in records] == ["20"]
    assert problems[0].message == "image 3: expected pixels, but some numbers are too large for floats"


def test_a_crowd_is_marked(coco_file, read_all):
    """`iscrowd` is kept, written as a number or as a Boolean."""
    records, _ = read_all(coco_file([annotation(iscrowd=1), annotation(id=8, iscrowd=True), annotation(id=9)]))
    assert records[0].object.is_crowd == [1, 1, 0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"category_id": 2}, "annotations[0] (id 7): category 2 is not in `categories`"),
        (
            {"category_id": 1, "keypoints": [1, 2]},
            "annotations[0] (id 7): expected 6 numbers in `keypoints`, 3 for each name that category 1 "
            "('person') lists in `categories` under `keypoints`, but got 2",
        ),
        (
            {"keypoints": [1, 2]},
            "annotations[0] (id 7): expected 6 numbers in `keypoints`, 3 for each keypoint of any object, as category "
            "'car' lists no names under `keypoints`, but got 2",
        ),
        (
            {"keypoints": [1, 2, 2, 1, 2, 3]},
            "annotations[0] (id 7): expected 0, 1 or 2 as visibility of keypoints, but got (2.0, 3.0)",
        ),
    ],
)
def test_an_invalid_annotation_is_a_problem_of_its_image(coco_file, read_all, wrong, message):
    """An image with an invalid annotation is a problem that names the annotation; other images become records."""
    path = coco_file([annotation(**wrong)], [*CATEGORIES[:1], PERSON])
    records, problems = read_all(path)
    assert [each.id for each in records] == ["20"]
    assert [str(each) for each in problems] == [f"{path}: {message}"]


def test_an_annotation_of_an_unknown_image_is_a_problem(coco_file, read_all):
    """An annotation whose image is not listed is a problem before all records."""
    path = coco_file([annotation(image_id=99)])
    records, problems = read_all(path)
    assert [str(each) for each in problems] == [f"{path}: annotations[0] (id 7): image 99 is not in `images`"]
    assert len(records) == 2


def test_an_annotation_id_twice_in_a_file_is_a_problem(coco_file, read_all):
    """An annotation id that a file uses twice is a problem of the image of the second annotation."""
    records, problems = read_all(coco_file([annotation(), annotation(image_id=20)]))
    assert [each.id for each in records] == ["3"]
    assert "annotations[1] (id 7): expected each annotation id once in a file" in problems[0].message


def test_an_annotation_id_of_two_images_is_a_problem(coco_file, read_all):
    """An annotation id that stands for different images in two files is a problem."""
    files = coco_file([annotation()]), coco_file([annotation(image_id=20)], name="other.json")
    _, problems = read_all(*files)
    assert "annotations[0] (id 7): it belongs to image 20 here, but to 3 in another file" in problems[0].message


def test_an_image_outside_the_root_is_a_problem(coco_file, read_all):
    """A file name that leads out of images_root is a problem."""
    _, problems = read_all(coco_file(images=[IMAGES[0] | {"file_name": "/elsewhere/b.jpg"}]))
    assert "leads out of it" in problems[0].message


def test_a_missing_size_is_read_from_the_image(coco_file, read_all, draw):
    """Without width and height, boxes are normalised by the size of the upright image."""
    draw("train/a.jpg", (10, 20), orientation=6)
    image = {"id": 3, "file_name": "a.jpg"}
    records, _ = read_all(coco_file([annotation()], images=[image]))
    assert (records[0].width, records[0].height, records[0].object.bbox.xmin) == (20, 10, [0.25])


def test_boxes_without_a_size_are_a_problem(coco_file, read_all):
    """Boxes without a size in the annotations and without a readable image are a problem."""
    records, problems = read_all(coco_file([annotation()], images=[{"id": 3, "file_name": "a.jpg"}]))
    assert not records
    assert "expected `width` and `height`" in problems[0].message


def test_a_missing_file_is_refused(tmp_path):
    """A missing file is an error that names it."""
    with pytest.raises(SourceError, match=r"nowhere\.json"):
        coco.read((tmp_path / "nowhere.json",), tmp_path, tmp_path)


def test_one_id_for_two_images_is_refused(coco_file, read_all):
    """Two files that use one image id for different file names are refused."""
    files = coco_file(), coco_file(images=[IMAGES[0] | {"file_name": "c.jpg"}], name="other.json")
    with pytest.raises(SourceError, match=r"one name for image 20, but got 'b\.jpg' and then 'c\.jpg'"):
        read_all(*files)


def test_one_id_for_two_categories_is_refused(coco_file, read_all):
    """Two files that use one category id for different names are refused."""
    files = coco_file(), coco_file(categories=[{"id": 3, "name": "cart"}], name="other.json")
    with pytest.raises(SourceError, match="one name for category 3, but got 'car' and then 'cart'"):
        read_all(*files)


def test_records_are_streamed(coco_file, tmp_path):
    """Records are built one by one, when they are requested."""
    assert isinstance(coco.read((coco_file(),), tmp_path, tmp_path).records, GeneratorType)


def pairs_of(root, split):
    files = [root / "annotations" / f"{kind}_{split}2017.json" for kind in ("instances", "person_keypoints")]
    return tuple(files), root / f"{split}2017", root


@pytest.mark.parametrize(("split", "instances", "with_keypoints"), [("train", 470, 57), ("val", 382, 46)])
def test_real_instances_and_keypoints(tiny_coco, sort_out, split, instances, with_keypoints):
    """Real annotations give every image and object, 17 parts per object, and the size and hash of every file."""
    dataset = find_importer("coco")(*pairs_of(tiny_coco, split))
    records, problems = sort_out(dataset.records)
    visible = [each.object.parts.v[i : i + 17] for each in records for i in range(0, 17 * each.object.size, 17)]
    assert not problems
    assert (len(records), len(dataset.labels)) == (50, 80)
    assert (len(visible), sum(any(v) for v in visible)) == (instances, with_keypoints)
    assert all(each.sha256 and each.width and each.height for each in records)
    assert {len(each.object.parts.x) - 17 * each.object.size for each in records} == {0}


@pytest.mark.parametrize(("split", "people"), [("train", 99), ("val", 127)])
def test_real_keypoints_alone(tiny_coco, sort_out, split, people):
    """The person_keypoints file alone gives one label and its own objects."""
    files, *folders = pairs_of(tiny_coco, split)
    dataset = find_importer("coco")(files[1:], *folders)
    records, _ = sort_out(dataset.records)
    assert [label.text for label in dataset.labels] == ["person"]
    assert (len(records), sum(each.object.size for each in records)) == (50, people)


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_boxes_equal_the_annotated_pixels(tiny_coco, sort_out, split):
    """Boxes and areas times the image's size equal the pixels of each annotation to 0.01."""
    files, *folders = pairs_of(tiny_coco, split)
    records, _ = sort_out(find_importer("coco")(files, *folders).records)
    expected = {str(each["id"]): each for each in json.loads(files[0].read_bytes())["annotations"]}
    assert sum(record.object.size for record in records) == len(expected) > 0
    for record in records:
        objects, w, h = record.object, record.width, record.height
        for i, key in enumerate(objects.id):
            box, (x, y, width, height) = objects.bbox, expected[key]["bbox"]
            pixels = (box.xmin[i] * w, box.ymin[i] * h, box.xmax[i] * w, box.ymax[i] * h)
            assert pixels == pytest.approx((x, y, x + width, y + height), abs=0.01)
            assert objects.area[i] * w * h == pytest.approx(expected[key]["area"])
