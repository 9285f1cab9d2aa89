"""The verify stage of docs/ci.md works in a temporary clone."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.workspace import dvc, edit, run, stages_run

pytestmark = pytest.mark.dvc


def documented_stage() -> str:
    """Return the block of docs/ci.md."""
    (block,) = re.findall(r"```yaml\n(  verify:.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    return block


def test_verify_as_a_stage(clone: Path) -> None:
    """The stage is cached, runs again if a shard changes, and fails on damage with its report written."""
    edit(clone / "dvc.yaml", "\nmetrics:\n", f"\n{documented_stage()}\nmetrics:\n")
    assert set(yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]["verify"]) >= {"deps", "outs"}
    assert stages_run(dvc("repro", "verify@train", directory=clone)) == ["verify@train"]
    report = clone / "data" / "verify" / "train.json"
    first = report.read_bytes()
    assert json.loads(first)["sound"] is True
    assert json.loads(first)["left_out"] == {}
    assert stages_run(dvc("repro", "verify@train", directory=clone)) == []
    edit(clone / "params.yaml", "num_shards: 10", "num_shards: 5")
    assert stages_run(dvc("repro", "verify@train", directory=clone)) == ["shards@train", "verify@train"]
    assert json.loads(report.read_bytes())["counts"]["shards"] == 5
    edit(clone / "params.yaml", "num_shards: 5", "num_shards: 10")
    output = dvc("repro", "verify@train", directory=clone)
    assert (stages_run(output), report.read_bytes()) == ([], first)
    assert run(["git", "status", "--porcelain", "data"], clone).stdout == ""
    shard = clone / "data" / "shards" / "train" / "train-00000-of-00010"
    content = bytearray(shard.read_bytes())
    shard.unlink()
    content[200] ^= 1
    shard.write_bytes(content)
    assert "payload_crc" in dvc("repro", "--single-item", "verify@train", directory=clone, expect=255)
    assert json.loads(report.read_bytes())["faults"]["total"] == 1
