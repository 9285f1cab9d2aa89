import xml.etree.ElementTree as ET
from types import GeneratorType

import pytest

from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers import find_importer, voc
from tfrec_stage.records import Boxes

SIZE = "<size><width>20</width><height>10</height><depth>3</depth></size>"


def box(name="cat", edges=(5, 15, 2, 6), more=""):
    tags = zip(("xmin", "xmax", "ymin", "ymax"), edges, strict=True)
    inside = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object>\n<name>{name}</name>{more}<bndbox>\n{inside}</bndbox></object>"


@pytest.fixture
def write_xml(tmp_path):
    """Write an XML file below tmp_path/xml; its content goes into <annotation>."""

    def write(name, *content, filename="a.png", size=SIZE):
        path = tmp_path / "xml" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation>\n<filename>{filename}</filename>{size}{''.join(content)}</annotation>")
        return path

    return write


@pytest.fixture
def read_all(tmp_path, sort_out):
    def read(**options):
        (tmp_path / "images").mkdir(exist_ok=True)
        return sort_out(voc.read((tmp_path / "xml",), tmp_path / "images", tmp_path, **options).records)

    return read


def test_a_box_becomes_normalised_edges(draw, write_xml, read_all):
    """Edges in pixels are divided by width and height, without a shift."""
    draw("images/a.png")
    write_xml("a.xml", box(), box("dog", (0, 20, 0, 10)))
    (record,), problems = read_all()
    assert (record.id, record.filename, record.width, record.height) == ("a", "images/a.png", 20, 10)
    assert record.object.bbox == Boxes(
        xmin=[0.25, 0], xmax=[0.75, 1], ymin=[0.2, 0], ymax=[0.6, 1], label=[0, 1], text=["cat", "dog"]
    )
    assert record.object.area == [pytest.approx(0.2), 1]
    assert not problems


def test_a_reversed_box_has_no_area(draw, write_xml, read_all):
    """A reversed box is kept as annotated, with area 0."""
    draw("images/a.png")
    write_xml("a.xml", box(edges=(15, 5, 2, 6)))
    ((record,), _) = read_all()
    assert (record.object.bbox.xmin, record.object.bbox.xmax, record.object.area) == ([0.75], [0.25], [0])


def test_flags_and_pose_are_kept_in_extra(draw, write_xml, read_all):
    """`difficult`, `truncated` and `pose` go into `extra`, one entry per object, by default 0 and Unspecified."""
    draw("images/a.png")
    write_xml("a.xml", box(more="<difficult>1</difficult><truncated>1</truncated><pose>Left</pose>"), box())
    (record,), _ = read_all()
    assert record.extra == {"difficult": [1, 0], "truncated": [1, 0], "pose": ["Left", "Unspecified"]}


def test_parts_of_an_object_are_not_objects(draw, write_xml, read_all):
    """Boxes of an object's parts, such as a head, are not objects."""
    draw("images/a.png")
    write_xml("a.xml", box(more=f"<part>{box('head')[8:-9]}</part>"))
    (record,), _ = read_all()
    assert record.object.bbox.text == ["cat"]


def test_labels_are_numbered_by_name(draw, write_xml, tmp_path):
    """Labels are the names found, in alphabetical order, or those in `names`, in their order."""
    write_xml("a.xml", box("dog"), box("cat"))
    (tmp_path / "images").mkdir()
    folders = (tmp_path / "xml",), tmp_path / "images", tmp_path
    assert [label.text for label in voc.read(*folders).labels] == ["cat", "dog"]
    assert [label.text for label in voc.read(*folders, names=["z", "dog", "cat"]).labels] == ["z", "dog", "cat"]
    with pytest.raises(ConfigError, match="expected each name once"):
        voc.read(*folders, names=["dog", "dog"])


def test_a_class_that_is_not_stated_is_a_problem(draw, write_xml, read_all):
    """A class that is not in `names` is a problem with its line."""
    draw("images/a.png")
    path = write_xml("a.xml", box("cta"))
    records, problems = read_all(names=["cat"])
    assert not records
    assert [str(each) for each in problems] == [f"{path}:3: expected one of the class names 'cat', but got 'cta'"]


@pytest.mark.parametrize(
    ("images", "stated", "found"),
    [
        (["a.png"], "a.png", "a.png"),
        (["a.png"], "wrong.jpg", "a.png"),  # copied from another file
        (["a.png", "b.png"], "b.png", "a.png"),  # the same, and the other image exists: the XML file's name decides
        (["a.png", "a.jpg"], "a.jpg", "a.jpg"),  # two images with its name: <filename> decides
        (["b.png"], "b.png", "b.png"),  # no image with its name
        ([], "b.png", "b.png"),  # no image at all: the build reports it as missing
    ],
)
def test_an_xml_finds_its_image(draw, write_xml, read_all, *, images, stated, found):
    """An XML file belongs to the image with its name, else to the one that <filename> names."""
    for name in images:
        draw(f"images/{name}")
    write_xml("a.xml", filename=stated)
    records, _ = read_all()
    assert [each.filename for each in records] == [f"images/{found}"]


@pytest.mark.parametrize(
    ("images", "but_got"), [(["a.jpg", "a.png"], "['images/a.jpg', 'images/a.png']"), ([], "neither")]
)
def test_an_xml_without_one_image_is_a_problem(draw, write_xml, read_all, *, images, but_got):
    """An XML file with two images of its name, or with none and no <filename>, is a problem."""
    for name in images:
        draw(f"images/{name}")
    write_xml("a.xml", filename="")
    records, problems = read_all()
    assert not records
    assert problems[0].message == f"expected one image named a.*, or <filename>, but got {but_got}"


@pytest.mark.parametrize("size", [SIZE, ""])
@pytest.mark.parametrize(
    ("xml", "stated", "found", "how"),
    [
        ("1.xml", "sub\\a b.png", "sub/a b.png", "\\ as /"),
        ("1.xml", "sub/a%20b.png", "sub/a b.png", "percent-decoded"),
        ("1.xml", "C:\\data\\c.png", "c.png", "\\ as /, end of an absolute path"),
        ("1.xml", "/home/x/sub/a b.png", "sub/a b.png", "end of an absolute path"),
        ("sub/1.xml", "a%20b.png", "sub/a b.png", "percent-decoded"),
        ("sub/1.xml", "D:\\sub\\a b.png", "sub/a b.png", "\\ as /, end of an absolute path"),
        ("sub/1.xml", "https://example.org/sub/a%20b.png", "sub/a b.png", "end of a URL, percent-decoded"),
        (
            "d.xml",
            "C:\\data\\d.png",
            "d.png",
            "\\ as /, end of an absolute path",
        ),  # decides between two images with its name
    ],
)
def test_filename_may_be_from_another_machine(draw, write_xml, tmp_path, *, size, xml, stated, found, how):
    """A <filename> from another machine is found under `images` and counted, and its size is read there."""
    for name in ("sub/a b.png", "c.png", "d.png", "d.jpg"):
        draw(f"images/{name}")
    write_xml(xml, box(), filename=stated, size=size)
    dataset = voc.read((tmp_path / "xml",), tmp_path / "images", tmp_path)
    record = next(dataset.records)
    assert (record.filename, record.width, record.object.bbox.xmin) == (f"images/{found}", 20, [0.25])
    assert dataset.notes.counts == {f"file names read another way ({how})": 1}
    assert not [
        each for each in dataset.records if each.path.endswith(found)
    ]  # it is not reported as an image without an XML file


def test_a_filename_without_a_file_names_what_was_tried(draw, write_xml, read_all):
    """If no interpretation of <filename> leads to a file, the problem names all of them and the XML file."""
    draw("images/a.png")
    path = write_xml("1.xml", box(), filename="C:\\data\\b.png", size="")
    _, problems = read_all()
    assert problems[0].path == str(path)
    assert "none of 'data/b.png', 'b.png' exists in" in problems[0].message


@pytest.mark.parametrize("again", ["c.png", ".\\c.png", "/data/c.png", "%63.png"])
def test_an_image_has_one_xml(draw, write_xml, read_all, again):
    """Two XML files for one image are a problem of the second."""
    draw("images/c.png")
    write_xml("a.xml", filename="c.png")
    path = write_xml("b.xml", filename=again)
    records, problems = read_all()
    assert len(records) == 1
    assert str(problems[0]) == f"{path}: expected an image of its own, but 'images/c.png' belongs to a.xml already"


def test_an_image_without_xml_is_a_problem(draw, write_xml, read_all, tmp_path):
    """An image without an XML file is a problem after all records, not an image without objects."""
    draw("images/a.png")
    forgotten = draw("images/b.png")
    write_xml("a.xml")
    records, problems = read_all()
    assert len(records) == 1
    assert [str(each) for each in problems] == [f"{forgotten}: expected annotations in b.xml, but got none"]


def test_an_image_with_a_malformed_xml_is_reported_once(draw, write_xml, read_all):
    """An XML file that cannot be parsed is the only problem of its image."""
    draw("images/a.png")
    path = write_xml("a.xml", "<object>\n")
    _, problems = read_all()
    assert [(each.path, each.line) for each in problems] == [(str(path), 3)]
    assert problems[0].message == "expected XML, but: mismatched tag: line 3, column 2"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (
            "<object><name>cat</name></object>",
            2,
            "expected <bndbox>, <polygon> or <robndbox> in <object>, but got none",
        ),
        (box(edges=("-1e200", "1e200", 2, 6)), 4, "expected a number in <xmin>, but got '-1e200'"),
        (box(more="<difficult>1e30</difficult>"), 3, "expected a number in <difficult>, but got '1e30'"),
        (box(edges=("five", 15, 2, 6)), 4, "expected a number in <xmin>, but got 'five'"),
        (box(edges=("nan", 15, 2, 6)), 4, "expected a number in <xmin>, but got 'nan'"),
    ],
)
def test_a_malformed_object_is_a_problem(draw, write_xml, read_all, *, content, line, message):
    """An object without a box or with edges that are not numbers is a problem with its line."""
    draw("images/a.png")
    path = write_xml("a.xml", content)
    records, problems = read_all()
    assert not records
    assert [str(each) for each in problems] == [f"{path}:{line}: {message}"]


def test_one_malformed_file_is_one_problem(draw, write_xml, read_all, tmp_path):
    """A malformed XML file is one problem, and the others become records."""
    draw("images/a.png")
    write_xml("a.xml", box())
    bad = {
        "b": b"",
        "c": b"\x89PNG\r\n",
        "d": b'<?xml version="1.0" encoding="x-none"?>\n<annotation/>',
        "e": b'<?xml version="1.0" encoding="GBK"?>\n<a>' + b"\xff</a>",
        "f": b'<?xml version="1.0" encoding="utf-7"?>\n<a>+2AA-</a>',
    }
    for name, content in bad.items():
        draw(f"images/{name}.png")
        (tmp_path / "xml" / f"{name}.xml").write_bytes(content)
    records, problems = read_all()
    assert [each.id for each in records] == ["a"]
    assert [each.path for each in problems] == [str(tmp_path / "xml" / f"{name}.xml") for name in bad]
    assert problems[2].message == "expected an encoding that Python knows, but got 'x-none'; save it as UTF-8"
    assert problems[3].message.startswith("expected text in gbk, but: 'gbk' codec can't decode byte 0xff")


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_missing_size_is_read_from_the_image(draw, write_xml, read_all, size):
    """Without <size>, or with zeros in it, the size is read from the image."""
    draw("images/a.png", (20, 10))
    write_xml("a.xml", box(), size=size)
    (record,), _ = read_all()
    assert (record.width, record.object.bbox.xmin) == (20, [0.25])


def test_boxes_without_a_size_are_a_problem(write_xml, read_all):
    """Boxes without <size> and without a readable image are a problem."""
    write_xml("a.xml", box(), size="")
    _, problems = read_all()
    assert "expected <size> with width and height, or a readable image" in problems[0].message


def test_entities_are_refused(tmp_path, read_all):
    """A document that declares entities is a problem."""
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").write_text('<!DOCTYPE a [\n<!ENTITY x "xx">]><annotation>&x;</annotation>')
    _, problems = read_all()
    assert (problems[0].line, problems[0].message) == (2, "expected no entities, but 'x' is declared")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_image_set_selects_the_files(draw, write_xml, read_all, tmp_path, encoding):
    """With `image_set`, only its names are read, in its order; other images are not problems."""
    for name in "abc":
        draw(f"images/{name}.png")
        write_xml(f"{name}.xml")
    (tmp_path / "train.txt").write_text("c 1\na -1\n\nz\n", encoding)
    records, problems = read_all(image_set=str(tmp_path / "train.txt"))
    assert [each.id for each in records] == ["c", "a"]
    assert [str(each) for each in problems] == ["z.xml: expected an annotation file, but: No such file or directory"]


def test_a_missing_folder_or_list_is_refused(tmp_path, write_xml):
    """A missing folder or list is an error that names it."""
    write_xml("a.xml")
    (tmp_path / "images").mkdir()
    with pytest.raises(SourceError, match="nowhere: expected a folder"):
        voc.read((tmp_path / "nowhere",), tmp_path / "images", tmp_path)
    with pytest.raises(SourceError, match="nowhere: expected a folder"):
        voc.read((tmp_path / "xml",), tmp_path / "nowhere", tmp_path)
    with pytest.raises(SourceError, match="image_set: nowhere: expected a list of names"):
        voc.read((tmp_path / "xml",), tmp_path / "images", tmp_path, image_set="nowhere")


def test_the_same_name_in_two_folders_is_refused(tmp_path, write_xml):
    """Two XML files with the same name are refused."""
    write_xml("one/a.xml")
    write_xml("two/a.xml")
    with pytest.raises(SourceError, match="expected each name once"):
        voc.read((tmp_path / "xml/one", tmp_path / "xml/two"), tmp_path, tmp_path)


def test_folders_may_be_nested(draw, write_xml, read_all):
    """XML files may be nested as the images are; the folder is then part of the id."""
    draw("images/day/a.png")
    draw("images/night/a.png")
    write_xml("day/a.xml")
    write_xml("night/a.xml")
    records, problems = read_all()
    assert [(each.id, each.filename) for each in records] == [
        ("day/a", "images/day/a.png"),
        ("night/a", "images/night/a.png"),
    ]
    assert not problems


def test_records_are_streamed(draw, write_xml, tmp_path):
    """Records are built one by one, when they are requested."""
    draw("images/a.png")
    write_xml("a.xml")
    assert isinstance(voc.read((tmp_path / "xml",), tmp_path / "images", tmp_path).records, GeneratorType)


def test_real_boxes_equal_the_annotated_pixels(raccoon_voc, sort_out):
    """Real annotations give 200 images and 217 boxes, equal to the annotated pixels to 0.01."""
    dataset = find_importer("voc")((raccoon_voc / "annotations",), raccoon_voc / "images", raccoon_voc)
    records, problems = sort_out(dataset.records)
    assert not problems
    assert [label.text for label in dataset.labels] == ["raccoon"]
    assert (len(records), sum(each.object.size for each in records)) == (200, 217)
    for record in records:
        boxes, (w, h) = record.object.bbox, (record.width, record.height)
        stated = ET.parse(raccoon_voc / "annotations" / f"{record.id}.xml").iter("bndbox")
        expected = [[int(each.findtext(tag)) for tag in ("xmin", "xmax", "ymin", "ymax")] for each in stated]
        edges = zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=True)
        pixels = [[x0 * w, x1 * w, y0 * h, y1 * h] for x0, x1, y0, y1 in edges]
        assert pixels == [pytest.approx(each, abs=0.01) for each in expected]
