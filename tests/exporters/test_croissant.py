"""`mlcroissant`, the released package, accepts the file of the profile `croissant` and reads rows from it."""

import csv
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.exporters.splits import Split, box, build_split
from tfrec_stage import create
from tfrec_stage.exporters.croissant import write_croissant

mlc = pytest.importorskip("mlcroissant", reason="needs mlcroissant")

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # of rdflib 7

RECOMMENDED = (
    "http://mlcommons.org/croissant/citeAs",
    "https://schema.org/datePublished",
    "https://schema.org/license",
)
RECORDS = [box(1, "dog"), box(0, "cat"), box(1, "dog"), {}]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Four images in three shards."""
    return build_split(tmp_path, RECORDS, num_shards=3, profiles=["croissant"])


def open_croissant(split: Split) -> Any:
    return mlc.Dataset(jsonld=split.directory / "metadata.json")


def read(split: Split, record_set: str) -> list[dict[str, Any]]:
    """Rows of a record set as mlcroissant reads them; columns without the name of the set before them."""
    rows = open_croissant(split).records(record_set)
    plain = [{key.partition("/")[2]: value for key, value in row.items()} for row in rows]
    return [{key: value.decode() if isinstance(value, bytes) else value for key, value in row.items()} for row in plain]


def test_the_checker_finds_no_error(split: Split, caplog: pytest.LogCaptureFixture) -> None:
    """The checker has no errors, and warnings only about properties that the owner of the data has to state."""
    issues = open_croissant(split).metadata.ctx.issues
    assert issues.errors == set()
    assert {warning.split('"')[1] for warning in issues.warnings} == set(RECOMMENDED)
    assert "@context" not in caplog.text


def test_files_are_named_with_size_and_digest(split: Split) -> None:
    """Every shard and the index are listed by their relative name, with their size and SHA-256."""
    files = [file for file in open_croissant(split).metadata.distribution if isinstance(file, mlc.FileObject)]
    assert [file.content_url for file in files] == [*(path.name for path in split.shards()), "index.json"]
    for file in files:
        data = (split.directory / file.content_url).read_bytes()
        assert (file.sha256, file.content_size) == (sha256(data).hexdigest(), f"{len(data)} B")


def test_the_pattern_matches_only_shards(split: Split) -> None:
    """The pattern of the set of shards matches no file beside them that has a longer name."""
    (split.directory / f"{split.shards()[0].name}.idx").touch()
    (every,) = (each for each in open_croissant(split).metadata.distribution if isinstance(each, mlc.FileSet))
    assert sorted(path for pattern in every.includes for path in split.directory.glob(pattern)) == split.shards()


def test_every_key_is_described(split: Split) -> None:
    """The fields of `records` are the keys of the records, with their types; lists are arrays."""
    (records,) = (each for each in open_croissant(split).metadata.record_sets if each.id == "records")
    features = next(iter(split.finished().records())).features
    assert {field.source.extract.column for field in records.fields} == set(features)
    is_array = {field.name: bool(field.is_array) for field in records.fields}
    assert (is_array["image/height"], is_array["image/object/bbox/xmin"]) == (False, True)
    kinds = {field.name: str(field.data_types[0]).rpartition("/")[2] for field in records.fields}
    assert [kinds[key] for key in ("image/encoded", "image/id", "image/class/label", "image/object/area")] == [
        "ImageObject",
        "Text",
        "Int64",
        "Float32",
    ]


def test_rows_of_shards_are_those_of_the_index(split: Split) -> None:
    """`shards` gives the name, number of records, size and checksum of each shard, read from index.json."""
    stated = json.loads((split.directory / "index.json").read_text())["shards"]
    kept = ("name", "records", "size_bytes", "crc32c")
    assert read(split, "shards") == [{key: shard[key] for key in kept} for shard in stated]


def test_rows_of_classes_name_their_numbers(split: Split) -> None:
    """`classes` gives the number and name of every class."""
    assert read(split, "classes") == [{"label": 0, "name": "cat"}, {"label": 1, "name": "dog"}]


def test_the_split_is_described(split: Split, tmp_path: Path) -> None:
    """`splits` gives the name of the split, its number of images, and its purpose if the name is a usual one."""
    assert read(split, "splits") == [{"name": "train", "images": 4, "url": "cr:TrainingSplit"}]
    create(
        [{"filename": "0.jpg", "id": 0}], "fold 7", tmp_path / "7", 1, 1, images_root=tmp_path, profiles=["croissant"]
    )
    other = Split(tmp_path / "7")
    assert read(other, "splits") == [{"name": "fold 7", "images": 1}]
    assert read(other, "shards")[0]["name"] == "fold 7-00000-of-00001"


def test_no_label_no_classes(tmp_path: Path) -> None:
    """Without any label there is no record set `classes`; the checker would refuse an empty one."""
    split = build_split(tmp_path, [box(), {}], profiles=["croissant"])
    assert "classes" not in {each.id for each in open_croissant(split).metadata.record_sets}


def test_a_table_of_boxes_can_be_read(split: Split) -> None:
    """If the profile `csv` wrote its table, `boxes` gives its rows."""
    header = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    row = ["0.jpg", 40, 30, "dog", 10.0, 6.5, 30.0, 18.0]
    with (split.directory / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, row])
    write_croissant(split.finished())
    assert open_croissant(split).metadata.ctx.issues.errors == set()
    assert read(split, "boxes") == [dict(zip(header, row, strict=True))]


def test_the_description_is_passed_on(tmp_path: Path) -> None:
    """If `about` states name, licence, creator, date and citation, the checker has no warnings."""
    about = {
        "name": "Birds",
        "description": "Birds in gardens.",
        "license": "https://spdx.org/licenses/CC-BY-4.0.html",
        "url": "https://example.com/birds",
        "citation": "@misc{birds}",
        "creator": "A. Watcher",
        "published": "2025-01-31",
        "version": "2.1.0",
    }
    metadata = open_croissant(build_split(tmp_path, RECORDS, profiles=["croissant"], about=about)).metadata
    assert (metadata.ctx.issues.errors, metadata.ctx.issues.warnings) == (set(), set())
    assert (metadata.name, metadata.description, metadata.license) == ("Birds", "Birds in gardens.", [about["license"]])
    assert (metadata.url, metadata.cite_as, metadata.version) == (about["url"], "@misc{birds}", "2.1.0")
    assert [creator.name for creator in metadata.creators] == ["A. Watcher"]
    assert metadata.date_published.date().isoformat() == "2025-01-31"
