"""Entries of COCO files that deviate from the specification: unambiguous ones are read, others are one problem each."""

import math

import pytest

from tests.importers.coco_files import CATEGORIES, IMAGES, PERSON, annotation
from tfrec_stage.importers import coco, find_importer

GOOD = annotation(id=8, image_id=20)
"""An annotation of the image that always comes through."""
DOT = {"size": [10, 20], "counts": [35, 5, 5, 5, 150]}
"""Two columns of five pixels: 5 to 9 of column 3, and of column 4."""


@pytest.fixture
def read_one(coco_file, tmp_path, sort_out):
    """Read a file with one annotation of image 3 and a valid one of image 20."""

    def read(changes=(), without=(), **file):
        one = {name: value for name, value in (annotation() | dict(changes)).items() if name not in without}
        dataset = coco.read((coco_file([one, GOOD], **file),), tmp_path / "train", tmp_path)
        records, problems = sort_out(dataset.records)
        by_name = {each.filename: each for each in records}
        assert by_name["train/b.jpg"].object.bbox.xmin == [0.25]
        return by_name.get("train/a.jpg"), [each.message for each in problems], dataset.notes

    return read


@pytest.mark.parametrize("bbox", [None, [], ["5", "2", "10", "4"], [1, 2, 3], "box", {"x": 1}])
@pytest.mark.parametrize(
    ("shape", "box", "source"),
    [
        ({"segmentation": [[2, 1, 12, 1, 12, 6]]}, (0.1, 0.6, 0.1, 0.6), "outlines"),
        ({"segmentation": [[2, 1, 12, 1, 12, 6], [14, 2, 16, 2, 16, 8]]}, (0.1, 0.8, 0.1, 0.8), "outlines"),
        ({"segmentation": [2, 1, 12, 1, 12, 6]}, (0.1, 0.6, 0.1, 0.6), "outlines"),  # a polygon that is not in a list
        ({"segmentation": DOT}, (0.15, 0.25, 0.5, 1.0), "outlines"),
        ({"segmentation": None, "keypoints": [2, 1, 2, 12, 6, 1]}, (0.1, 0.6, 0.1, 0.6), "keypoints"),
        ({"segmentation": [], "keypoints": [2, 1, 2, 0, 0, 0]}, (0.1, 0.1, 0.1, 0.1), "keypoints"),
    ],
)
def test_a_box_is_derived(read_one, bbox, shape, box, source):
    """A missing or invalid box is derived from the segmentation, else from the visible keypoints, and counted."""
    record, problems, notes = read_one({"bbox": bbox, "category_id": 1, **shape}, categories=[PERSON, CATEGORIES[0]])
    boxes = record.object.bbox
    got = (boxes.xmin[0], boxes.xmax[0], boxes.ymin[0], boxes.ymax[0])
    assert got == pytest.approx(box)
    assert record.object.area == [0.1]
    assert (problems, notes.counts) == ([], {f"boxes derived from {source}": 1})


def test_a_box_without_a_key_is_derived(read_one):
    """Without the key `bbox`, box and area are those of the segmentation."""
    record, problems, _ = read_one({"segmentation": [[2, 1, 12, 1, 12, 6]]}, without=("bbox", "area"))
    assert (record.object.bbox.xmax, record.object.area, problems) == ([0.6], [0.125], [])


def test_a_box_from_keypoints_has_its_own_area(read_one):
    """An object whose box is derived from keypoints has the area of that box."""
    changes = {"category_id": 1, "keypoints": [2, 1, 2, 12, 6, 1]}
    record, _, _ = read_one(changes, without=("bbox", "area"), categories=[PERSON, CATEGORIES[0]])
    assert record.object.area == [0.25]


def test_a_stated_box_replaces_a_derived_one(coco_file, read_all):
    """A box that one of two files states is used, with the keypoints of the other file."""
    without = {name: value for name, value in annotation(category_id=1).items() if name != "bbox"}
    people = coco_file([without | {"keypoints": [10, 5, 2, 4, 8, 1]}], [PERSON], name="p.json")
    for files in ((people, coco_file([annotation(category_id=1)])), (coco_file([annotation(category_id=1)]), people)):
        records, problems = read_all(*files)
        assert (records[0].object.bbox.xmin, records[0].object.parts.v, problems) == ([0.25], [2, 1], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bbox": None}, "expected 4 numbers in `bbox`, or an outline or visible keypoints to derive them from, but"),
        ({"bbox": []}, "expected 4 numbers in `bbox`, or an outline"),
        ({"bbox": ["a", "b", "c", "d"]}, "derive them from, but got ['a', 'b', 'c', 'd']"),
        ({"bbox": [1, 2, 3]}, "derive them from, but got [1, 2, 3]"),
        ({"bbox": [1, 2, 3, True]}, "derive them from, but got [1, 2, 3, True]"),
        ({"bbox": [1, 2, math.nan, 4]}, "expected 4 finite numbers in `bbox`, but got [1, 2, nan, 4]"),
        ({"bbox": [1, 2, 10**400, 4]}, "expected 4 finite numbers in `bbox`, but got [1, 2, 1000"),
        ({"bbox": None, "segmentation": [["a"]]}, "`segmentation`: Expected"),
        ({"bbox": None, "segmentation": [[1, 2, 3]]}, "`segmentation`: expected x and y of each point"),
        ({"bbox": None, "segmentation": {"counts": "~~"}}, "`segmentation`: expected run lengths in the characters"),
        ({"bbox": None, "segmentation": {"counts": [1, 2]}}, "`segmentation`: expected run lengths from 0 and the im"),
        ({"bbox": None, "segmentation": [[1, 2, 3, math.inf]]}, "expected finite numbers in `segmentation`"),
        ({"bbox": None, "keypoints": [1, 2, 0, 0, 0, 0]}, "expected 4 numbers in `bbox`, or an outline"),
        ({"area": None, "segmentation": [[1, 2, 3]]}, "`segmentation`: expected x and y of each point of a polygon"),
        ({"area": "big"}, "expected a finite number in `area`, but got 'big'"),
        ({"area": math.inf}, "expected a finite number in `area`, but got inf"),
        ({"iscrowd": 2}, "expected 0 or 1 in `iscrowd`, but got 2"),
        ({"iscrowd": -1}, "expected 0 or 1 in `iscrowd`, but got -1"),
        ({"iscrowd": 2.5}, "expected 0 or 1 in `iscrowd`, but got 2.5"),
        ({"iscrowd": [1]}, "expected 0 or 1 in `iscrowd`, but got [1]"),
        ({"keypoints": [1, 2, math.nan]}, "expected a list of finite numbers in `keypoints`, but got [1, 2, nan]"),
        ({"keypoints": "none"}, "expected a list of finite numbers in `keypoints`, but got 'none'"),
        ({"category_id": 7.5}, "expected an integer or a text in `category_id`, but got 7.5"),
        ({"category_id": None}, "expected an integer or a text in `category_id`, but got nothing"),
        ({"category_id": True}, "expected an integer or a text in `category_id`, but got True"),
        ({"category_id": 9}, "category 9 is not in `categories`"),
        ({"id": [7]}, "expected an integer or a text in `id`, but got [7]"),
        ({"id": "\ud800"}, "expected an integer or a text in `id`, but got '\\ud800'"),
    ],
)
def test_an_invalid_annotation_is_a_problem_of_its_image(read_one, changes, message):
    """An invalid annotation makes its image a problem that names the annotation; the other image becomes a record."""
    record, problems, _ = read_one(changes)
    assert record is None
    assert len(problems) == 1
    place = "annotations[0]" if "id" in changes else "annotations[0] (id 7)"
    assert problems[0].startswith(f"{place}: ")
    assert message in problems[0]


def test_an_invalid_annotation_may_refer_to_its_image_by_text(coco_file, read_all):
    """An invalid annotation whose image id is text makes the image with that number a problem."""
    records, problems = read_all(coco_file([annotation(image_id="3", area="big"), GOOD]))
    assert ([each.id for each in records], len(problems)) == (["20"], 1)


@pytest.mark.parametrize("bad", [None, 5, "x", [], {}, {"id": 7, "category_id": 3}, {"image_id": True}])
def test_an_entry_without_an_image_id_is_a_problem(coco_file, read_all, bad):
    """An entry without an image id is a problem before all records, and every image becomes a record."""
    records, problems = read_all(coco_file([bad, GOOD]))
    assert [each.id for each in records] == ["3", "20"]
    assert len(problems) == 1
    assert problems[0].message.startswith("annotations[0]")


@pytest.mark.parametrize(
    "changes",
    [
        {"iscrowd": None},
        {"iscrowd": 0.0},
        {"segmentation": None},
        {"area": None, "bbox": [5, 2, 5, 4]},
        {"keypoints": None},
        {"id": 7.0, "image_id": 3.0, "category_id": 3.0},
        {"id": "7"},
        {"score": math.nan, "segmentation": [[math.inf]]},  # unused fields
        {"segmentation": "none"},
    ],
)
def test_harmless_deviations_are_read(read_one, changes):
    """Null, integral floats and invalid values in unused fields do not change the record."""
    record, problems, notes = read_one(changes)
    assert (record.object.bbox.xmin, record.object.area, record.object.id) == ([0.25], [0.1], ["7"])
    assert (record.object.is_crowd, record.object.bbox.label) == ([0], [1])
    assert (problems, notes.counts) == ([], {})


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ((None, None), ["0", "1"]),  # the position
        ((None, 7), ["8", "7"]),  # above all ids in the file
        ((None, "7"), ["8", "7"]),  # ids of text count too, as ids are text in records
        ((3, None), ["3", "5"]),
    ],
)
@pytest.mark.parametrize("null", [True, False])
def test_missing_ids_are_numbered_by_position(coco_file, tmp_path, sort_out, ids, expected, null):
    """Annotations without an id are numbered by position, above every id in the files, and counted."""
    entries = [annotation(id=each) for each in ids]
    entries = entries if null else [{k: v for k, v in each.items() if v is not None} for each in entries]
    dataset = coco.read((coco_file(entries),), tmp_path, tmp_path)
    records, problems = sort_out(dataset.records)
    assert (records[0].object.id, problems) == (expected, [])
    assert dataset.notes.counts == {"annotations without an id, numbered by their place": ids.count(None)}


def test_missing_ids_do_not_collide_between_files(coco_file, read_all):
    """Annotations of two files are different objects unless they have the same id."""
    without = {name: value for name, value in annotation().items() if name != "id"}
    records, _ = read_all(coco_file([without]), coco_file([without, annotation(id=0)], name="more.json"))
    assert records[0].object.id == ["1", "2", "0"]


@pytest.mark.parametrize(
    ("changes", "images"),
    [
        ({"image_id": "3"}, IMAGES),
        ({"image_id": "0003", "category_id": "3"}, IMAGES),
        ({"image_id": 2}, [IMAGES[0] | {"id": 20}, IMAGES[1] | {"id": "2"}]),
    ],
)
def test_ids_may_be_text_or_numbers(read_one, changes, images):
    """An id that is text in one place and a number in another is the same id; such annotations are counted."""
    record, problems, notes = read_one(changes, images=images)
    assert (record.object.bbox.label, problems) == ([1], [])
    assert notes.counts == {"annotations whose ids of images or categories are text here and a number there": 1}


@pytest.mark.parametrize("category", [3, "3"])  # also if another id has to be matched
def test_an_id_as_written_takes_precedence(coco_file, read_all, category):
    """If both the number and the text are ids of images, each means its own image."""
    images = [IMAGES[1], IMAGES[1] | {"id": "3", "file_name": "c.jpg"}]
    records, _ = read_all(coco_file([annotation(image_id="3", category_id=category)], images=images))
    assert [(each.filename, each.object.size) for each in records] == [("train/a.jpg", 0), ("train/c.jpg", 1)]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"width": 20.0, "height": 10.0}, (20, 10)),
        ({"id": 3.0}, (20, 10)),
        ({"width": None, "height": None}, (40, 30)),  # the file's size
        ({"width": 0, "height": 0}, (40, 30)),
    ],
)
def test_sizes_may_be_floats_or_unknown(coco_file, read_all, draw, changes, size):
    """A size may be an integral float; a missing one is read from the image."""
    draw("train/a.jpg", (40, 30))
    records, problems = read_all(coco_file([annotation()], images=[IMAGES[1] | changes]))
    assert [(each.id, each.width, each.height) for each in records] == [("3", *size)]
    assert not problems


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 20.5}, "images[1] (id 3): expected a whole number of pixels in `width`, but got 20.5"),
        ({"height": math.nan}, "images[1] (id 3): expected a whole number of pixels in `height`, but got nan"),
        ({"height": -1}, "images[1] (id 3): expected a whole number of pixels in `height`, but got -1"),
        ({"width": "20"}, "images[1] (id 3): expected a whole number of pixels in `width`, but got '20'"),
        ({"file_name": None}, "images[1] (id 3): expected `file_name` or `coco_url`, but got nothing"),
        ({"file_name": ""}, "images[1] (id 3): expected `file_name` or `coco_url`, but got nothing"),
        ({"file_name": 5}, "images[1] (id 3): expected `file_name` or `coco_url`, but got 5"),
    ],
)
def test_an_invalid_image_is_one_problem(coco_file, read_all, changes, message):
    """An invalid image is one problem, without one for its annotations; other images become records."""
    path = coco_file([annotation(), annotation(id=9), GOOD], images=[IMAGES[0], IMAGES[1] | changes])
    records, problems = read_all(path)
    assert [(each.id, each.object.size) for each in records] == [("20", 1)]
    assert [str(each) for each in problems] == [f"{path}: {message}"]


def test_two_images_with_one_id_are_a_problem(coco_file, read_all):
    """Two images with the same id are a problem; the same image listed twice is one image."""
    path = coco_file([annotation(), GOOD], images=[*IMAGES, IMAGES[1] | {"file_name": "c.jpg"}, IMAGES[0]])
    records, problems = read_all(path)
    assert [each.id for each in records] == ["20"]
    message = "images (id 3): expected an id of its own for each image, but got 'a.jpg' and 'c.jpg'"
    assert [str(each) for each in problems] == [f"{path}: {message}"]


def test_an_image_without_id_is_a_problem(coco_file, read_all):
    """An image without an id is a problem."""
    records, problems = read_all(coco_file([GOOD], images=[IMAGES[0], {"file_name": "c.jpg"}]))
    assert [each.id for each in records] == ["20"]
    assert problems[0].message == "images[1]: expected an integer or a text in `id`, but got nothing"


def test_an_image_may_have_only_a_url(coco_file, tmp_path, sort_out, draw):
    """`coco_url` replaces a missing `file_name`, as in LVIS: the file at the end of the URL is used and counted."""
    draw("train/a.jpg")
    image = {"id": 3, "coco_url": "http://images.example.org/all/a.jpg", "width": 20, "height": 10}
    dataset = coco.read((coco_file([annotation()], images=[image]),), tmp_path / "train", tmp_path)
    records, _ = sort_out(dataset.records)
    assert records[0].filename == "train/a.jpg"
    assert dataset.notes.counts == {"file names read another way (end of a URL)": 1}


def test_the_size_is_read_from_the_file_that_was_found(coco_file, read_all, draw):
    """A missing size is read from the file that the interpreted name leads to."""
    draw("train/x/a.jpg", (40, 30))
    records, _ = read_all(coco_file([annotation()], images=[{"id": 3, "file_name": "x\\a.jpg"}]))
    assert (records[0].filename, records[0].width, records[0].height) == ("train/x/a.jpg", 40, 30)


def test_an_invalid_category_and_its_annotations_are_problems(coco_file, read_all):
    """An invalid category is a problem, and so is every annotation that refers to it."""
    records, problems = read_all(coco_file([annotation(category_id=1), GOOD], [CATEGORIES[0], {"name": "person"}]))
    assert [each.id for each in records] == ["20"]
    assert [each.message for each in problems] == [
        "categories[1]: expected an integer or a text in `id`, but got nothing",
        "annotations[0] (id 7): category 1 is not in `categories`",
    ]


@pytest.mark.parametrize(
    ("categories", "warning"),
    [
        (
            [{"id": 3, "name": "car"}, {"id": 7, "name": "car"}],
            "2 categories have the name 'car', and become 2 classes: ids 3, 7",
        ),
        ([{"id": 3, "name": "car"}, {"id": 4, "name": ""}], "category 4 has no name"),
        ([{"id": 3, "name": "car"}, {"id": 4}], "category 4 has no name"),
        (
            [{"id": 0, "name": "__background__"}, {"id": 3, "name": "car"}],
            "category 0 ('__background__') becomes class 0; remove it from the categories unless that is intended",
        ),
        (
            [{"id": 0, "name": "Background"}, {"id": 3, "name": "car"}],
            "category 0 ('Background') becomes class 0; remove it from the categories unless that is intended",
        ),
        ([{"id": 3, "name": "car"}, {"id": 3, "name": "car"}], "instances.json: category 3 ('car') is listed 2 times"),
    ],
)
def test_categories_that_look_wrong_are_warned_of(coco_file, tmp_path, categories, warning):
    """Categories that look wrong are accepted with a warning."""
    dataset = find_importer("coco")((coco_file([annotation()], categories),), tmp_path, tmp_path)
    assert len(dataset.notes.warnings) == 1
    assert dataset.notes.warnings[0].endswith(warning)


def test_a_background_that_is_not_class_0_is_a_class(coco_file, tmp_path):
    """A class named background is only warned of as class 0, which some programs reserve for the background."""
    categories = [{"id": 3, "name": "car"}, {"id": 9, "name": "background"}]
    assert not find_importer("coco")((coco_file([], categories),), tmp_path, tmp_path).notes.warnings


def test_keypoints_without_names_are_warned_of(coco_file, tmp_path):
    """Without keypoint names, the object with the most keypoints decides the number of parts, with a warning."""
    categories = [CATEGORIES[0] | {"keypoints": None}]
    dataset = coco.read((coco_file([annotation(keypoints=[5, 2, 2])], categories),), tmp_path, tmp_path)
    assert dataset.notes.warnings == [
        "no category names its keypoints; every object gets 1, as the one with the most has"
    ]
    assert next(dataset.records).object.parts.v == [2]


def test_valid_files_have_no_notes(coco_file, tmp_path):
    """Valid files give no warnings and no counts, even if their ids have gaps."""
    notes = coco.read((coco_file([annotation(), GOOD], [CATEGORIES[0], PERSON]),), tmp_path, tmp_path).notes
    assert (notes.counts, notes.warnings) == ({}, [])
