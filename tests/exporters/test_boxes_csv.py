"""The profile `csv`: a table of boxes, read by Python, TensorFlow, pandas and our own importer."""

import csv
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import encode_noise
from tests.exporters.splits import Split, box, build_split
from tests.exporters.truth import TrueImage, build_coco, build_voc, read_coco, read_voc
from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.dataset_info import read_labels
from tfrec_stage.exporters.boxes_csv import COLUMNS
from tfrec_stage.importers import find_importer
from tfrec_stage.importers.import_stage import import_dataset
from tfrec_stage.manifest import open_manifest

SharedData = Callable[[str], Path]
SHARED = ("tiny_coco", "raccoon_voc")


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of the table, read by Python's own reader."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def build_real(name: str, root: Path, directory: Path) -> tuple[Path, dict[str, TrueImage]]:
    """Directory of a real dataset's shards, and its annotations by the names of image files in the shards."""
    if name == "tiny_coco":
        built, truth = build_coco(root, directory, profiles=["csv"]), read_coco(root, "train")
    else:
        built, truth = build_voc(root, directory, profiles=["csv"]), read_voc(root)
    return built, {str(image.path.relative_to(root)): image for image in truth.values()}


def check_rows(table: list[dict[str, Any]], truth: dict[str, TrueImage]) -> None:
    """Assert that the rows are the annotations: every box once, in pixels."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in truth}
    for row in table:
        found[row["filename"]].append(row)
    assert table
    for name, true in truth.items():
        assert {(int(row["width"]), int(row["height"])) for row in found[name]} <= {(true.width, true.height)}
        assert [row["class"] for row in found[name]] == [each.name for each in true.objects]
        for row, each in zip(found[name], true.objects, strict=True):
            assert [float(row[edge]) for edge in ("ymin", "xmin", "ymax", "xmax")] == pytest.approx(each.box, abs=0.01)


class TestTable:
    """The text of the file."""

    def test_its_text(self, tmp_path: Path) -> None:
        """There is a header and one row per box, in pixels with as few digits as needed; no row without a box."""
        records = [box(0, "cat"), {}, box(1, "dog", xmin=0.1, ymax=1 / 3)]
        split = build_split(tmp_path, records, profiles=["csv"], shuffle=False)
        assert (split.directory / "train.csv").read_bytes() == (
            b"filename,width,height,class,xmin,ymin,xmax,ymax\n0.jpg,40,30,cat,10,6,30,18\n2.jpg,40,30,dog,4,6,30,10\n"
        )

    def test_any_text_is_read_back(self, tmp_path: Path) -> None:
        """Names with commas, quotes, line breaks and any letters are read back unchanged."""
        names = ["a,b", 'a "b"', "line\nbreak", "Größe 🦝"]
        split = build_split(tmp_path, [box(number, name) for number, name in enumerate(names)], profiles=["csv"])
        assert sorted(row["class"] for row in rows(split.directory / "train.csv")) == sorted(names)

    def test_names_of_files_are_unchanged(self, tmp_path: Path) -> None:
        """The name of a file has the same bytes as in the record, even if they are not UTF-8."""
        for name in (b"a,b.jpg", b"\xff.jpg"):
            Path(bytes(tmp_path).decode(), name.decode(errors="surrogateescape")).write_bytes(encode_noise(1))
        records = [box(0) | {"filename": "a,b.jpg"}, box(0) | {"filename": "\udcff.jpg"}]
        split = build_split(tmp_path, records, profiles=["csv"], shuffle=False)
        assert (split.directory / "train.csv").read_bytes().splitlines()[1:] == [
            b'"a,b.jpg",40,30,0,10,6,30,18',
            b"\xff.jpg,40,30,0,10,6,30,18",
        ]

    def test_where_the_class_comes_from(self, tmp_path: Path) -> None:
        """The class is the given name of the label, else the box's text, else the label, else `object`."""
        split = build_split(
            tmp_path,
            [box(0, "hound"), box(1, "owl"), box(2), box(None, "fox"), box()],
            1,
            profiles=["csv"],
            labels=["dog"],
            shuffle=False,
        )
        assert [row["class"] for row in rows(split.directory / "train.csv")] == ["dog", "owl", "2", "fox", "object"]

    def test_labels_without_boxes_have_no_row(self, tmp_path: Path) -> None:
        """Objects with a label but without a box have no row."""
        record = {"object": {"count": 1, "bbox": {"label": [1]}}}
        split = build_split(tmp_path, [record], profiles=["csv"])
        assert rows(split.directory / "train.csv") == []

    @pytest.mark.parametrize("edge", [0.0, 1.0, 1 / 3, 1e-7, 1e-30, 0.1234567, 0.99999994])
    def test_every_edge_is_read_back_exactly(self, tmp_path: Path, edge: float) -> None:
        """An edge in pixels divided by the size gives exactly the number in the shard, to the last bit."""
        split = build_split(tmp_path, [box(0, xmin=edge)], 1, profiles=["csv"], degenerate_boxes="keep")
        (record,) = split.finished().records()
        (row,) = rows(split.directory / "train.csv")
        again = struct.unpack("<f", struct.pack("<f", float(row["xmin"]) / 40))[0]
        assert record.features["image/object/bbox/xmin"].values == [again]


@pytest.mark.parametrize("name", SHARED)
def test_python_reads_it(shared_data: SharedData, tmp_path: Path, name: str) -> None:
    """The table has every box of a real dataset, to a hundredth of a pixel."""
    directory, truth = build_real(name, shared_data(name), tmp_path)
    check_rows(rows(directory / "train.csv"), truth)


def test_whole_pixels_stay_whole(shared_data: SharedData, tmp_path: Path) -> None:
    """Boxes annotated in whole pixels, as in VOC, are written as whole numbers."""
    directory, _ = build_real("raccoon_voc", shared_data("raccoon_voc"), tmp_path)
    edges = [row[edge] for row in rows(directory / "train.csv") for edge in ("xmin", "ymin", "xmax", "ymax")]
    assert len(edges) == 4 * 217
    assert all(edge.isdigit() for edge in edges)


@pytest.mark.parametrize("name", SHARED)
def test_our_importer_gives_the_same_boxes(shared_data: SharedData, tmp_path: Path, name: str) -> None:
    """A split built from the table with `importer=csv` has the same boxes, bit for bit, and the same classes."""
    root = shared_data(name)
    directory, truth = build_real(name, root, tmp_path)
    names = [label.text for label in read_labels(tmp_path / "labels.json")]
    dataset = find_importer("csv", {"names": names})((directory / "train.csv",), root, root)
    imported = import_dataset(dataset, tmp_path / "again" / "manifest.jsonl")
    assert (imported.records, imported.problems) == (sum(bool(each.objects) for each in truth.values()), ())
    request = BuildRequest("train", tmp_path / "again" / "out", 2, images_root=root)
    assert not len(build(open_manifest(tmp_path / "again" / "manifest.jsonl"), request).failures)
    keys = [f"image/object/bbox/{key}" for key in ("xmin", "xmax", "ymin", "ymax", "label", "text")]
    before, after = (
        {
            record.features["image/filename"].values[0]: [record.features[key].values for key in keys]
            for record in Split(place).finished().records()
            if record.features["image/object/bbox/xmin"].values
        }
        for place in (directory, tmp_path / "again" / "out")
    )
    assert before == after


@pytest.mark.parametrize("name", SHARED)
def test_tensorflow_reads_it(tf, shared_data: SharedData, tmp_path: Path, name: str) -> None:
    """TensorFlow's `make_csv_dataset` reads every row, with edges as numbers."""
    directory, truth = build_real(name, shared_data(name), tmp_path)
    defaults = [tf.string, tf.int64, tf.int64, tf.string, *[tf.float32] * 4]
    dataset = tf.data.experimental.make_csv_dataset(
        str(directory / "train.csv"), batch_size=1, num_epochs=1, shuffle=False, column_defaults=defaults
    )
    table = [
        {key: value[0].decode() if value.dtype == object else value[0] for key, value in row.items()}
        for row in dataset.as_numpy_iterator()
    ]
    assert tuple(table[0]) == COLUMNS
    check_rows(table, truth)


def test_tensorflow_infers_the_types(tf, tmp_path: Path) -> None:
    """Without column types, `make_csv_dataset` infers numbers for sizes and edges, and reads quoted names."""
    split = build_split(tmp_path, [box(0, 'a "b", c')], profiles=["csv"])
    dataset = tf.data.experimental.make_csv_dataset(str(split.directory / "train.csv"), 1, num_epochs=1, shuffle=False)
    (row,) = dataset.as_numpy_iterator()
    assert [row[key].tolist()[0] for key in COLUMNS] == [b"0.jpg", 40, 30, b'a "b", c', 10, 6, 30, 18]


@pytest.mark.parametrize("name", SHARED)
def test_pandas_reads_it(shared_data: SharedData, tmp_path: Path, name: str) -> None:
    """Pandas reads every row; rows are grouped by file, as the community's scripts do."""
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    directory, truth = build_real(name, shared_data(name), tmp_path)
    table = pandas.read_csv(directory / "train.csv")
    assert tuple(table.columns) == COLUMNS
    assert not table.isna().any().any()
    grouped = [row for _, group in table.groupby("filename") for row in group.to_dict("records")]
    check_rows(grouped, truth)


def test_without_labels_a_row_has_the_text_of_its_box(tmp_path: Path) -> None:
    """Without `labels` each row has the text of its own box, whatever texts other boxes of that label have."""
    records = [box(0, "cat"), box(0, "dog"), box(0, "dog") | {"class": {"label": 0, "text": "indoor"}}, box(3)]
    split = build_split(tmp_path, records, 1, profiles=["csv"], shuffle=False)
    assert [row["class"] for row in rows(split.directory / "train.csv")] == ["cat", "dog", "dog", "3"]


@pytest.mark.parametrize("text", ["a\rb", "a\nb", 'a"b', "a,b"])
def test_special_characters_are_quoted(tmp_path: Path, text: str) -> None:
    """Both kinds of line breaks, quotes and commas are quoted and read back, on every version of Python."""
    split = build_split(tmp_path, [box(0, text)], 1, profiles=["csv"])
    assert [row["class"] for row in rows(split.directory / "train.csv")] == [text]
    quoted = text.replace('"', '""')
    assert f'"{quoted}"'.encode() in (split.directory / "train.csv").read_bytes()
