from types import GeneratorType

import pytest

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers import yolo
from tfrec_stage.records import Boxes, ImageRecord, Parts

SHAPES = (
    "expected a class and 4 numbers, 5 with a confidence, or 3 or more points, but got {} numbers; "
    "keypoints need `importer.options.kpt_shape`"
)


@pytest.fixture
def write_labels(tmp_path):
    """Write a label file below tmp_path/labels/train."""

    def write(name, *lines):
        path = tmp_path / "labels" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def read_all(tmp_path, sort_out):
    def read(*annotations, names=("cat", "dog"), **options):
        names = list(names) if isinstance(names, tuple) else names
        (tmp_path / "labels" / "train").mkdir(parents=True, exist_ok=True)
        images = tmp_path / "images" / "train"
        images.mkdir(parents=True, exist_ok=True)
        dataset = yolo.read(annotations, images, tmp_path, names=names, **options)
        return sort_out(dataset.records)

    return read


def test_a_line_becomes_a_box(draw, write_labels, read_all):
    """Centre and size become edges, and YOLO's class number becomes the label."""
    draw("images/train/a.png")
    write_labels("a.txt", "1 0.5 0.5 0.5 0.25", "0 0.25 0.5 0.5 1 ")
    (record,), problems = read_all()
    assert (record.id, record.filename) == ("a.png", "images/train/a.png")
    assert record.object.bbox == Boxes(
        xmin=[0.25, 0], xmax=[0.75, 0.5], ymin=[0.375, 0], ymax=[0.625, 1], label=[1, 0], text=["dog", "cat"]
    )
    assert record.object.area == [0.125, 0.5]
    assert not problems


@pytest.mark.parametrize("lines", [None, [], ["", "  "]])
def test_an_image_without_lines_is_background(draw, write_labels, read_all, lines):
    """An image whose label file is missing, empty or blank has no objects."""
    draw("images/train/a.png")
    if lines is not None:
        write_labels("a.txt", *lines)
    records, problems = read_all()
    assert records == [ImageRecord(filename="images/train/a.png", id="a.png")]
    assert not problems


def test_a_polygon_becomes_the_box_around_it(draw, write_labels, read_all):
    """A line of points gives the box around them and the area that they enclose."""
    draw("images/train/a.png")
    write_labels("a.txt", "0 0.25 0 0.75 0 0.75 0.5")
    (record,), _ = read_all()
    box = record.object.bbox
    assert (box.xmin, box.xmax, box.ymin, box.ymax) == ([0.25], [0.75], [0], [0.5])
    assert record.object.area == [0.125]


@pytest.mark.parametrize(
    ("kpt_shape", "points", "parts"),
    [
        ((2, 3), "0.25 0.5 2 0 0 0", Parts(x=[0.25, 0], y=[0.5, 0], v=[2, 0])),
        ((2, 2), "0.25 0.5 0 0", Parts(x=[0.25, 0], y=[0.5, 0], v=[2, 0])),
        ((1, 2), "-1 0.5", Parts(x=[-1], y=[0.5], v=[0])),
    ],
)
def test_keypoints_become_parts(draw, write_labels, read_all, *, kpt_shape, points, parts):
    """Keypoints become parts; without a visibility, those at the origin or with negative numbers get 0."""
    draw("images/train/a.png")
    write_labels("a.txt", f"0 0.5 0.5 0.5 0.5 {points}")
    (record,), problems = read_all(kpt_shape=kpt_shape)
    assert record.object.parts == parts
    assert not problems


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.5 0.5", "expected a class number of 0, 1, but got 2"),
        ("0.5 0.5 0.5 0.5 0.5", "expected a class number of 0, 1, but got 0.5"),
        ("cat 0.5 0.5 0.5 0.5", "expected a class and numbers, but got 'cat 0.5 0.5 0.5 0.5'"),
        ("0 nan 0.5 0.5 0.5", "expected a class and numbers, but got '0 nan 0.5 0.5 0.5'"),
        (
            "0 1e200 0.5 1e200 0.5",
            "expected a class and numbers, but got '0 1e200 0.5 1e200 0.5'",
        ),  # whose area would be infinite
        ("0 0.5 0.5 0.5 0.5 1.5", "expected a confidence in [0, 1] behind the numbers of the box, but got 1.5"),
        (
            "0 0.5 0.5 0.5 0.5 0.9",
            "expected a confidence in all lines or in none, but this one differs from those before it",
        ),
        ("0 0.5 0.5 0.5", SHAPES.format(3)),
        ("0", SHAPES.format(0)),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.5", SHAPES.format(7)),  # three points and one number, or a box and a keypoint
    ],
)
def test_a_malformed_line_is_a_problem(draw, write_labels, read_all, *, line, message):
    """A malformed line is a problem with file and line instead of a record; other images become records."""
    draw("images/train/a.png")
    draw("images/train/b.png")
    path = write_labels("a.txt", "0 0.5 0.5 0.5 0.5", line)
    records, problems = read_all()
    assert [each.id for each in records] == ["b.png"]
    assert [str(each) for each in problems] == [f"{path}:2: {message}"]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("0.1 0.1", "expected a class and 10 numbers, as kpt_shape says, but got 6"),
        ("0.1 0.1 2 0.1 0.1 3", "expected 0, 1 or 2 as visibility of a keypoint, but got 3"),
    ],
)
def test_malformed_keypoints_are_a_problem(draw, write_labels, read_all, *, points, message):
    """Keypoints of another number than kpt_shape, or with an invalid visibility, are a problem."""
    draw("images/train/a.png")
    write_labels("a.txt", f"0 0.5 0.5 0.5 0.5 {points}")
    _, problems = read_all(kpt_shape=(2, 3))
    assert [each.message for each in problems] == [message]


@pytest.mark.parametrize(
    ("kpt_shape", "keypoint"),
    [
        (None, ""),
        ((1, 2), "0.5 0.5 "),  # kpt_shape decides which of the seven numbers is the confidence
        ((1, 3), "0.5 0.5 2 "),
    ],
)
def test_a_confidence_becomes_a_score(draw, write_labels, read_all, kpt_shape, keypoint):
    """A number after those of the box becomes its score, as `yolo predict save_conf=True` writes it."""
    draw("images/train/a.png")
    write_labels("a.txt", f"1 0.5 0.5 0.5 0.25 {keypoint}0.93", "", f"0 0.5 0.5 0.5 0.25 {keypoint}0")
    (record,), problems = read_all(kpt_shape=kpt_shape)
    assert (record.object.bbox.score, record.object.bbox.xmin) == ([0.93, 0], [0.25, 0.25])
    assert len(record.object.parts.x) == (2 if kpt_shape else 0)
    assert not problems


@pytest.mark.parametrize(
    ("lines", "differing"),
    [
        (["0 0.5 0.5 0.5 0.5 0.9", "0 0.5 0.5 0.5 0.5"], 2),
        (["0 0.5 0.5 0.5 0.5", "", "0 0.5 0.5 0.5 0.5 0.9", "0 0.5 0.5 0.5 0.5 0.9"], 3),
        (["0 0.5 0.5 0.5 0.5 0.9", "0 0.1 0.1 0.9 0.1 0.9 0.9"], 2),  # a polygon has no confidence
    ],
)
def test_a_file_with_some_confidences_is_a_problem(draw, write_labels, read_all, lines, differing):
    """A file in which only some boxes have a confidence is a problem of the first line that differs."""
    draw("images/train/a.png")
    draw("images/train/b.png")
    write_labels("a.txt", *lines)
    write_labels("b.txt", "0 0.5 0.5 0.5 0.5")  # other files may differ
    records, problems = read_all()
    assert [each.id for each in records] == ["b.png"]
    assert [each.line for each in problems] == [differing]
    assert problems[0].message.startswith("expected a confidence in all lines or in none")


def test_a_byte_order_mark_is_ignored(draw, write_labels, read_all):
    """A byte order mark at the start of a label file is ignored."""
    draw("images/train/a.png")
    write_labels("a.txt", "\ufeff0 0.5 0.5 0.5 0.5")
    (record,), _ = read_all()
    assert record.object.size == 1


def test_every_malformed_line_is_reported(draw, write_labels, read_all):
    """Each malformed line of a file is a problem."""
    draw("images/train/a.png")
    write_labels("a.txt", "x", "0 0.5 0.5 0.5 0.5", "y")
    _, problems = read_all()
    assert [each.line for each in problems] == [1, 3]


def test_a_file_that_is_not_text_is_a_problem(draw, write_labels, read_all):
    """A label file that is not UTF-8 is a problem of its image."""
    draw("images/train/a.png")
    write_labels("a.txt").write_bytes(b"\xff0")
    records, problems = read_all()
    assert not records
    assert "expected lines of text, but: 'utf-8'" in problems[0].message


def test_an_existing_name_is_not_interpreted(draw, write_labels, read_all, tmp_path):
    """A `%` or a backslash in the name of an existing file or link is not interpreted."""
    draw("images/train/a b.png")
    draw("images/train/c\\d.png")
    (tmp_path / "images" / "train" / "a%20b.png").symlink_to(tmp_path / "nowhere")
    records, problems = read_all()
    assert [each.filename for each in records] == [
        "images/train/a b.png",
        "images/train/a%20b.png",
        "images/train/c\\d.png",
    ]
    assert not problems


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_decides_the_encoding(draw, write_labels, read_all, encoding):
    """A byte order mark decides the encoding of a label file."""
    draw("images/train/a.png")
    write_labels("a.txt").write_bytes("1 0.5 0.5 0.5 0.5\r\n".encode(encoding))
    (record,), problems = read_all()
    assert (record.object.bbox.text, problems) == (["dog"], [])


def test_labels_without_an_image_are_a_problem(draw, write_labels, read_all):
    """A label file without an image is a problem after all records; classes.txt is not a label file."""
    draw("images/train/a.png")
    path = write_labels("b.txt", "0 0.5 0.5 0.5 0.5")
    write_labels("classes.txt", "cat")
    records, problems = read_all()
    assert len(records) == 1
    assert [each.path for each in problems] == [str(path)]


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "\n  0: cat\n  1: dog"])
def test_data_yaml_names_the_classes(draw, write_labels, tmp_path, names):
    """Names are read from data.yaml, as a list or by number; its other keys are ignored."""
    write_labels("a.txt")
    draw("images/train/a.png")
    data = tmp_path / "data.yaml"
    data.write_text(f"path: ../datasets\ntrain: images/train\nnc: 2\nnames: {names}\n")
    dataset = yolo.read((data,), tmp_path / "images" / "train", tmp_path)
    assert dataset.labels == (Label(0, "cat", 0), Label(1, "dog", 1))


def test_labels_are_contiguous(draw, write_labels, read_all):
    """Labels are contiguous even if YOLO's class numbers are not."""
    draw("images/train/a.png")
    write_labels("a.txt", "7 0.5 0.5 0.5 0.5")
    (record,), _ = read_all(names={3: "cat", 7: "dog"})
    assert (record.object.bbox.label, record.object.bbox.text) == ([1], ["dog"])


def test_data_yaml_gives_kpt_shape(draw, write_labels, read_all, tmp_path):
    """kpt_shape is read from data.yaml."""
    draw("images/train/a.png")
    write_labels("a.txt", "0 0.5 0.5 0.5 0.5 0.1 0.2 1")
    (tmp_path / "data.yaml").write_text("names: [person]\nkpt_shape: [1, 3]\n")
    (record,), _ = read_all(tmp_path / "data.yaml", names=None)
    assert record.object.parts == Parts(x=[0.1], y=[0.2], v=[1])


def test_the_folder_of_labels_can_be_named(draw, tmp_path, sort_out):
    """The folder of label files can be named, and may be the folder of images."""
    draw("data/a.png")
    (tmp_path / "data" / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    dataset = yolo.read((tmp_path / "data",), tmp_path / "data", tmp_path, names=["cat"])
    records, _ = sort_out(dataset.records)
    assert records[0].object.size == 1


def test_the_last_folder_named_images_is_replaced(draw, tmp_path, sort_out):
    """Only the last "images" of the path is replaced by "labels"."""
    draw("images/set/images/a.png")
    (tmp_path / "images" / "set" / "labels").mkdir()
    (tmp_path / "images" / "set" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    dataset = yolo.read((), tmp_path / "images" / "set" / "images", tmp_path, names=["cat"])
    assert sort_out(dataset.records)[0][0].object.size == 1


@pytest.mark.parametrize(
    ("annotations", "images", "message"),
    [
        (
            ["missing.yaml", "pictures"],
            "images",
            r"missing\.yaml: expected data.yaml with `names`, but it does not exist, and the names are not in ",
        ),
        (["list.yaml"], "images", r"list\.yaml: expected data.yaml .* Expected `object`, got `array`"),
        (
            ["empty.yaml", "pictures"],
            "images",
            "expected class names in data.yaml, in the option `names`, .* but got none",
        ),
        (["good.yaml", "empty.yaml"], "images", r"expected one data\.yaml, but got "),
        (["good.yaml"], "images", "expected a folder of label files, but there is no .*labels"),
        (["good.yaml"], "pictures", "expected 'images' in the path of the images"),
        (["good.yaml", "images", "pictures"], "images", "expected one folder of label files, but got "),
    ],
)
def test_missing_or_malformed_sources_are_refused(tmp_path, annotations, images, message):
    """A missing or malformed data.yaml, or a missing folder, is an error that names it."""
    for name, content in {"list": "[]", "empty": "nc: 2", "good": "names: [cat]"}.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    for name in ("images", "pictures"):
        (tmp_path / name).mkdir()
    with pytest.raises(SourceError, match=message):
        yolo.read(tuple(tmp_path / name for name in annotations), tmp_path / images, tmp_path)


def test_records_are_streamed(draw, write_labels, tmp_path):
    """Label files are read one by one, when records are requested."""
    draw("images/train/a.png")
    path = write_labels("a.txt", "nonsense")
    records = yolo.read((), tmp_path / "images" / "train", tmp_path, names=["cat"]).records
    assert isinstance(records, GeneratorType)
    path.write_text("0 0.5 0.5 0.5 0.5")
    assert next(records).object.size == 1
