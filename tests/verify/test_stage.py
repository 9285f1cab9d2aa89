"""`stage=verify` and `stage=stats` from the command line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.conftest import make_record, write_manifest
from tests.verify.damage import edit_json, flip
from tests.workspace import copy_conf, files_below, stage
from tfrec_stage.cli import stages
from tfrec_stage.cli.exit_codes import ExitCode
from tfrec_stage.verify.leakage import Overlap


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a directory with conf/, params.yaml, six images, their manifest and three shards."""
    images = tmp_path / "data" / "raw" / "images"
    images.mkdir(parents=True)
    manifest = manifest_of(tmp_path, "train")
    manifest.parent.mkdir(parents=True)
    write_manifest(manifest, [make_record(images, number) for number in range(6)])
    copy_conf(tmp_path)
    stage("dataset=train", "num_shards=3", "progress=false", directory=tmp_path)
    return tmp_path


def manifest_of(workspace: Path, split: str) -> Path:
    """Return the path of the manifest of a split."""
    return workspace / "data" / "manifests" / split / "manifest.jsonl"


def test_a_sound_split(workspace: Path) -> None:
    """A valid split exits with 0, lists the checks, and writes the same report every time, without any path."""
    done = stage("stage=verify", directory=workspace)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("train: 6 records in 3 shards, ")
    assert lines[0].endswith(": sound")
    assert lines[1:] == [
        "  checked: frames, records, images, annotations, ids, index, stats, classes, failures, manifest, contents, "
        "pins, fingerprints, splits",
        "  report: data/verify/train.json",
    ]
    assert done.stderr.splitlines()[-2:] == [
        "  warning: val has no manifest, so it is not compared",
        "  warning: test has no manifest, so it is not compared",
    ]
    report = workspace / "data" / "verify" / "train.json"
    first = report.read_bytes()
    assert str(workspace).encode() not in first
    assert json.loads(first)["sound"] is True
    stage(
        "stage=verify",
        f"output_dir={workspace}/data/shards/train",
        "num_threads=1",
        "progress=false",
        directory=workspace,
    )
    assert report.read_bytes() == first


def test_a_damaged_split(workspace: Path) -> None:
    """A damaged split exits with 4, prints the first findings, and writes all of them to the report."""
    shards = workspace / "data" / "shards" / "train"
    shard = shards / "train-00001-of-00003"
    flip(shard, 300)
    edit_json(shards / "stats.json", lambda stats: stats.update(failed=1))
    done = stage("stage=verify", "progress=false", directory=workspace, expect=ExitCode.FINDINGS)
    assert done.stdout.splitlines()[0].endswith(": 2 findings")
    printed = [line for line in done.stderr.splitlines() if "warning" not in line]
    assert printed[0].startswith(f"  {shard.name} record 0 at byte 0: payload_crc: the content of ")
    assert printed[1].startswith("  failures.jsonl: failures_mismatch: it lists 0 records, but stats.json says that 1 ")
    assert len(printed) == 2
    report = json.loads((workspace / "data" / "verify" / "train.json").read_text())
    assert report["sound"] is False
    assert report["faults"]["by_kind"] == {"failures_mismatch": 1, "payload_crc": 1}
    assert report["faults"]["first"][0] | {"message": ""} == {
        "kind": "payload_crc",
        "file": shard.name,
        "record": 0,
        "offset": 0,
        "message": "",
    }
    assert len(report["lost_ids"]) == 1
    uncounted = "some records cannot be read, so that they cannot be counted"
    assert report["left_out"] == {"stats": uncounted, "classes": uncounted}


def test_shards_with_the_labels_of_another_manifest(workspace: Path) -> None:
    """Shards of other records under the right fingerprints exit with 4, and every record is reported.

    Such shards come from a damaged shard cache. All metadata files are right, so only the contents show it.
    """
    index = workspace / "data" / "shards" / "train" / "index.json"
    right = json.loads(index.read_text())
    records = [json.loads(line) for line in manifest_of(workspace, "train").read_text().splitlines()]
    for record in records:  # each class goes round, so that as many have each label as before
        label = (record["class"]["label"] + 1) % 3
        record["class"] |= {"label": label, "text": f"class {label}"}
    write_manifest(workspace / "other.jsonl", records)
    stage("manifest=other.jsonl", "num_shards=3", "progress=false", "store_dir=null", directory=workspace)

    def fingerprints_of_the_right_manifest(index: dict) -> None:
        for shard, entry in zip(index["shards"], right["shards"], strict=True):
            shard["fingerprint"] = entry["fingerprint"]

    edit_json(index, fingerprints_of_the_right_manifest)
    done = stage("stage=verify", "progress=false", directory=workspace, expect=ExitCode.FINDINGS)
    assert done.stdout.splitlines()[0].endswith(": 6 findings")
    assert "contents, pins, fingerprints" in done.stdout.splitlines()[1]
    printed = [line for line in done.stderr.splitlines() if "warning" not in line]
    at, labels = r"  train-0000\d-of-00003 record \d at byte \d+: manifest_mismatch", {"0": "1", "1": "2", "2": "0"}
    found = [
        re.fullmatch(rf"{at}: id 'id (\d)': image/class/label: expected \[(\d)\], but got \[(\d)\]; (.*)", line)
        for line in printed
    ]
    assert sorted(line[1] for line in found) == list("012345")
    assert [line[3] for line in found] == [labels[line[2]] for line in found]
    assert found[0][4] == f"image/class/text: expected ['class {found[0][2]}'], but got ['class {found[0][3]}']"
    report = json.loads((workspace / "data" / "verify" / "train.json").read_text())
    assert report["faults"]["by_kind"] == {"manifest_mismatch": 6}


def test_nothing_to_verify(workspace: Path) -> None:
    """Without shards, or with a manifest that cannot be read, the exit code is 1 and nothing is written."""
    before = files_below(workspace)
    done = stage("stage=verify", "dataset=val", directory=workspace, expect=1)
    assert done.stderr == (
        "error: expected shards, but there is no file data/shards/val; name a directory of shards, or a pattern\n"
    )
    manifest_of(workspace, "val").parent.mkdir()
    manifest_of(workspace, "val").write_text('{"filename": "a"}\n')
    done = stage("stage=verify", directory=workspace, expect=1)
    assert "line 1: `$` has no `id`, which every record needs" in done.stderr
    assert files_below(workspace) == before | {"data/manifests/val/manifest.jsonl"}


def test_what_splits_share_is_a_warning(
    workspace: Path, tf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """An overlap of splits is a warning with both splits and the file, also in the report; the exit code is 0."""
    done = stages.run_verify(config_of(workspace, monkeypatch), manifests(workspace, "train", "val", "test"))
    printed = capsys.readouterr().err.splitlines()
    assert done == 0
    assert printed[0] == "  warning: test has no manifest, so it is not compared"
    assert printed[1] == "  warning: 1 of 8 records have no sha256: compared by their ids alone"
    assert printed[2] == "  warning: 2 ids or images are in two splits"
    assert printed[3] == f"  warning: {Overlap('id', 'id 0', 'train', 'val', '0000.jpg')}"
    assert json.loads((workspace / "data" / "verify" / "train.json").read_text())["warnings"][:2] == [
        line.removeprefix("  warning: ") for line in printed[:2]
    ]


def manifests(workspace: Path, *splits: str) -> dict[str, Path]:
    """Return manifests by split: val has the first image of train, and one that is not pinned."""
    first = json.loads(manifest_of(workspace, "train").read_text().splitlines()[0])
    manifest_of(workspace, "val").parent.mkdir()
    write_manifest(manifest_of(workspace, "val"), [first, {"filename": "x.jpg", "id": "x"}])
    return {split: manifest_of(workspace, split) for split in splits}


def config_of(workspace: Path, monkeypatch: pytest.MonkeyPatch):
    """Return the configuration of train."""
    from hydra import compose, initialize_config_dir

    from tfrec_stage.cli.config import parse_config, register_schema

    monkeypatch.chdir(workspace)
    register_schema()
    with initialize_config_dir(str(workspace / "conf"), version_base="1.3"):
        return parse_config(compose("config", ["dataset=train", "progress=false"]))


def test_one_manifest_for_all_splits(
    workspace: Path, tf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With one manifest for all splits the comparison is skipped; findings beyond the first are counted."""
    for number in range(3):
        flip(workspace / "data" / "shards" / "train" / f"train-{number:05d}-of-00003", 300)
    monkeypatch.setattr("tfrec_stage.cli.stages.MAX_FINDINGS", 2)
    assert stages.run_verify(config_of(workspace, monkeypatch), {}) == ExitCode.FINDINGS
    printed = capsys.readouterr()
    assert "  skipped: splits: manifest is one file for all splits" in printed.out.splitlines()
    assert printed.err.splitlines()[-1] == "  … and 1 more"


def test_statistics(workspace: Path) -> None:
    """Statistics are printed as tables and written as JSON, equal to those of verify."""
    done = stage("stage=stats", directory=workspace)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("train: 6 images (")
    assert lines[0].endswith(" MB), 12 boxes, 12 parts")
    assert any("bird" in line and "6" in line for line in lines)
    assert lines[-1] == "stored in data/stats/train.json"
    stored = json.loads((workspace / "data" / "stats" / "train.json").read_text())
    assert (stored["images"], stored["boxes"]["count"]) == (6, 12)
    assert stored["missing_labels"] == [3]
    assert "labels that no box has: 3" in lines
    stage("stage=verify", "progress=false", directory=workspace)
    assert json.loads((workspace / "data" / "verify" / "train.json").read_text())["statistics"] == stored


def test_statistics_of_damaged_shards(workspace: Path) -> None:
    """A damaged shard exits with 1 and names the offset."""
    flip(workspace / "data" / "shards" / "train" / "train-00001-of-00003", 300)
    done = stage("stage=stats", directory=workspace, expect=1)
    assert "the payload of the record at byte 0 does not have its CRC32C" in done.stderr
    assert not (workspace / "data" / "stats").exists()


@pytest.mark.parametrize(
    ("importer", "data", "annotations", "images", "records", "boxes"),
    [
        ("coco", "tiny_coco", ["instances_train2017.json", "person_keypoints_train2017.json"], "train2017", 50, 470),
        ("voc", "raccoon_voc", [""], "images", 200, 217),
    ],
)
def test_real_data_is_sound(
    shared_data: Callable[[str], Path],
    tmp_path: Path,
    importer: str,
    data: str,
    annotations: list[str],
    images: str,
    records: int,
    boxes: int,
) -> None:
    """Real datasets, imported and built from the command line, pass every check."""
    root = shared_data(data)
    copy_conf(tmp_path)
    files = ",".join(str(root / "annotations" / name) for name in annotations)
    common = [f"importer={importer}", f"images_root={root}", "progress=false", "num_shards=3"]
    stage(
        "stage=manifest",
        *common,
        f"importer.annotations=[{files}]",
        f"importer.images={root / images}",
        directory=tmp_path,
    )
    stage(*common, directory=tmp_path)
    stage("stage=verify", *common, directory=tmp_path)
    report = json.loads((tmp_path / "data" / "verify" / "train.json").read_text())
    assert (report["sound"], report["left_out"]) == (True, {})
    assert (report["counts"]["records"], report["statistics"]["boxes"]["count"]) == (records, boxes)


def test_neither_verify_nor_stats_needs_a_number_of_shards(workspace: Path) -> None:
    """Both stages read existing shards, so `num_shards` may be missing in params.yaml."""
    (workspace / "params.yaml").unlink()
    assert stage("stage=verify", directory=workspace).stdout.startswith("train: 6 records in 3 shards, ")
    assert stage("stage=stats", directory=workspace).stdout.startswith("train: 6 images ")
