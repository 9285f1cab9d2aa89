"""Which files are read as COCO, in which encodings, and how others are refused."""

import codecs
import json

import pytest

from tests.importers.coco_files import CATEGORIES, IMAGES, annotation
from tfrec_stage.errors import SourceError
from tfrec_stage.importers import coco

FILE = {"images": IMAGES, "annotations": [annotation()], "categories": CATEGORIES}


@pytest.fixture
def read_content(tmp_path, sort_out):
    """Read bytes, or a value as JSON; return records, problems and notes."""

    def read(content):
        path = tmp_path / "file.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        dataset = coco.read((path,), tmp_path, tmp_path)
        records, problems = sort_out(dataset.records)
        return dataset.labels, records, [each.message for each in problems], dataset.notes

    return read


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("number", ["20", "NaN"])
def test_a_byte_order_mark_decides_the_encoding(read_content, mark, encoding, number):
    """Files with a byte order mark are read, both at once and entry by entry."""
    text = json.dumps(FILE | {"info": {"é": 0}}, ensure_ascii=False).replace('"é": 0', f'"é": {number}')
    _, records, problems, _ = read_content(mark + text.encode(encoding))
    assert (len(records), records[0].object.id, problems) == (2, ["7"], [])


def test_a_wrong_encoding_is_refused(read_content):
    """A file that is not in the encoding of its byte order mark is refused."""
    with pytest.raises(SourceError, match=r"file\.json: expected COCO annotations, but: 'utf-16-le' codec"):
        read_content(codecs.BOM_UTF16_LE + b"\xd8\xd8\xd8")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_lacks_is_a_problem_of_its_annotation(read_content, constant):
    """NaN or Infinity in a number that is needed is a problem of that annotation alone."""
    entries = [annotation(score=0.5), annotation(id=8, image_id=20)]
    text = json.dumps(FILE | {"annotations": entries}).replace('"bbox": [5, ', f'"bbox": [{constant}, ', 1)
    _, records, problems, _ = read_content(text.encode())
    shown = constant.lower().replace("infinity", "inf")
    assert [(each.id, each.object.id) for each in records] == [("20", ["8"])]
    assert problems == [f"annotations[0] (id 7): expected 4 finite numbers in `bbox`, but got [{shown}, 2, 10, 4]"]


def test_a_number_that_json_lacks_is_ignored_in_unused_fields(read_content):
    """NaN or Infinity in an unused field does not change the record."""
    _, expected, *_ = read_content(FILE)
    text = json.dumps(FILE | {"annotations": [annotation(score=float("nan"))]})
    assert "NaN" in text
    _, records, problems, _ = read_content(text.encode())
    assert (records, problems) == (expected, [])


def test_sections_may_be_objects(read_content):
    """Sections may be objects; a key is the id of an entry without one."""
    without = {name: value for name, value in annotation().items() if name != "id"}
    content = {"images": {"20": IMAGES[0], "3": IMAGES[1]}, "annotations": {"7": without, "x": {"image_id": 3}}}
    labels, records, problems, _ = read_content(content | {"categories": {"3": {"name": "car"}}})
    assert [label.text for label in labels] == ["car"]
    assert [each.id for each in records] == ["20"]
    assert problems == [
        "annotations['x']: expected an integer or a text in `category_id`, but got nothing",
    ]
    _, records, _, _ = read_content(content | {"annotations": {"7": without}, "categories": {"3": {"name": "car"}}})
    assert (records[0].object.id, records[0].object.bbox.text) == (["7"], ["car"])


def test_coco_text_is_read(read_content):
    """COCO-Text files are read with their own names (`imgs`, `anns`, `mask`, `class`) and without categories."""
    word = {"id": 45, "image_id": 3, "bbox": [5, 2, 10, 4], "area": 20, "utf8_string": "try", "legibility": "legible"}
    shape = {"class": "handwritten", "id": 46, "bbox": None, "area": None, "mask": [2, 1, 12, 1, 12, 6]}
    content = {
        "imgs": {"3": IMAGES[1] | {"set": "train"}},
        "anns": {"45": word | {"class": "machine printed"}, "46": word | shape, "47": word | {"id": 47}},
        "imgToAnns": {"3": [45, 46, 47]},
        "cats": {},
    }
    labels, records, problems, notes = read_content(content)
    assert [label.text for label in labels] == ["handwritten", "machine printed", "text"]
    assert records[0].object.bbox.text == ["machine printed", "handwritten", "text"]
    assert records[0].object.bbox.xmin == [0.25, 0.1, 0.25]
    assert records[0].object.area == [0.1, 0.125, 0.1]
    assert (problems, notes.counts) == ([], {"boxes derived from outlines": 1})


def image_label(**changes):
    return {"id": 7, "image_id": 3, "category_id": 3} | changes


@pytest.mark.parametrize("empty", [{}, {"bbox": [], "segmentation": [], "area": 0, "iscrowd": 0}])
def test_annotations_without_boxes_give_the_class_of_the_image(read_content, empty):
    """If no annotation of a file has a box, its category is the class of the image, and counted."""
    entries = [image_label(**empty), image_label(id=8, **empty)]
    _, records, problems, notes = read_content(FILE | {"annotations": entries})
    assert [(each.id, each.class_.label, each.class_.text, each.object.size) for each in records] == [
        ("3", 1, "car", 0),
        ("20", 0, "", 0),
    ]
    assert problems == []
    assert notes.counts == {"annotations without a box, taken as the class of their image": 2}


def test_two_classes_of_one_image_are_a_problem(read_content):
    """Two classes for one image are a problem, as a record has one class."""
    _, records, problems, _ = read_content(FILE | {"annotations": [image_label(), image_label(id=8, category_id=1)]})
    assert [each.id for each in records] == ["20"]
    assert len(problems) == 1
    assert problems[0].startswith("annotations[1] (id 8): expected one category for each image")
    assert problems[0].endswith("but got 'car' and 'person'")


@pytest.mark.parametrize("other", [annotation(id=8, image_id=20), image_label(id=8, image_id=20, area=5)])
def test_one_object_requires_boxes_of_all_annotations(read_content, other):
    """In a file with at least one object, an annotation without a box is a problem."""
    _, records, problems, _ = read_content(FILE | {"annotations": [image_label(), other]})
    assert "3" not in [each.id for each in records]
    assert problems[0].startswith("annotations[0] (id 7): expected 4 numbers in `bbox`")


def test_objects_and_image_classes_may_be_in_different_files(tmp_path, coco_file, sort_out):
    """Objects and image classes may come from different files."""
    files = coco_file([annotation()]), coco_file([image_label(category_id=1)], name="classes.json")
    records, problems = sort_out(coco.read(files, tmp_path, tmp_path).records)
    assert (records[0].class_.text, records[0].object.bbox.text, problems) == ("person", ["car"], [])


NEEDED = "needed is an instances or person_keypoints file, an object with `images`, `annotations` and `categories`"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([annotation(score=0.5)] * 2, f"this is a list of 2 results, as detectors write them; {NEEDED}"),
        ([], f"this is a list of 0 entries; {NEEDED}"),
        ([1, 2], f"this is a list of 2 entries; {NEEDED}"),
        ({"shapes": [], "flags": {}}, f"this is an object with the keys 'shapes', 'flags'; {NEEDED}"),
        ({}, f"this is an object with the keys none; {NEEDED}"),
        (5, f"this is 5; {NEEDED}"),
        ("text", f"this is 'text'; {NEEDED}"),
        (
            {"images": IMAGES, "categories": CATEGORIES},
            f"this is a file of images without `annotations`, as for a test set; {NEEDED}",
        ),
        (
            {"images": IMAGES, "annotations": [{"id": 1, "image_id": 3, "caption": "A car."}]},
            f"this is a captions file, whose annotations have no `category_id`; {NEEDED}",
        ),
        (
            FILE | {"annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": []}]},
            f"this is a panoptic file, whose annotations have `segments_info`; {NEEDED}",
        ),
        (
            {"images": IMAGES, "annotations": [annotation()]},
            "this is a file of annotations without `categories`; needed is a list with `id` and `name` of each class",
        ),
        (
            {"images": IMAGES, "annotations": [], "categories": None},
            "this is a file of annotations without `categories`; needed is a list with `id` and `name` of each class",
        ),
        (
            {"annotations": [annotation()], "categories": CATEGORIES},
            "this is a file of annotations without `images`; needed is a list with `id` and `file_name` of each image",
        ),
        (FILE | {"images": 5}, "this is an object whose `images` is 5; needed is a list"),
        (FILE | {"annotations": "none"}, "this is an object whose `annotations` is 'none'; needed is a list"),
        (b"", "this is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"images": [}', "this is no JSON: Expecting value: line 1 column 13 (char 12)"),
        (b"\xff\xfe", "this is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, "this is no JSON: maximum recursion depth exceeded"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, read_content, content, message):
    """A file of another kind is refused in one line, which says what it is and what is needed."""
    with pytest.raises(SourceError) as error:
        read_content(content)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'file.json'}: expected COCO annotations, but {message}")
    assert "\n" not in text


def test_names_that_are_not_utf8_are_a_problem_of_one_image(read_content):
    """Names that are not UTF-8 are a problem of their image; other images become records."""
    text = json.dumps(FILE | {"annotations": [annotation(category_id=1), annotation(id=8, image_id=20)]})
    content = text.encode().replace(b"person", b"p\xe9rson")
    labels, records, problems, _ = read_content(content)
    assert [label.text for label in labels] == ["car"]
    assert [each.id for each in records] == ["20"]
    assert problems[0] == "categories[1] (id 1): expected names in UTF-8, but got ['p\\udce9rson']"


def test_one_invalid_annotation_does_not_change_others(tmp_path, sort_out):
    """Decoded entry by entry, a file gives the same records as decoded at once."""
    plain = [annotation(id=i, segmentation=[[0, 0, 4, 0, 4, i]], area=None) for i in range(1, 50)]
    contents = [plain, [*plain, annotation(id=99, image_id=20, bbox=None)]]
    results = []
    for entries in contents:
        (tmp_path / "file.json").write_text(json.dumps(FILE | {"annotations": entries}))
        results.append(sort_out(coco.read((tmp_path / "file.json",), tmp_path, tmp_path).records))
    assert results[1][0] == results[0][0][:1]
    assert (results[0][0][0].object.size, len(results[1][1])) == (49, 1)
