"""Every option refuses invalid values: in its dataclass, in `create` and on the command line."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.conftest import ROOT
from tfrec_stage import create
from tfrec_stage.annotations.policy import AnnotationPolicy
from tfrec_stage.build.options import CompressionOptions, EncodeOptions, OutputOptions
from tfrec_stage.build.placement import PlacementOptions
from tfrec_stage.cli.config import (
    CleanConfig,
    ImporterConfig,
    SplitConfig,
    StageConfig,
    parse_config,
    register_schema,
)
from tfrec_stage.cli.hydra_errors import explain
from tfrec_stage.dataset_info import About
from tfrec_stage.engine import EngineOptions
from tfrec_stage.errors import ConfigError
from tfrec_stage.format_versions import MANIFEST_FORMAT, SHARD_FORMAT
from tfrec_stage.images.policy import ImagePolicy
from tfrec_stage.schema.options import Profile, SchemaOptions

NAN = float("nan")
HUGE = 10**30
MANY_DIGITS = 10**5000  # more digits than Python converts to text


@dataclass(frozen=True)
class InPython:
    """A value that only Python refuses: OmegaConf converts it, for example a number to text or 1 to true."""

    value: Any


WORDS = [InPython(3), ["a"], None, InPython(NAN)]
TRUTHS = ["perhaps", InPython(1), NAN, None, [True]]
NUMBERS = ["many", True, NAN, 1.5, None, -1, HUGE, MANY_DIGITS, [1]]
CHOICES = ["magic", "", 1, True, NAN, ["error"]]
PATHS = ["", "a\0b", None, ["a"], InPython(3)]

GROUPS = [3, "all", ["a"], None]

BAD_ENGINE = {"num_threads": [*NUMBERS, 0, 1025], "engine": CHOICES}
BAD: dict[type, dict[str, list[Any]]] = {
    EncodeOptions: {
        "seed": NUMBERS,
        "shuffle": TRUTHS,
        "verify": CHOICES,
        "jpeg_quality": [*NUMBERS, 0, 101],
        "background": [
            [],
            [0, 0],
            [0, 0, 0, 0],
            [0, 0, 256],
            [0, 0, -1],
            [True, 0, 0],
            [0, 0, NAN],
            "white",
            None,
            255,
        ],
        "store_images": TRUTHS,
        "area": CHOICES,
        "od_api_keys": TRUTHS,
        "compression": CHOICES,
        "profiles": [["magic"], "tfds", None, [1], ["tfds", "csv", "tfds"], [Profile.csv, Profile.csv], [["tfds"]]],
        "format": [*NUMBERS, 0, SHARD_FORMAT + 1],
    },
    AnnotationPolicy: {"out_of_range": CHOICES, "degenerate_boxes": CHOICES, "duplicate_boxes": CHOICES},
    EngineOptions: BAD_ENGINE,
    About: {
        **{name: [*WORDS, "\udcff"] for name in ("name", "description", "license", "url", "citation", "creator")},
        "published": [*WORDS, "yesterday", "2025-02-30", "20250131"],
        "version": [*WORDS, "", "2", "1.0.0.0", "1.0.x"],
    },
    CleanConfig: {"dry_run": TRUTHS},
    SplitConfig: {"num_shards": [*NUMBERS, 0, 100_000]},
    ImporterConfig: {
        "name": ["kitti", "", None, ["coco"], InPython(1)],
        "annotations": ["a.json", [""], ["a\0b"], None, [None]],
        "images": PATHS,
        "options": [["names"], "names", None, 1],
        "fractions": [
            {"train": 0.9},
            {"train": 1.5, "val": -0.5},
            {"train": NAN},
            {"train": True},
            {"train": "half"},
            [1.0],
            None,
        ],
        "group_by": ["(", ["a"], InPython(3)],
        "split_seed": NUMBERS,
        "format": [*NUMBERS, 0, MANIFEST_FORMAT + 1],
    },
    StageConfig: {
        "split": ["", "a/b", "a\\b", "a\0b", "\udcff", None, ["train"], InPython(3)],
        "stage": CHOICES,
        "num_shards": [*NUMBERS, 0, 100_000],
        **dict.fromkeys(("manifest", "labels", "output_dir", "verify_file", "stats_file"), PATHS),
        "images_root": [path for path in PATHS if path],
        "store_dir": [path for path in PATHS if path is not None],
        **BAD_ENGINE,
        "progress": TRUTHS,
        "max_failures": ["", "-1", "-1%", "1.5", "nan%", "inf", "101%", "9" * 5000, NAN, True, None, InPython(1)],
        **dict.fromkeys(("about", "clean", "importer", "encode", "annotations"), GROUPS),
        "splits": [3, ["train"], None],
    },
}
"""Values that each option of each class refuses."""

KEYS = {EncodeOptions: "encode.", AnnotationPolicy: "annotations.", About: "about.", ImporterConfig: "importer."}
KEYS |= {CleanConfig: "clean.", EngineOptions: "", StageConfig: "", SplitConfig: "splits.train."}
"""Prefix of the options of each class on the command line."""

ARGUMENTS = {"split": "dataset_name", "output_dir": "output_directory"}
ARGUMENTS |= {name: name for name in ("num_shards", "images_root", "store_dir", "num_threads", "engine")}
"""Names of options of `StageConfig` in `create`."""


def cases() -> Iterator[Any]:
    """Yield class, name of the option, and a value that it refuses."""
    for kind, options in BAD.items():
        for name, values in options.items():
            for number, value in enumerate(values):
                yield pytest.param(kind, name, value, id=f"{kind.__name__}-{name}-{number}")


def raw(value: Any) -> Any:
    return value.value if isinstance(value, InPython) else value


def refuses(name: str) -> Any:
    """Expect an error of one line that names the option."""
    return pytest.raises(ConfigError, match=rf"\A[^\n]*\b{name}\b[^\n]*: [^\n]*\Z")


@pytest.mark.parametrize("kind", BAD)
def test_every_option_is_in_the_table(kind: type) -> None:
    """Each option, also a new one, has invalid values in the table above."""
    assert {name: bool(values) for name, values in BAD[kind].items()} == {option.name: True for option in fields(kind)}


@pytest.mark.parametrize(("kind", "name", "value"), list(cases()))
def test_the_dataclass_refuses(kind: type, name: str, value: Any) -> None:
    """The class itself refuses the value, however it was created."""
    with refuses(name):
        kind(**{name: raw(value)})


@pytest.mark.parametrize("group", [CompressionOptions, PlacementOptions, ImagePolicy, SchemaOptions])
def test_the_bases_of_encode_options_refuse(group: type) -> None:
    """Each class that EncodeOptions is composed of refuses the same values if it is used alone."""
    for option in fields(group):
        for value in BAD[EncodeOptions][option.name]:
            with refuses(option.name):
                group(**{option.name: raw(value)})


def of_create() -> Iterator[Any]:
    """Return the cases whose options are arguments of `create`."""
    for case in cases():
        kind, name, _ = case.values
        if kind in {EncodeOptions, AnnotationPolicy, About, EngineOptions} or (
            kind is StageConfig and name in ARGUMENTS
        ):
            yield case


@pytest.mark.parametrize(("kind", "name", "value"), list(of_create()))
def test_create_refuses(kind: type, name: str, value: Any, tmp_path: Path) -> None:
    """`create` raises before it writes anything."""
    arguments = {"dataset_name": "train", "output_directory": tmp_path / "out", "num_shards": 1, "num_threads": 1}
    given = {"about": {name: raw(value)}} if kind is About else {ARGUMENTS.get(name, name): raw(value)}
    with refuses("name" if name == "split" else ARGUMENTS.get(name, name)):
        create([], **arguments | given)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    """The configuration that Hydra composes from the project's conf/ and params.yaml."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        register_schema()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("config", ["dataset=train"])


def of_the_command_line() -> Iterator[Any]:
    """Return the cases that can be written in a file or on the command line."""
    return (case for case in cases() if not isinstance(case.values[2], InPython))


@pytest.mark.parametrize(("kind", "name", "value"), list(of_the_command_line()))
def test_the_configuration_refuses(kind: type, name: str, value: Any, composed: DictConfig) -> None:
    """On the command line or in a file, the value is refused with its key."""
    config = deepcopy(composed)
    with refuses(name):
        set_option(config, f"{KEYS[kind]}{name}", value)
        parse_config(config)


def set_option(config: DictConfig, key: str, value: Any) -> None:
    try:
        OmegaConf.update(config, key, value, merge=False)
    except OmegaConfBaseException as error:  # Hydra raises it as well
        raise ConfigError(explain(error, StageConfig)) from error


def test_the_configuration_is_valid(composed: DictConfig) -> None:
    """Without any of these values nothing is refused, and the output options are the defaults."""
    assert parse_config(composed).output_options == OutputOptions()


def test_another_format_names_both(composed: DictConfig) -> None:
    """The message names the format that is written, the one that was given, and what to do."""
    config = deepcopy(composed)
    config.encode.format = 7
    with pytest.raises(ConfigError) as raised:
        parse_config(config)
    assert str(raised.value) == (
        f"encode.format: expected {SHARD_FORMAT}, the format that the installed tfrec-stage writes, but got 7; install "
        f"a version that writes it, or set encode.format to {SHARD_FORMAT} in params.yaml and build again"
    )
