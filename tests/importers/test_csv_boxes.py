from types import GeneratorType

import pytest

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers import csv_boxes
from tfrec_stage.records import Boxes

TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax"
OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)


@pytest.fixture
def write_table(tmp_path):
    def write(*lines, name="boxes.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def read_all(tmp_path, sort_out):
    def read(*tables, **options):
        return sort_out(csv_boxes.read(tables, tmp_path / "images", tmp_path, **options).records)

    return read


def test_tensorflow_columns(write_table, read_all):
    """Edges in pixels are divided by the width and height of their row."""
    path = write_table(TENSORFLOW, "a.png,20,10,dog,5,2,15,6", "a.png,20,10,cat,0,0,20,10")
    (record,), problems = read_all(path)
    assert (record.id, record.filename, record.width, record.height) == ("a.png", "images/a.png", 20, 10)
    assert record.object.bbox == Boxes(
        xmin=[0.25, 0], xmax=[0.75, 1], ymin=[0.2, 0], ymax=[0.6, 1], label=[1, 0], text=["dog", "cat"]
    )
    assert record.object.area == [pytest.approx(0.2), 1]
    assert (record.object.is_crowd, record.extra) == ([], "")
    assert not problems


def test_open_images_columns(write_table, read_all):
    """OpenImages' edges are normalised already, IsGroupOf marks crowds, and the other flags are kept as text."""
    path = write_table(
        OPEN_IMAGES, "0a,xclick,/m/01g317,1,0.25,0.75,0.2,0.6,1,0,0,0,0", "0a,x,/m/0k4j,1,0,1,0,1,0,0,1,0,-1"
    )
    (record,), problems = read_all(path)
    assert (record.id, record.filename) == ("0a", "images/0a.jpg")
    assert (record.object.bbox.xmin, record.object.bbox.ymax, record.object.is_crowd) == ([0.25, 0], [0.6, 1], [0, 1])
    assert record.extra == {
        "IsOccluded": ["1", "0"],
        "IsTruncated": ["0", "0"],
        "IsDepiction": ["0", "0"],
        "IsInside": ["0", "-1"],
    }
    assert not problems


def test_class_names_give_every_split_the_same_labels(write_table, tmp_path):
    """Labels are all those of class_names in the order of their texts, even if the table has only some."""
    path = write_table(OPEN_IMAGES, "0a,xclick,/m/01g317,1,0.25,0.75,0.2,0.6,1,0,0,0,0")
    texts = write_table("/m/01g317,Person", "/m/0k4j,Car", name="names.csv")
    dataset = csv_boxes.read((path,), tmp_path, tmp_path, class_names=str(texts))
    assert dataset.labels == (Label(0, "Car", "/m/0k4j"), Label(1, "Person", "/m/01g317"))
    assert next(dataset.records).object.bbox.text == ["Person"]


@pytest.mark.parametrize("header", ["filename,width,height,class,xmin,ymin,xmax,ymax", None])
@pytest.mark.parametrize(
    ("cell", "found", "how"),
    [
        ("sub\\a b.png", "sub/a b.png", "\\ as /"),
        ("sub/a%20b.png", "sub/a b.png", "percent-decoded"),
        ("C:\\data\\sub\\a b.png", "sub/a b.png", "\\ as /, end of an absolute path"),
        ("/home/x/c.png", "c.png", "end of an absolute path"),
    ],
)
def test_names_may_be_from_another_machine(draw, write_table, tmp_path, *, header, cell, found, how):
    """A name from another machine is found under `images` and counted, and its size is read there if missing."""
    draw("images/sub/a b.png")
    draw("images/c.png")
    row = f"{cell},20,10,cat,5,2,15,6" if header else f"{cell},5,2,15,6,cat"
    dataset = csv_boxes.read((write_table(*filter(None, [header, row])),), tmp_path / "images", tmp_path)
    (record,) = dataset.records
    assert (record.filename, record.width, record.object.bbox.xmin) == (f"images/{found}", 20, [0.25])
    assert dataset.notes.counts == {f"file names read another way ({how})": 1}


def test_a_name_without_a_file_is_a_problem_with_its_line(draw, write_table, read_all):
    """A name without a file is a problem that names the row and what was tried, with and without a size."""
    draw("images/b.png")
    path = write_table("b.png,5,2,15,6,cat", "/home/x/sub/a.png,5,2,15,6,cat")
    records, problems = read_all(path)
    assert [each.id for each in records] == ["b.png"]
    assert [(each.path, each.line) for each in problems] == [(str(path), 2)]
    assert "none of 'home/x/sub/a.png', 'x/sub/a.png', 'sub/a.png', 'a.png' exists in" in problems[0].message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_class_names_may_have_a_byte_order_mark(write_table, tmp_path, encoding):
    """class_names may have a byte order mark and line breaks in cells."""
    path = write_table(OPEN_IMAGES, "0a,xclick,/m/01g317,1,0.25,0.75,0.2,0.6,1,0,0,0,0")
    (tmp_path / "names.csv").write_bytes('/m/01g317,"Gruß\r\nan"\r\n'.encode(encoding))
    dataset = csv_boxes.read((path,), tmp_path, tmp_path, class_names=str(tmp_path / "names.csv"))
    assert dataset.labels == (Label(0, "Gruß\r\nan", "/m/01g317"),)


def test_stated_names_decide_the_numbers(write_table, read_all):
    """Labels in `names` are numbered in that order, and any other label is a problem with its line."""
    path = write_table(TENSORFLOW, "a.png,20,10,cat,5,2,15,6", "b.png,20,10,cta,5,2,15,6")
    records, problems = read_all(path, names=["dog", "cat"])
    assert records[0].object.bbox.label == [1]
    assert [str(each) for each in problems] == [f"{path}:3: expected one of the labels 'dog', 'cat', but got 'cta'"]


def test_columns_with_other_headers(write_table, read_all, draw):
    """`columns` maps other headers; without a width, edges are normalised unless `pixels` is set."""
    draw("images/a.png", (20, 10))
    header = {"image": "file", "label": "what", "xmin": "x0", "xmax": "x1", "ymin": "y0", "ymax": "y1"}
    path = write_table("file,what,x0,y0,x1,y1,tag", "a,cat,5,2,15,6,blurry")
    (record,), _ = read_all(path, columns=header, pixels=True, suffix=".png", extra=["tag"])
    assert (record.object.bbox.xmin, record.object.bbox.ymax, record.extra) == ([0.25], [0.6], {"tag": ["blurry"]})
    assert (record.filename, record.width) == ("images/a.png", 20)
    (record,), _ = read_all(path, columns=header)
    assert (record.object.bbox.xmin, record.filename, record.extra) == ([5], "images/a", "")


def test_rows_that_are_not_adjacent_become_one_record(write_table, read_all):
    """Rows of one image that are not adjacent, or in two files, become one record; records are then sorted."""
    first = write_table(TENSORFLOW, "b.png,20,10,cat,5,2,15,6", "a.png,20,10,cat,5,2,15,6", "b.png,20,10,dog,5,2,15,6")
    second = write_table(TENSORFLOW, "a.png,20,10,dog,1,1,2,2", name="more.csv")
    records, _ = read_all(first, second)
    assert [(each.id, each.object.bbox.text) for each in records] == [
        ("a.png", ["cat", "dog"]),
        ("b.png", ["cat", "dog"]),
    ]


def test_adjacent_rows_keep_their_order(write_table, read_all):
    """A table in which the rows of each image are adjacent keeps its order."""
    records, _ = read_all(write_table(TENSORFLOW, "b.png,20,10,cat,5,2,15,6", "a.png,20,10,cat,5,2,15,6"))
    assert [each.id for each in records] == ["b.png", "a.png"]


def test_a_row_without_an_object_is_background(write_table, read_all):
    """A row with only an image is an image without objects; its size is kept."""
    (record,), problems = read_all(write_table(TENSORFLOW, "a.png,20,10,,,,,"))
    assert (record.object.size, record.width) == (0, 20)
    assert not problems


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,20,10,cat,five,2,15,6", "expected a number as xmin, but got 'five'"),
        ("a.png,20,10,cat,5,2", "expected a number as xmax, but got ''"),
        ("a.png,20,10,cat,5,2,15,inf", "expected a number as ymax, but got 'inf'"),
        ("a.png,20,10,,5,2,15,6", "expected one of the labels 'cat', but got ''"),
        ("a.png,0,10,cat,5,2,15,6", "expected a width and a height of 1 or more, but got 0x10"),
        (",20,10,cat,5,2,15,6", "expected the name of an image, but its cell is empty"),
        ("../../a.png,20,10,cat,5,2,15,6", "leads out of it"),
    ],
)
def test_a_malformed_row_is_a_problem_with_its_line(write_table, read_all, row, message):
    """A malformed row is a problem with file and line; other images become records."""
    path = write_table(TENSORFLOW, "b.png,20,10,cat,5,2,15,6", row)
    records, problems = read_all(path)
    assert [each.id for each in records] == ["b.png"]
    assert str(problems[0]).startswith(str(path))
    assert problems[0].message.endswith(message)
    assert problems[0].line in {3, None}


def test_rows_that_disagree_on_the_size_are_a_problem(write_table, read_all):
    """Rows of one image with different sizes are a problem."""
    _, problems = read_all(write_table(TENSORFLOW, "a.png,20,10,cat,5,2,15,6", "a.png,20,11,cat,5,2,15,6"))
    assert (problems[0].line, problems[0].message) == (
        3,
        "expected 20x10 pixels, as in line 2, but got another size",
    )


def test_pixels_without_a_size_are_a_problem(write_table, read_all):
    """Edges in pixels without a size and without a readable image are a problem."""
    columns = {"image": "filename", "label": "class"}
    _, problems = read_all(
        write_table("filename,class,xmin,ymin,xmax,ymax", "a.png,cat,5,2,15,6"), columns=columns, pixels=True
    )
    assert "expected width and height in the table, or a readable image" in problems[0].message


def test_quotes_and_line_breaks_in_cells(write_table, read_all):
    """Cells may be quoted and hold commas and line breaks; problems name the last line of their row."""
    path = write_table(f"\ufeff{TENSORFLOW}", '"a,1.png",20,10,"big\ncat",5,2,15,6', "", "b.png,20,10,cat,x,2,15,6")
    records, problems = read_all(path)
    assert (records[0].id, records[0].object.bbox.text) == ("a,1.png", ["big\ncat"])
    assert problems[0].line == 5


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ([], {}, "expected columns for image, label, xmin, xmax, ymin, ymax, but got none"),
        (["a,b"], {}, "but got a, b; name them in the option `columns`"),
        (["filename,class,xmin,ymin,xmax"], {}, "expected columns for ymax, but got filename, class, xmin, ymin, xmax"),
        ([TENSORFLOW], {"columns": {"is_crowd": "crowd"}}, "expected the columns crowd, but got filename"),
        ([TENSORFLOW], {"extra": ["tag"]}, "expected the columns tag, but got filename"),
        ([TENSORFLOW], {"class_names": "nowhere.csv"}, r"class_names: nowhere\.csv: expected lines of label,text"),
    ],
)
def test_a_table_without_its_columns_is_refused(write_table, read_all, *, lines, options, message):
    """A table without a needed column is refused, and the message names file and columns."""
    with pytest.raises(SourceError, match=message):
        read_all(write_table(*lines), **options)


def test_an_unknown_role_is_refused(write_table, read_all):
    """An unknown role in `columns` is refused."""
    with pytest.raises(ConfigError, match=r"columns: expected some of image, label, .* but got xmim"):
        read_all(write_table(TENSORFLOW), columns={"xmim": "xmin"})


def test_a_file_that_is_not_a_table_is_refused(tmp_path, read_all):
    """A file that is missing or not text is an error that names it."""
    with pytest.raises(SourceError, match=r"nowhere\.csv: expected a table"):
        read_all(tmp_path / "nowhere.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(SourceError, match=r"bytes\.csv: expected columns for image, label, "):
        read_all(tmp_path / "bytes.csv")
    (tmp_path / "cut.csv").write_bytes(TENSORFLOW.encode("utf-16")[:-1])
    with pytest.raises(SourceError, match=r"cut\.csv: expected a table, but: 'utf-16-le'"):
        read_all(tmp_path / "cut.csv")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('a.png,20,10,"dog,5,2,15,6', "expected cells with closed quotes, but: ',' expected after '\"'"),
        ('"a.png,20,10,dog,5,2,15,6', "expected cells with closed quotes, but: ',' expected after '\"'"),
        ('a.png,20,10,"dog"x,5,2,15,6', "expected cells with closed quotes, but: ',' expected after '\"'"),
        (f'a.png,20,10,"{"g" * 200_000}",5,2,15,6', "expected cells with closed quotes, but: field larger than "),
        ("a.png,20,10,d\udcff,5,2,15,6", "expected text in UTF-8, but some bytes are none"),
        ("a.png,20,10,dog,-1e300,2,1e300,6", "expected a number as xmin, but got '-1e300'"),
        ("a.png,1e30,10,dog,5,2,15,6", "expected a number as width, but got '1e30'"),
    ],
)
def test_a_malformed_row_is_one_problem(read_all, tmp_path, row, problem):
    """A malformed row is one problem of its image, and the rows after it are read."""
    good = ["b.png,20,10,cat,5,2,15,6", '"c.png",20,10,"cat",5,2,15,6', "a.png,20,10,cat,5,2,15,6"]
    path = tmp_path / "boxes.csv"
    path.write_bytes("\n".join([TENSORFLOW, good[0], row, *good[1:]]).encode(errors="surrogateescape"))
    records, problems = read_all(path)
    assert [each.id for each in records] == ["b.png", "c.png"]
    assert [each.line for each in problems] == [3]
    assert problems[0].message.startswith(problem)
    assert {label for each in records for label in each.object.bbox.text} == {"cat"}


@pytest.mark.parametrize("row", ["a.png,20,10,d\udcff,5,2,15,6", 'a.png,20,10,"dog,5,2,15,6'])
def test_a_malformed_row_adds_no_class(tmp_path, row):
    """A label in a malformed row does not become a class."""
    path = tmp_path / "boxes.csv"
    path.write_bytes(f"{TENSORFLOW}\nb.png,20,10,cat,5,2,15,6\n{row}".encode(errors="surrogateescape"))
    assert csv_boxes.read((path,), tmp_path, tmp_path).labels == (Label(0, "cat", "cat"),)


def test_a_quote_that_is_never_closed_affects_one_row(write_table, read_all):
    """A quote that is never closed does not swallow the rows after it."""
    path = write_table(TENSORFLOW, 'a.png,20,10,"dog,5,2,15,6', "b.png,20,10,cat,5,2,15,6", "c.png,20,10,cat,5,2,15,6")
    records, problems = read_all(path)
    assert [each.id for each in records] == ["b.png", "c.png"]
    assert [str(each) for each in problems] == [
        f"{path}:2: expected cells with closed quotes, but: unexpected end of data"
    ]


def test_each_row_without_an_image_is_a_problem(write_table, read_all):
    """Each row without an image is a problem of its own."""
    _, problems = read_all(write_table(TENSORFLOW, ",20,10,cat,5,2,15,6", ",20,10,cat,5,2,15,6"))
    assert [each.line for each in problems] == [2, 3]


def test_records_are_streamed(write_table, tmp_path):
    """Records are built one by one, when they are requested."""
    path = write_table(TENSORFLOW, "a.png,20,10,cat,5,2,15,6")
    assert isinstance(csv_boxes.read((path,), tmp_path, tmp_path).records, GeneratorType)
