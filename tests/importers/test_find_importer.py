import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import GeneratorType

import pytest

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers import IMPORTERS, SplitOptions, find_importer
from tfrec_stage.records import ImageRecord


@pytest.fixture
def coco_file(tmp_path, draw):
    """Write annotations of three images without objects; the third image is missing."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(3)]
    for name in ("0.png", "1.png"):
        draw(name)
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}))
    return path


def test_records_are_pinned(coco_file, tmp_path):
    """Records have the hash of their image; a missing image still becomes a record, for the build to report."""
    dataset = find_importer("coco")((coco_file,), tmp_path, tmp_path)
    assert dataset.labels == (Label(0, "cat", 1),)
    assert [bool(each.sha256) for each in dataset.records] == [True, True, False]


def test_records_are_streamed(coco_file, tmp_path, draw):
    """An image is read when its record is requested, not before."""
    records = find_importer("coco")((coco_file,), tmp_path, tmp_path).records
    assert isinstance(records, GeneratorType)
    next(records)
    (tmp_path / "1.png").unlink()
    assert next(records).sha256 is None


def test_reading_twice_gives_the_same(coco_file, tmp_path):
    """The same annotations give the same records in the same order."""
    first, second = (list(find_importer("coco")((coco_file,), tmp_path, tmp_path).records) for _ in range(2))
    assert first == second


def test_one_split_is_kept(coco_file, tmp_path):
    """With `keep`, each image is in exactly one split."""
    options = SplitOptions({"train": 0.5, "val": 0.5})
    kept = {
        split: [
            each.id
            for each in find_importer("coco", keep=partial(options.belongs_to, split))(
                (coco_file,), tmp_path, tmp_path
            ).records
            if isinstance(each, ImageRecord)
        ]
        for split in options.fractions
    }
    assert sorted(kept["train"] + kept["val"]) == ["0", "1", "2"]


def test_problems_are_in_every_split(coco_file, tmp_path):
    """`keep` never removes problems."""
    (tmp_path / "0.png").write_bytes(b"")
    content = json.loads(coco_file.read_bytes())
    content["annotations"] = [{"id": 1, "image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]}]
    coco_file.write_text(json.dumps(content))
    records = find_importer("coco", keep=lambda _: False)((coco_file,), tmp_path, tmp_path).records
    assert [each.message for each in records] == ["annotations[0] (id 1): image 9 is not in `images`"]


@pytest.mark.parametrize(
    ("name", "annotations", "options", "warnings"),
    [
        ("yolo", (), {"names": ["cat", "dog"]}, []),
        (
            "yolo",
            (),
            {"names": ["cat", "cat", ""]},
            ["2 categories have the name 'cat', and become 2 classes: ids 0, 1", "category 2 has no name"],
        ),
        (
            "yolo",
            (),
            {"names": {4: "background", 7: "dog"}},
            ["category 4 ('background') becomes class 0; remove it from the categories unless that is intended"],
        ),
        (
            "csv",
            ("boxes.csv",),
            {},
            ["category '__background__' becomes class 0; remove it from the categories unless that is intended"],
        ),
        (
            "csv",
            ("boxes.csv",),
            {"class_names": "texts.csv"},
            ["2 categories have the name 'cat', and become 2 classes: ids '/m/0', '__background__'"],
        ),
        (
            "image_folder",
            (),
            {},
            ["category 'Background' becomes class 0; remove it from the categories unless that is intended"],
        ),
    ],
)
def test_class_names_that_look_wrong_are_warned_of(
    tmp_path, draw, monkeypatch, *, name, annotations, options, warnings
):
    """In every format, a name of two classes, an empty name and a background as class 0 are warned of."""
    monkeypatch.chdir(tmp_path)
    draw("images/Background/0.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "boxes.csv").write_text("0.png,5,2,15,6,__background__")
    (tmp_path / "texts.csv").write_text("/m/0,cat\n__background__,cat")
    dataset = find_importer(name, options)(tuple(map(Path, annotations)), Path("images"), Path())
    assert dataset.notes.warnings == warnings


def test_an_unknown_importer_is_refused():
    """An unknown importer is an error that names the known ones."""
    with pytest.raises(ConfigError, match=r"importer: expected one of coco, .*, but got 'cocoa'"):
        find_importer("cocoa")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nams": ["cat"]}, "importer yolo: unknown option 'nams'; did you mean 'names'"),
        ({"colour": 1}, "importer yolo: unknown option 'colour'; known options: "),
        ({"names": 3}, "importer yolo: option names: Expected `object | array | null`, got `int`"),
    ],
)
def test_wrong_options_are_refused(options, message):
    """An option that is unknown or has the wrong type is an error that names it."""
    with pytest.raises(ConfigError) as error:
        find_importer("yolo", options)
    assert message in str(error.value)


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_every_importer_is_found(name):
    """Every name in `IMPORTERS` gives a callable."""
    assert callable(find_importer(name))


@pytest.mark.parametrize("name", ["coco", "csv", "datumaro", "voc"])
def test_annotations_are_expected(tmp_path, name):
    """An empty list of annotations is an error, not an empty data set."""
    with pytest.raises(SourceError, match="in `annotations`, but got"):
        find_importer(name)((), tmp_path, tmp_path)


def test_importers_are_imported_late():
    """Importing the package imports no importer, which keeps the command line fast."""
    code = "import sys, tfrec_stage.importers; print([m for m in sys.modules if m.endswith(('coco', 'voc'))])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
