"""`stage=manifest importer=X` in a user's workspace: annotations → manifest → shards, for every importer."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import ROOT
from tests.workspace import copy_conf, files_below, stage
from tfrec_stage.cli.config import ImporterConfig, StageConfig, StageName
from tfrec_stage.cli.stages import run_manifest
from tfrec_stage.importers import IMPORTERS, ImportedDataset, known_options

VOC_BOX = "<object><name>{}</name><bndbox><xmin>5</xmin><ymin>2</ymin><xmax>15</xmax><ymax>6</ymax></bndbox></object>"
VOC = "<annotation><size><width>20</width><height>10</height></size>{}</annotation>"
TENSORFLOW_CSV = """\
filename,width,height,class,xmin,ymin,xmax,ymax
0.jpg,20,10,cat,5,2,15,6
0.jpg,20,10,dog,0,0,20,10
1.jpg,20,10,cat,5,2,15,6
2.jpg,20,10,,,,,
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """conf/, params.yaml and three images of 20 x 10 pixels in the folder of train."""
    draw(tmp_path, "0.jpg", "1.jpg", "2.jpg")
    return copy_conf(tmp_path)


def draw(workspace: Path, *names: str, folder: str = "data/raw/images/train") -> None:
    for number, name in enumerate(names):
        path = workspace / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (40 * number, 90, 9)).save(path)


def write(workspace: Path, name: str, text: str) -> None:
    path = workspace / "data" / "raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_coco(workspace: Path) -> None:
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 20, "height": 10} for n in range(3)]
    cats = [{"id": 1, "image_id": 0, "category_id": 7, "bbox": [5, 2, 10, 4]}]
    cats += [{"id": 3, "image_id": 1, "category_id": 7, "bbox": [5, 2, 10, 4]}]
    dogs = [{"id": 2, "image_id": 0, "category_id": 9, "bbox": [0, 0, 20, 10]}]
    categories = [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    for name, annotations in (("instances", cats), ("keypoints", dogs)):
        content = {"images": images, "annotations": annotations, "categories": categories}
        write(workspace, f"annotations/{name}_train.json", json.dumps(content))


def write_voc(workspace: Path) -> None:
    whole = VOC_BOX.replace("5", "0", 1).replace("2", "0", 1).replace("15", "20").replace("6", "10")
    for name, boxes in (("0", VOC_BOX.format("cat") + whole.format("dog")), ("1", VOC_BOX.format("cat")), ("2", "")):
        write(workspace, f"annotations/train/{name}.xml", VOC.format(boxes))


def write_yolo(workspace: Path) -> None:
    write(workspace, "data.yaml", "names: [cat, dog]")
    write(workspace, "labels/train/0.txt", "0 0.5 0.4 0.5 0.4\n1 0.5 0.5 1 1\n")
    write(workspace, "labels/train/1.txt", "0 0.5 0.4 0.5 0.4\n")


def write_csv(workspace: Path) -> None:
    write(workspace, "annotations/train.csv", TENSORFLOW_CSV)


def write_image_folder(workspace: Path) -> None:
    images = workspace / "data" / "raw" / "images" / "train"
    for name, kind in (("0.jpg", "cat"), ("1.jpg", "dog"), ("2.jpg", "cat")):
        (images / kind).mkdir(exist_ok=True)
        (images / name).rename(images / kind / name)


def records_of(workspace: Path, split: str = "train") -> list[dict]:
    lines = (workspace / "data" / "manifests" / split / "manifest.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_every_importer_has_its_configuration(name: str) -> None:
    """conf/importer/X.yaml begins with its command, names its importer, and lists exactly the options it knows."""
    text = (ROOT / "conf" / "importer" / f"{name}.yaml").read_text()
    assert text.startswith(f"# python -m tfrec_stage stage=manifest dataset=train importer={name}")
    content = yaml.safe_load(text)
    assert content["name"] == name
    assert set(content.get("options", {})) == set(known_options(name))
    assert content.keys() - {"options"} == {"name", "annotations", "images", "fractions", "group_by", "split_seed"}


@pytest.mark.parametrize(
    ("name", "annotate"),
    [("coco", write_coco), ("voc", write_voc), ("yolo", write_yolo), ("csv", write_csv)],
)
def test_boxes_become_a_manifest_and_shards(workspace: Path, name: str, annotate: Callable[[Path], None]) -> None:
    """Images with two, one and no box give the same pinned records in every format, and shards can be built of them."""
    annotate(workspace)
    done = stage("stage=manifest", f"importer={name}", directory=workspace)
    assert done.stdout == "train: 3 image records with 2 labels in data/manifests/train/manifest.jsonl\n"
    assert done.stderr == ""
    records = records_of(workspace)
    assert [record["filename"] for record in records] == ["train/0.jpg", "train/1.jpg", "train/2.jpg"]
    assert all((record["width"], record["height"], len(record["sha256"])) == (20, 10, 64) for record in records)
    boxes = records[0]["object"]["bbox"]
    edges = {"xmin": [0.25, 0], "xmax": [0.75, 1], "ymin": [0.2, 0], "ymax": [0.6, 1]}
    assert {edge: boxes[edge] for edge in edges} == {edge: pytest.approx(values) for edge, values in edges.items()}
    assert (boxes["label"], boxes["text"]) == ([0, 1], ["cat", "dog"])
    labels = json.loads((workspace / "data" / "manifests" / "train" / "labels.json").read_text())
    assert [(label["label"], label["text"]) for label in labels] == [(0, "cat"), (1, "dog")]
    assert stage("num_shards=2", directory=workspace).stdout.startswith("train: 3 images in 2 shards")
    stats = json.loads((workspace / "data" / "shards" / "train" / "stats.json").read_text())
    assert stats["boxes"] == 3
    assert json.loads((workspace / "data" / "shards" / "train" / "classes.json").read_text()) == [
        {"label": 0, "name": "cat", "images": 2, "boxes": 2},
        {"label": 1, "name": "dog", "images": 1, "boxes": 1},
    ]


def test_folders_become_a_manifest_and_shards(workspace: Path) -> None:
    """Images in folders that are named after their classes give records with these classes, and shards."""
    write_image_folder(workspace)
    done = stage("stage=manifest", "importer=image_folder", directory=workspace)
    assert done.stdout.startswith("train: 3 image records with 2 labels in ")
    assert [(r["id"], r["class"]["text"]) for r in records_of(workspace)] == [
        ("cat/0.jpg", "cat"),
        ("cat/2.jpg", "cat"),
        ("dog/1.jpg", "dog"),
    ]
    stage("num_shards=2", directory=workspace)
    classes = json.loads((workspace / "data" / "shards" / "train" / "classes.json").read_text())
    assert [(each["name"], each["images"]) for each in classes] == [("cat", 2), ("dog", 1)]


@pytest.mark.skipif(importlib.util.find_spec("datumaro") is not None, reason="the optional group is installed")
def test_a_missing_datumaro_is_reported_with_its_installation(workspace: Path) -> None:
    """Without the optional dependencies there is one line with the command that installs them."""
    done = stage("stage=manifest", "importer=datumaro", directory=workspace, expect=1)
    assert done.stderr == "error: importer datumaro: expected `pip install 'tfrec-stage[datumaro]'` to have been run\n"


def test_problems_are_reported_with_file_and_line(workspace: Path) -> None:
    """Invalid entries are reported with their place and left out of the manifest; exit code 3 unless allowed."""
    write_yolo(workspace)
    write(workspace, "labels/train/1.txt", "0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n0 0.5\n")
    write(workspace, "labels/train/lost.txt", "")
    done = stage("stage=manifest", "importer=yolo", directory=workspace, expect=3)
    assert done.stdout.startswith("train: 2 image records with 2 labels in ")
    assert done.stderr.splitlines() == [
        "train: 3 problems beside 2 image records, more than max_failures=0 allows",
        "  data/raw/labels/train/1.txt:2: expected a class number of 0, 1, but got 7",
        "  data/raw/labels/train/1.txt:3: expected a class and 4 numbers, 5 with a confidence, or 3 or more points, "
        "but got 1 numbers; keypoints need `importer.options.kpt_shape`",
        "  data/raw/labels/train/lost.txt: expected an image lost.* in data/raw/images/train, but got none",
    ]
    assert [record["id"] for record in records_of(workspace)] == ["0.jpg", "2.jpg"]
    allowed = stage("stage=manifest", "importer=yolo", "max_failures=60%", directory=workspace)
    assert allowed.stderr.splitlines()[0] == "train: 3 problems beside 2 image records, as max_failures allows"
    stage("stage=manifest", "importer=yolo", "max_failures=59%", directory=workspace, expect=3)


def test_many_problems_are_counted(workspace: Path) -> None:
    """The first twenty problems are printed, and the number of the others."""
    write_yolo(workspace)
    write(workspace, "labels/train/1.txt", "9 0 0 0 0\n" * 1000)
    lines = stage("stage=manifest", "importer=yolo", directory=workspace, expect=3).stderr.splitlines()
    assert lines[0].startswith("train: 1,000 problems beside 2 image records, ")
    assert lines[-1] == "  … and 980 more"
    assert len(lines) == 22


def test_missing_images_fail_in_the_build(workspace: Path) -> None:
    """A missing image is not a problem of the import: its record is written without sha256, and fails in the build."""
    write_csv(workspace)
    (workspace / "data" / "raw" / "images" / "train" / "1.jpg").unlink()
    stage("stage=manifest", "importer=csv", directory=workspace)
    assert ["sha256" in record for record in records_of(workspace)] == [True, False, True]
    done = stage("num_shards=1", directory=workspace, expect=3)
    assert "  image_missing: 1" in done.stderr.splitlines()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["importer.options.nams=[a]"],
            "importer yolo: unknown option 'nams'; did you mean 'names'?",
            id="unknown-option",
        ),
        pytest.param(
            ["importer.options.names=3"],
            "importer yolo: option names: Expected `object | array | null`, got `int`",
            id="option-of-another-type",
        ),
        pytest.param(
            ["importer.fraction=1"],
            "unknown option 'importer.fraction': did you mean 'importer.fractions'?",
            id="unknown-key",
        ),
        pytest.param(
            ["importer.fractions={train: 0.5}"],
            "importer.fractions: expected a sum of 1, but got 0.5: some images would be in no split",
            id="fractions-short-of-one",
        ),
        pytest.param(
            ["importer.fractions={train: x}"],
            "importer.fractions.train: Value 'x' of type 'str' could not be converted to Float",
            id="fraction-of-another-type",
        ),
        pytest.param(
            ["importer.fractions={a: 0.5, b: 0.5}"], "split: expected one of a, b, but got 'train'", id="other-splits"
        ),
        pytest.param(
            ["importer.group_by='('", "importer.fractions={train: 1}"],
            "importer.group_by: expected a regular expression, but got '('",
            id="no-regular-expression",
        ),
        pytest.param(
            ["importer.group_by=clip", "importer.fractions={train: 1}"],
            "group_by: expected 'clip' to match every file name, but got 'train/0.jpg'",
            id="group-that-does-not-match",
        ),
        pytest.param(
            ["importer.name=kitti"], "importer.name: expected one of coco, csv, datumaro, ", id="no-such-importer"
        ),
        pytest.param(
            ["importer.annotations=[nowhere.yaml]"], "nowhere.yaml: expected data.yaml with `names`, but", id="no-file"
        ),
        pytest.param(["importer.images=nowhere"], "expected `images` inside `images_root`, but got", id="outside"),
        pytest.param(["max_failures=1.5"], "max_failures: expected a number or a percentage", id="max-failures"),
    ],
)
def test_wrong_options_are_reported_in_one_line(workspace: Path, overrides: list[str], message: str) -> None:
    """A wrong option of an importer gives one line that names it, exit code 1, and no manifest."""
    write_yolo(workspace)
    before = files_below(workspace)
    done = stage("stage=manifest", "importer=yolo", *overrides, directory=workspace, expect=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert files_below(workspace) == before


class TestSplits:
    """One set of annotations, divided into splits."""

    DIVIDE = (
        "stage=manifest",
        "importer=image_folder",
        "importer.images=data/raw/images/all",
        "importer.fractions={train: 0.5, val: 0.25, test: 0.25}",
    )

    @classmethod
    def divide(cls, workspace: Path, *more: str) -> dict[str, list[str]]:
        """Write the manifests of all splits, and return the ids of each."""
        for split in ("train", "val", "test"):
            stage(*cls.DIVIDE, *more, f"dataset={split}", directory=workspace)
        return {split: [r["id"] for r in records_of(workspace, split)] for split in ("train", "val", "test")}

    @staticmethod
    def draw_clips(workspace: Path, clips: int) -> set[str]:
        names = [f"cat/clip{clip:02d}_{frame}.jpg" for clip in range(clips) for frame in range(3)]
        draw(workspace, *names, folder="data/raw/images/all")
        return set(names)

    def test_every_image_is_in_one_split_and_stays_there(self, workspace: Path) -> None:
        """Each image is in exactly one split, in about the given fractions; new images move no other, labels agree."""
        names = self.draw_clips(workspace, 30)
        before = self.divide(workspace)
        assert sorted(name for ids in before.values() for name in ids) == sorted(names)
        assert 30 <= len(before["train"]) <= 60
        more = self.draw_clips(workspace, 40)
        after = self.divide(workspace)
        assert sum(map(len, after.values())) == len(more)
        assert all(set(before[split]) <= set(after[split]) for split in before)
        labels = [(workspace / "data" / "manifests" / split / "labels.json").read_bytes() for split in before]
        assert labels[0] == labels[1] == labels[2]

    def test_groups_stay_together(self, workspace: Path) -> None:
        """All frames of a clip are in the same split."""
        self.draw_clips(workspace, 20)
        splits = self.divide(workspace, r"importer.group_by='clip\d+'")
        clips = {split: {name.split("_")[0] for name in ids} for split, ids in splits.items()}
        assert sum(map(len, clips.values())) == len(set().union(*clips.values())) == 20


@pytest.mark.parametrize("params", [None, "", "encode: {seed: 1}\n"])
def test_an_import_needs_no_number_of_shards(workspace: Path, params: str | None) -> None:
    """Only a build needs `splits` in params.yaml, and params.yaml itself; an import does not."""
    (workspace / "params.yaml").unlink()
    if params is not None:
        (workspace / "params.yaml").write_text(params)
    write_voc(workspace)
    done = stage("stage=manifest", "importer=voc", directory=workspace)
    assert done.stdout == "train: 3 image records with 2 labels in data/manifests/train/manifest.jsonl\n"
    done = stage("importer=voc", directory=workspace, expect=1)
    assert done.stderr == "error: params.yaml has no splits.train.num_shards; add it there, or give num_shards=N\n"


def test_options_that_are_lists_reach_the_importer(workspace: Path) -> None:
    """`columns` names the columns of a table without a header."""
    write(workspace, "annotations/train.csv", "cat;0.jpg;5,0;2;15;6\n")
    columns = "importer.options.columns=[class,image,xmin,ymin,xmax,ymax]"
    stage("stage=manifest", "importer=csv", columns, directory=workspace)
    assert [each["object"]["bbox"]["xmin"] for each in records_of(workspace)] == [[0.25]]


def test_notes_of_an_importer_are_printed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Counts and warnings of an import are printed, and do not count as problems."""
    read = importlib.import_module(IMPORTERS["image_folder"]).read

    def read_with_notes(*arguments: object) -> ImportedDataset:
        dataset = read(*arguments)
        dataset.notes.warnings.append("two classes are named cat")
        return replace(dataset, records=count_while_iterating(dataset))

    def count_while_iterating(dataset: ImportedDataset) -> Iterator[object]:
        for record in dataset.records:
            dataset.notes.counts["boxes derived from outlines"] += 1
            yield record

    write_image_folder(workspace)
    monkeypatch.setattr(importlib.import_module(IMPORTERS["image_folder"]), "read", read_with_notes)
    config = StageConfig(
        split="train",
        stage=StageName.manifest,
        manifest=str(workspace / "manifest.jsonl"),
        images_root=str(workspace / "data" / "raw" / "images"),
        importer=ImporterConfig(
            "image_folder", [str(workspace / "data/raw/images/train")], str(workspace / "data/raw/images/train")
        ),
    )
    assert run_manifest(config) == 0
    printed = capsys.readouterr()
    assert "  3 boxes derived from outlines\n" in printed.out
    assert "  warning: two classes are named cat\n" in printed.err


@pytest.mark.parametrize(
    ("importer", "annotations", "content", "message"),
    [
        pytest.param("csv", "annotations/train.csv", TENSORFLOW_CSV.splitlines()[0] + "\n", "", id="a header alone"),
        pytest.param(
            "coco", "annotations/none.json", '{"images": [], "annotations": [], "categories": []}', "", id="no image"
        ),
        pytest.param(
            "csv",
            "annotations/train.csv",
            TENSORFLOW_CSV.splitlines()[0] + "\n0.jpg,20,10,cat,5,x,15,6\n",
            "; the first of 1 problems: ",
            id="problems alone",
        ),
    ],
)
def test_an_import_without_records_replaces_nothing(
    workspace: Path, importer: str, annotations: str, content: str, message: str
) -> None:
    """If the annotations give no record, the previous manifest and labels stay, and one line reports it."""
    write_csv(workspace)
    stage("stage=manifest", "importer=csv", directory=workspace)
    before = {path.name: path.read_bytes() for path in (workspace / "data" / "manifests" / "train").iterdir()}
    write(workspace, annotations, content)
    overrides = [f"importer={importer}", f"importer.annotations=[data/raw/{annotations}]"]
    done = stage("stage=manifest", *overrides, directory=workspace, expect=1)
    assert done.stderr.startswith(f"error: expected images, but the annotations give no image record{message}")
    assert {path.name: path.read_bytes() for path in (workspace / "data" / "manifests" / "train").iterdir()} == before
    assert len(before) == 2
