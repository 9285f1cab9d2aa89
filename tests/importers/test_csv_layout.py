"""Layouts of tables: delimiters, headers, decimal commas, encodings."""

import pytest

from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers import csv_boxes
from tfrec_stage.importers.csv_columns import KERAS_RETINANET

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"
ROWS = [("a.png", [0.25], [0.75], ["cat"])]


@pytest.fixture
def read_table(draw, tmp_path, sort_out):
    """Read a table of 20 x 10 pixel images; return image, left and right edges and classes of each record."""

    def read(content, **options):
        for name in ("a.png", "b.png", "a,1.png", "a;1.png"):
            draw(f"images/{name}")
        path = tmp_path / "boxes.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        records, problems = sort_out(csv_boxes.read((path,), tmp_path / "images", tmp_path, **options).records)
        boxes = [(each.id, each.object.bbox) for each in records]
        return [(name, found.xmin, found.xmax, found.text) for name, found in boxes], [str(each) for each in problems]

    return read


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_delimiter_is_recognised(read_table, delimiter, encoding, line_end):
    """Delimiter, line end and encoding are recognised and do not change the records."""
    text = f"{HEADER}\na.png,20,10,cat,5,2,15,6\n".replace(",", delimiter).replace("\n", line_end)
    assert read_table(text.encode(encoding)) == (ROWS, [])


@pytest.mark.parametrize(
    "content",
    [
        "a.png,5,2,15,6,cat",
        "a.png;5;2;15;6;cat",
        "a.png\t5\t2\t15\t6\tcat",
        "a.png|5|2|15|6|cat",
        "a.png;5,0;2,0;15,0;6,0;cat",  # a count of characters would take the decimal comma for the delimiter
        " a.png , 5 , 2 , 15 , 6 , cat ",
    ],
)
def test_a_table_without_a_header_has_the_columns_of_keras_retinanet(read_table, content):
    """Six columns with four numbers are image, edges in pixels and class, as in keras-retinanet."""
    assert read_table(content) == (ROWS, [])


def test_an_image_without_boxes_has_empty_cells(read_table):
    """Without a header, rows with empty cells for edges are images without objects."""
    assert read_table("b.png,,,,,\na.png,5,2,15,6,cat") == ([("b.png", [], [], []), *ROWS], [])
    assert read_table("b.png,,,,,") == ([("b.png", [], [], [])], [])


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('"a,1.png",5,2,15,6,"cat, wild"', [("a,1.png", [0.25], [0.75], ["cat, wild"])]),
        ('"a;1.png";5;2;15;6;"cat, wild; big"', [("a;1.png", [0.25], [0.75], ["cat, wild; big"])]),
        ('a.png,5,2,15,6,"cat;x;y;z;u;v"', [("a.png", [0.25], [0.75], ["cat;x;y;z;u;v"])]),
        ('a.png,5,2,15,6,"a ""cat"""', [("a.png", [0.25], [0.75], ['a "cat"'])]),
        (f'{HEADER}\n"a,1.png",20,10,"cat\nwild",5,2,15,6', [("a,1.png", [0.25], [0.75], ["cat\nwild"])]),
        (f"{HEADER}\na.png,20,10,cat|dog|bird;x,5,2,15,6", [("a.png", [0.25], [0.75], ["cat|dog|bird;x"])]),
        (f"{HEADER}\na.png,20,10,cat,5,2,15,6\n,,,,,,,\n\n", ROWS),  # empty rows at the end, as spreadsheets write them
        ("filename; width; height; class; xmin; ymin; xmax; ymax\na.png;20;10;cat;5;2;15;6", ROWS),
    ],
)
def test_quotes_and_other_delimiters_in_cells(read_table, content, rows):
    """Other delimiters inside cells, quoted or not, do not change the layout."""
    assert read_table(content) == (rows, [])


def test_decimal_commas(read_table):
    """A comma is a decimal comma if it is not the delimiter; with a thousands separator a cell is not a number."""
    rows, problems = read_table(f"{HEADER}\na.png,20,10,cat,5,2,15,6".replace(",", ";").replace("15", "15,5"))
    assert (rows, problems) == ([("a.png", [0.25], [0.775], ["cat"])], [])
    _, problems = read_table(f"{HEADER}\na.png,20,10,cat,5,2,15,6".replace(",", ";").replace("15", "1.234,5"))
    assert problems[0].endswith("boxes.csv:2: expected a number as xmax, but got '1.234,5'")


def test_a_malformed_row_does_not_change_the_layout(read_table):
    """A malformed row, even the first, is a problem of its image and not of the table."""
    rows, problems = read_table("b.png,five,2,15,6,cat\na.png,5,2,15,6,cat")
    assert rows == ROWS
    assert [each.partition(".csv")[2] for each in problems] == [":1: expected a number as xmin, but got 'five'"]


@pytest.mark.parametrize("number", ["nan", "NaN", "inf", "-Infinity"])
def test_numbers_that_are_not_finite_are_problems_of_their_rows(read_table, number):
    """Edges that are NaN or infinite are problems of their images, even if most rows have them."""
    rows, problems = read_table(f"b.png,{number},2,15,6,cat\na;1.png,5,2,{number},6,cat\na.png,5,2,15,6,cat")
    assert rows == ROWS
    assert [each.partition(".csv")[2] for each in problems] == [
        f":1: expected a number as xmin, but got {number!r}",
        f":2: expected a number as xmax, but got {number!r}",
    ]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("cat,a.png,5,15,2,6", {"columns": ["class", "image", "xmin", "xmax", "ymin", "ymax"]}),
        ("cat;a.png;5;15;2;6", {"columns": ["label", "image", "xmin", "xmax", "ymin", "ymax"]}),
        ("7,a.png,5,2,15,6,x,cat", {"columns": ["-", "image", "xmin", "ymin", "xmax", "ymax", "-", "class"]}),
        ("a.png,5,2,15,6,cat,20,10", {"columns": [*KERAS_RETINANET, "width", "height"]}),
        ("file,l,t,r,b,kind\na.png,5,2,15,6,cat", {"columns": [*KERAS_RETINANET]}),  # a header, skipped
        ("a.png:5:2:15:6:cat", {"columns": [*KERAS_RETINANET], "delimiter": ":"}),
        ("a.png:5:2:15:6:cat", {"delimiter": ":"}),
        ("a.png\t5\t2\t15\t6\tcat", {"delimiter": "tab"}),
        (f"{HEADER}\na.png,20,10,cat,5,2,15,6".replace(",", ":"), {"delimiter": ":"}),
        ("a.png,0.25,0.2,0.75,0.6,cat", {"pixels": False}),
    ],
)
def test_options_decide_the_layout(read_table, content, options):
    """The options `columns` and `delimiter` decide what the first rows leave open."""
    assert read_table(content, **options) == (ROWS, [])


def test_further_columns_in_a_list_are_kept(draw, tmp_path):
    """A column in the list `columns` that is not a role can be kept by its name with `extra`."""
    draw("a.png")
    (tmp_path / "boxes.csv").write_text("a.png,5,2,15,6,cat,blurry")
    columns = [*KERAS_RETINANET, "tag"]
    dataset = csv_boxes.read((tmp_path / "boxes.csv",), tmp_path, tmp_path, columns=columns, extra=["tag"])
    assert next(dataset.records).extra == {"tag": ["blurry"]}


def test_classes_may_be_numbers(read_table):
    """With `columns` set, classes may be numbers."""
    rows, _ = read_table("a.png,5,2,15,6,7", columns=list(KERAS_RETINANET))
    assert rows == [("a.png", [0.25], [0.75], ["7"])]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "a,1,2,3,4,5;1;2;3;4;cat",
            {},
            "expected one delimiter, but cells may be separated by ',' as well as ';'; set ",
        ),
        (
            "a.png,1,5,2,15,6",
            {},
            "the last column has numbers, as if it were an edge; name the columns in their order in ",
        ),
        ("a.png,9,5,4,2,cat\na.png,8,5,4,2,cat", {}, "most boxes would be reversed, as if they had width and height; "),
        ("a.png,0.1,0.2,0.3,0.4,cat", {}, "all edges are in [0, 1]; set the option `pixels` to false if they are "),
        ("a.png,1,2,3,4,cat,7", {}, "expected columns for image, label, xmin, xmax, ymin, ymax, but got a.png, 1, 2, "),
        (
            "file,l,t,r,b,kind\na.png,1,2,3,4,cat",
            {},
            "but got file, l, t, r, b, kind; name them in the option `columns`",
        ),
        (
            "file;l;t;r;b;kind\na.png;1;2;3;4;cat",
            {},
            "but got file, l, t, r, b, kind; name them in the option `columns`",
        ),
        ("a.png,cat", {"columns": [*KERAS_RETINANET]}, "expected rows of image, xmin, ymin, xmax, ymax, class, "),
        ("hello", {}, "but got hello; name them in the option `columns`"),
        (f"{HEADER}\na.png,20,10,cat,5,2,15,6".encode("utf-16-le"), {}, "but got f\\0i\\0l\\0e\\0"),
    ],
)
def test_an_ambiguous_table_is_refused(read_table, content, options, message):
    """An ambiguous table is refused in one line that says what was found and which option to set."""
    with pytest.raises(SourceError) as caught:
        read_table(content, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": ["image", "xmin"]},
            "columns: expected each of image, label, xmin, xmax, ymin, ymax once, but got ",
        ),
        ({"columns": [*KERAS_RETINANET, "label"]}, "columns: expected each of image, label, "),
        ({"columns": [*KERAS_RETINANET, "tag"]}, "columns: expected some of image, label, .*, but got tag"),
        ({"delimiter": ""}, "delimiter: expected one character, or tab, but got ''"),
        ({"delimiter": ", "}, "delimiter: expected one character, or tab, but got ', '"),
        ({"delimiter": '"'}, "delimiter: expected one character, or tab, but got '\"'"),
    ],
)
def test_an_invalid_option_is_refused(read_table, options, message):
    """An invalid option is an error that names it."""
    with pytest.raises(ConfigError, match=f"^{message}"):
        read_table(f"{HEADER}\na.png,20,10,cat,5,2,15,6", **options)
