"""DVC tracks exactly the options that decide the bytes, and its paths are those that Hydra composes."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import ROOT
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.cli.config import StageConfig, register_schema
from tfrec_stage.engine import EngineOptions
from tfrec_stage.format_versions import MANIFEST_FORMAT, SHARD_FORMAT

SPLITS = ("train", "val", "test")
RUNTIME = {*(option.name for option in fields(EngineOptions)), "progress", "max_failures", "store_dir"}
RUNTIME |= {"verify_file", "stats_file", "clean"}
PER_STAGE = {"stage", "split", "importer", "encode", "annotations", "splits"}
"""Keys that DVC tracks in the command, conf/dataset, conf/importer or params.yaml, not in conf/config.yaml."""


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def composed(split: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the resolved configuration of a split."""
    monkeypatch.chdir(ROOT)
    register_schema()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(compose("config", [f"dataset={split}"]), resolve=True, enum_to_str=True)


def tracked(stage: str) -> dict[str, Any]:
    """Return the parameters of a stage by file: a list of keys, or None for the whole file."""
    by_file: dict[str, Any] = {"params.yaml": []}
    for entry in load("dvc.yaml")["stages"][stage]["params"]:
        if isinstance(entry, str):
            by_file["params.yaml"].append(entry)
        else:
            by_file |= entry
    return by_file


def paths(stage: str, key: str, split: str) -> set[str]:
    """Return the dependencies or outputs of a stage for one split."""
    return {path.replace("${item.split}", split) for path in load("dvc.yaml")["stages"][stage][key]}


def test_output_options_are_tracked() -> None:
    """params.yaml has exactly the output options and formats; the shards stage tracks each group as a whole."""
    params = load("params.yaml")
    groups = {group.name: group.default_factory for group in fields(OutputOptions)}
    for name, options in groups.items():
        assert set(params[name]) == {option.name for option in fields(options)}
    assert set(tracked("shards")["params.yaml"]) == {*groups, "splits.${item.split}"}
    assert set(params) == {*groups, "importer", "splits"}
    assert set(params["importer"]) == {"format"}


def test_params_are_the_defaults() -> None:
    """params.yaml repeats the defaults of the code, so that `create` and a fresh clone give the same bytes."""
    schema = OmegaConf.to_container(OmegaConf.structured(OutputOptions), enum_to_str=True)
    assert {group: load("params.yaml")[group] for group in schema} == schema


def test_no_runtime_option_is_tracked() -> None:
    """Runtime options are in no file and under no key that DVC tracks."""
    for stage in ("manifest", "shards"):
        assert not RUNTIME & set(tracked(stage)["conf/config.yaml"])
    assert not RUNTIME & set(load("params.yaml"))


def test_every_other_key_of_the_configuration_is_tracked() -> None:
    """Keys that are neither runtime options nor tracked elsewhere are tracked in conf/config.yaml."""
    keys = {option.name for option in fields(StageConfig)} - RUNTIME - PER_STAGE
    assert keys == {key for stage in ("manifest", "shards") for key in tracked(stage)["conf/config.yaml"]} - {
        "defaults"
    }


def test_params_are_plain_data() -> None:
    """params.yaml has no interpolations, and whole numbers as numbers of shards."""
    text = (ROOT / "params.yaml").read_text().replace("no ${}", "")
    assert "${" not in text
    assert set(load("params.yaml")["splits"]) == set(SPLITS)
    assert all(type(split["num_shards"]) is int for split in load("params.yaml")["splits"].values())


@pytest.mark.parametrize("split", SPLITS)
def test_paths_agree(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths that Hydra composes are the dependencies and outputs in dvc.yaml."""
    config = composed(split, monkeypatch)
    assert config["split"] == split
    assert config["num_shards"] == load("params.yaml")["splits"][split]["num_shards"]
    assert paths("shards", "outs", split) == {config["output_dir"]}
    assert config["manifest"] in paths("shards", "deps", split)
    assert paths("manifest", "outs", split) == {
        config["manifest"],
        str(Path(config["manifest"]).with_name("labels.json")),
    }
    inputs = {path for path in paths("manifest", "deps", split) if path.startswith("data/")}
    assert inputs == {*config["importer"]["annotations"], config["importer"]["images"]}
    assert f"{config['output_dir']}/stats.json" in load("dvc.yaml")["metrics"]
    assert f"{config['output_dir']}/classes.json" in {path for plot in load("dvc.yaml")["plots"] for path in plot}


def test_no_source_file_is_a_dependency() -> None:
    """dvc.yaml depends on format versions instead of source files, which users of the installed package do not have."""
    stages = load("dvc.yaml")["stages"]
    named = {path for stage in stages.values() for path in stage["deps"] if not path.startswith("data/")}
    assert named == {"demo/draw.py"}


def test_formats_are_tracked() -> None:
    """params.yaml has the versions that the program writes, in groups that the stages track as a whole."""
    params = load("params.yaml")
    assert (params["encode"]["format"], params["importer"]["format"]) == (SHARD_FORMAT, MANIFEST_FORMAT)
    assert "encode" in tracked("shards")["params.yaml"]
    assert "importer" in tracked("manifest")["params.yaml"]
