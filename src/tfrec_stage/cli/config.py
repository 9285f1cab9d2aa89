"""What Hydra composes: the schema that nests the options, where conf/ is found, and errors in one line."""

import re
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Final

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from tfrec_stage.annotations.policy import AnnotationPolicy
from tfrec_stage.build.failures import FailureLimit
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.build.request import check_name, check_num_shards
from tfrec_stage.dataset_info import About
from tfrec_stage.engine import EngineName, EngineOptions
from tfrec_stage.errors import ConfigError
from tfrec_stage.format_versions import MANIFEST_FORMAT, check_format
from tfrec_stage.importers import IMPORTERS, SplitOptions
from tfrec_stage.options import LARGEST_SEED, check_types, check_within
from tfrec_stage.paths import parse_path


class StageName(Enum):
    """Jobs of the entrypoint."""

    manifest = "manifest"
    """Annotations → manifest."""
    shards = "shards"
    """Manifest → TFRecord files."""
    verify = "verify"
    """Shards → proof that they are sound, or all that is wrong with them."""
    stats = "stats"
    """Shards → statistics of the data set."""
    clean = "clean"
    """Shard cache → the same without what no output directory needs any more."""


@dataclass
class SplitConfig:
    """What params.yaml says of one split."""

    num_shards: int = MISSING
    """Number of shards."""

    def __post_init__(self) -> None:
        check_types(self, "splits", unset=MISSING)
        if self.num_shards != MISSING:
            check_num_shards("splits: num_shards", self.num_shards)


@dataclass
class ImporterConfig:
    """What conf/importer/<name>.yaml says; `format` stands in params.yaml."""

    name: str = MISSING
    """Which importer."""
    annotations: list[str] = MISSING
    """Annotation files or folders."""
    images: str = MISSING
    """Folder that the annotations' file names start from."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of this importer."""
    fractions: dict[str, float] = field(default_factory=dict)
    """Share of each split, where one set of annotations is dealt to several; empty: it is one split's alone."""
    group_by: str | None = None
    """Regular expression in file names; images with the same match stay in one split."""
    split_seed: int = 0
    """Another seed deals images to splits another way."""
    format: int = MANIFEST_FORMAT
    """Version of the bytes of manifests, for DVC to track; the one that this program makes (`formats`)."""

    def __post_init__(self) -> None:
        check_types(self, "importer", unset=MISSING)
        check_format("importer.format", self.format, MANIFEST_FORMAT)
        check_within("importer.split_seed", self.split_seed, 0, LARGEST_SEED)
        if self.name not in {MISSING, *IMPORTERS}:
            raise ConfigError(f"importer.name: expected one of {', '.join(sorted(IMPORTERS))}, but got {self.name!r}")
        parse_path("importer.images", self.images)
        for path in () if self.annotations == MISSING else self.annotations:
            parse_path("importer.annotations", path)
        try:
            SplitOptions(self.fractions, self.group_by, self.split_seed)
        except ConfigError as error:
            raise ConfigError(f"importer.{error}") from None


@dataclass
class CleanConfig:
    """What `stage=clean` does."""

    dry_run: bool = False
    """Only tell what would be removed."""

    def __post_init__(self) -> None:
        check_types(self, "clean")


@dataclass
class StageConfig:
    """The whole configuration."""

    split: str = MISSING
    stage: StageName = StageName.shards
    manifest: str = MISSING
    labels: str = MISSING
    about: About = field(default_factory=About)
    images_root: str = MISSING
    output_dir: str = MISSING
    num_shards: int = MISSING
    verify_file: str = MISSING
    stats_file: str = MISSING
    store_dir: str | None = None
    num_threads: int = 4
    engine: EngineName = EngineName.threads
    progress: bool = True
    max_failures: str = "0"
    clean: CleanConfig = field(default_factory=CleanConfig)
    importer: ImporterConfig = field(default_factory=ImporterConfig)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    annotations: AnnotationPolicy = field(default_factory=AnnotationPolicy)
    splits: dict[str, SplitConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self, unset=MISSING)
        _ = self.engine_options  # judges itself
        check_name("split", self.split)
        if self.num_shards != MISSING:
            check_num_shards("num_shards", self.num_shards)
        for name in _PATHS:
            parse_path(name, getattr(self, name))
        parse_path("images_root", self.images_root or ".")
        parse_path("store_dir", "." if self.store_dir is None else self.store_dir)
        self.allowed_failures(0)

    @property
    def output_options(self) -> OutputOptions:
        """What decides the bytes: the groups of params.yaml."""
        return OutputOptions(self.encode, self.annotations)

    @property
    def engine_options(self) -> EngineOptions:
        """The runtime options of the engine."""
        return EngineOptions(self.num_threads, self.engine)

    def allowed_failures(self, images: int) -> int:
        """How many of `images` may fail, from `max_failures`."""
        return self.failure_limit.allowed(images)

    @property
    def failure_limit(self) -> FailureLimit:
        """How many images may fail."""
        return FailureLimit(self.max_failures)


_PARAMS_NAME: Final = "params"
_PATHS: Final = ("manifest", "labels", "output_dir", "verify_file", "stats_file")


def register_schema() -> None:
    """Make the schema known to Hydra; call it before Hydra composes."""
    store = ConfigStore.instance()
    store.store(name="stage_schema", node=_schema())
    if not Path(f"{_PARAMS_NAME}.yaml").is_file():
        # Only where the file is absent: a stored entry of a file's name would be taken for that file's schema.
        store.store(name=_PARAMS_NAME, node={})


def _schema() -> DictConfig:
    schema: DictConfig = OmegaConf.structured(StageConfig)
    # Their keys are the user's, or checked by the importer: without this Hydra refuses any that no file has.
    OmegaConf.set_struct(schema.importer.fractions, False)
    OmegaConf.set_struct(schema.importer.options, False)
    return schema


def conf_directory() -> Path:
    """The working directory's conf/, else the installed package's, else the source checkout's.

    The working directory comes first because DVC runs queued experiments in a copy of the workspace, while the
    package may lie in the original.
    """
    here = Path.cwd() / "conf"
    if (here / "config.yaml").is_file() and (Path(f"{_PARAMS_NAME}.yaml").is_file() or _is_ours(here / "config.yaml")):
        return here
    package = Path(__file__).parents[1]
    return next(path for path in (package / "conf", package.parents[1] / "conf") if path.is_dir())


def _is_ours(config: Path) -> bool:
    """Whether it is a configuration of this program; those of others are called the same."""
    return b"stage_schema" in config.read_bytes()


def parse_config(composed: DictConfig) -> StageConfig:
    """What Hydra composed, checked against the schema.

    Raises:
        ConfigError: a key is unknown, missing or of the wrong type.
    """
    try:
        check_name("split", composed.split)  # before anything is looked up by it
        _refuse_unknown(composed, StageConfig, "")
        merged = OmegaConf.merge(OmegaConf.structured(StageConfig), composed)
        if merged.stage is not StageName.shards:
            merged.num_shards = 1  # only a build needs it; resolved, it would ask params.yaml for the split
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(config, StageConfig)
    return config


def manifests_by_split(composed: DictConfig) -> dict[str, Path]:
    """Where the manifest of each split is, by the order of params.yaml: `manifest` with that split in place of `split`.

    Empty where `manifest` does not depend on `split`: it is then one for all.
    """
    config = deepcopy(composed)
    names = list(dict.fromkeys([*composed.get("splits", {}), composed.split]))
    manifests = {}
    for config.split in names:
        manifests[str(config.split)] = Path(config.manifest)
    return manifests if len(set(manifests.values())) == len(names) else {}


def explain(error: Exception) -> str:
    """One line for an error of Hydra or OmegaConf: the key, what is wrong with it, and what to do."""
    cause, text = _innermost(error), str(error)
    if (unknown := re.search(r"Could not override '([^']+)'", text)) and "not in" in str(cause):
        return unknown_option(unknown[1])
    if absent := re.search(r"Could not find '(.+)/(.+)'\s+Available options in '.+':\s+((?:\t.+\s)+)", text):
        return f"{absent[1]}: expected one of {', '.join(absent[3].split())}, but got {absent[2]!r}"
    if isinstance(cause, InterpolationKeyError) and (key := re.search(r"key '(splits\..+)' not found", str(cause))):
        return f"params.yaml has no {key[1]}; add it there, or give num_shards=N"
    return _one_line(cause if isinstance(cause, OmegaConfBaseException) else error)


def _one_line(error: BaseException) -> str:
    message = " ".join(re.split(r"\s+full_key:|\s+See https?:", str(error))[0].split())
    message = message.replace(
        "Invalid value assigned: str is not a ListConfig, list or tuple.", "expected a list: [a, b]"
    )
    key = getattr(error, "full_key", None)
    return f"{key}: {message}" if key and not message.startswith(key) else message


def unknown_option(key: str) -> str:
    """One line for an option that does not exist."""
    near = get_close_matches(key, _known_keys(StageConfig, ""), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "python -m tfrec_stage --cfg job shows all"
    return f"unknown option {key!r}: {hint}"


def _refuse_unknown(node: DictConfig, schema: type, path: str) -> None:
    """`+foo=1` adds a key past Hydra's own check."""
    known = {option.name: option.type for option in fields(schema)}
    for name in map(str, node):
        if name not in known:
            raise ConfigError(unknown_option(f"{path}{name}"))
        nested = known[name]
        if isinstance(nested, type) and is_dataclass(nested):
            _refuse_unknown(node[name], nested, f"{path}{name}.")


def _known_keys(schema: type, path: str) -> list[str]:
    keys = []
    for option in fields(schema):
        keys.append(f"{path}{option.name}")
        if isinstance(option.type, type) and is_dataclass(option.type):
            keys += _known_keys(option.type, f"{path}{option.name}.")
    return keys


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
