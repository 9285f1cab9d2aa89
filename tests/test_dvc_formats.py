"""DVC runs stages again only after changes of the program that change the bytes."""

import json
from pathlib import Path

import pytest

from tests.workspace import dvc, edit, stage, stages_run

pytestmark = pytest.mark.dvc

SHARDS = ["shards@train", "shards@val", "shards@test"]
SHARD_LINE = "format: 1 # version of the bytes of shards"
MANIFEST_LINE = "format: 1 # version of the bytes of manifests"
MANIFESTS = ["manifest@train", "manifest@val", "manifest@test"]


def raise_version(clone: Path, name: str) -> dict[str, str]:
    """Raise a format version in the clone's program; return the environment variables with which it is run."""
    edit(clone / "src" / "tfrec_stage" / "format_versions.py", f"{name}: Final = 1", f"{name}: Final = 2")
    return {"PYTHONPATH": str(clone / "src")}


def fingerprints(clone: Path) -> set[str]:
    indexes = (clone / "data" / "shards").glob("*/index.json")
    return {shard["fingerprint"] for path in indexes for shard in json.loads(path.read_text())["shards"]}


def test_source_files_run_nothing(clone: Path) -> None:
    """After comments are added to all source files, and a new file, everything is up to date."""
    sources = sorted((clone / "src" / "tfrec_stage").rglob("*.py"))
    for path in sources:
        path.write_text(path.read_text() + "# A word.\n")
    (clone / "src" / "tfrec_stage" / "another.py").write_text("")
    assert len(sources) > 100
    assert "up to date" in dvc("status", directory=clone)


def test_another_format_of_shards(clone: Path) -> None:
    """A new format is used only when params.yaml asks for it; then all shards are built, and none is linked."""
    before, program = fingerprints(clone), raise_version(clone, "SHARD_FORMAT")
    assert stages_run(dvc("repro", directory=clone, **program)) == []
    edit(clone / "params.yaml", SHARD_LINE, SHARD_LINE.replace("1", "2"))
    output = dvc("repro", directory=clone, **program)
    assert stages_run(output) == SHARDS
    assert "train: 200 images in 10 shards (10 built, 0 unchanged)" in output
    assert not before & fingerprints(clone)
    assert json.loads((clone / "data" / "shards" / "val" / "index.json").read_text())["format_version"] == 2


def test_another_format_of_manifests(clone: Path) -> None:
    """Manifests are written again; if their content is the same, no shards stage runs."""
    program = raise_version(clone, "MANIFEST_FORMAT")
    edit(clone / "params.yaml", MANIFEST_LINE, MANIFEST_LINE.replace("1", "2"))
    assert stages_run(dvc("repro", directory=clone, **program)) == MANIFESTS


@pytest.mark.parametrize(
    ("old", "option", "first"),
    [(SHARD_LINE, "encode.format", SHARDS[0]), (MANIFEST_LINE, "importer.format", MANIFESTS[0])],
)
def test_a_format_that_cannot_be_written(clone: Path, old: str, option: str, first: str) -> None:
    """A format that this program does not write ends the stage with one line that says what to do."""
    edit(clone / "params.yaml", old, old.replace("1", "7"))
    output = dvc("repro", directory=clone, expect=None)
    message = (
        f"error: {option}: expected 1, the format that the installed tfrec-stage writes, but got 7; install a version "
        f"that writes it, or set {option} to 1 in params.yaml and build again"
    )
    assert message in output.splitlines()
    assert f"failed to reproduce '{first}'" in output
    overrides = ["stage=manifest"] if option == "importer.format" else []
    assert stage(*overrides, directory=clone, expect=1).stderr == f"{message}\n"


def test_a_project_from_before_formats(clone: Path) -> None:
    """Without formats in params.yaml the current ones are used, and no shard is built again."""
    text = (clone / "params.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("  format: ", "importer:"))]
    (clone / "params.yaml").write_text("\n".join(kept) + "\n")
    assert "(0 built, 10 unchanged)" in stage("dataset=train", directory=clone).stdout
