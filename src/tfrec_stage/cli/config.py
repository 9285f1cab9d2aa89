"""The configuration that Hydra composes: its schema, where conf/ is found, and checks beyond Hydra's own."""

from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tfrec_stage.annotations.policy import AnnotationPolicy
from tfrec_stage.build.failures import FailureLimit
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.build.request import check_name, check_num_shards
from tfrec_stage.cli.hydra_errors import explain, unknown_option
from tfrec_stage.dataset_info import About
from tfrec_stage.engine import EngineName, EngineOptions
from tfrec_stage.errors import ConfigError
from tfrec_stage.format_versions import MANIFEST_FORMAT, check_format
from tfrec_stage.importers import IMPORTERS, SplitOptions
from tfrec_stage.options import LARGEST_SEED, check_types, check_within
from tfrec_stage.paths import parse_path


class StageName(Enum):
    """Stages of the command line."""

    manifest = "manifest"
    """Annotations → manifest."""
    shards = "shards"
    """Manifest → TFRecord files."""
    verify = "verify"
    """Shards → proof that they are sound, or everything that is wrong with them."""
    stats = "stats"
    """Shards → statistics of the dataset."""
    clean = "clean"
    """Shard cache → the same without what no existing output directory needs."""


@dataclass
class SplitConfig:
    """Options of one split in params.yaml."""

    num_shards: int = MISSING
    """Number of shards."""

    def __post_init__(self) -> None:
        check_types(self, "splits", unset=MISSING)
        if self.num_shards != MISSING:
            check_num_shards("splits: num_shards", self.num_shards)


@dataclass
class ImporterConfig:
    """Options of the import, in conf/importer/<name>.yaml; `format` is in params.yaml."""

    name: str = MISSING
    """Name of the importer."""
    annotations: list[str] = MISSING
    """Annotation files or folders."""
    images: str = MISSING
    """Folder that file names in the annotations start from."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of this importer."""
    fractions: dict[str, float] = field(default_factory=dict)
    """Fraction of images in each split, if one set of annotations is divided; empty: all belong to one split."""
    group_by: str | None = None
    """Regular expression; images whose file names have the same match stay in the same split."""
    split_seed: int = 0
    """Another seed divides the images differently."""
    format: int = MANIFEST_FORMAT
    """Version of the bytes of manifests, so that DVC tracks it; only the current one is accepted."""

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
    """Options of `stage=clean`."""

    dry_run: bool = False
    """Only report what would be removed."""

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
        _ = self.engine_options  # its class checks the values
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
        """The options that decide the bytes: the groups of params.yaml."""
        return OutputOptions(self.encode, self.annotations)

    @property
    def engine_options(self) -> EngineOptions:
        """The runtime options of the engine."""
        return EngineOptions(self.num_threads, self.engine)

    def allowed_failures(self, images: int) -> int:
        """Return how many of `images` may fail, by `max_failures`."""
        return self.failure_limit.allowed(images)

    @property
    def failure_limit(self) -> FailureLimit:
        """How many images may fail."""
        return FailureLimit(self.max_failures)


_PARAMS_NAME: Final = "params"
_PATHS: Final = ("manifest", "labels", "output_dir", "verify_file", "stats_file")


def register_schema() -> None:
    """Register the schema with Hydra; call it before Hydra composes."""
    store = ConfigStore.instance()
    store.store(name="stage_schema", node=_schema())
    if not Path(f"{_PARAMS_NAME}.yaml").is_file():
        # Only if the file is missing: Hydra would take a stored entry with the file's name for the file's schema.
        store.store(name=_PARAMS_NAME, node={})


def _schema() -> DictConfig:
    schema: DictConfig = OmegaConf.structured(StageConfig)
    # Their keys are free, or checked by the importer. Without this, Hydra refuses keys that are in no file.
    OmegaConf.set_struct(schema.importer.fractions, False)
    OmegaConf.set_struct(schema.importer.options, False)
    return schema


def conf_directory() -> Path:
    """Return the conf/ of the working directory, of the installed package, or of the source checkout, in this order.

    The working directory comes first because DVC runs queued experiments in a copy of the workspace, while the package
    may be in the original.
    """
    here = Path.cwd() / "conf"
    if (here / "config.yaml").is_file() and (Path(f"{_PARAMS_NAME}.yaml").is_file() or _is_ours(here / "config.yaml")):
        return here
    package = Path(__file__).parents[1]
    return next(path for path in (package / "conf", package.parents[1] / "conf") if path.is_dir())


def _is_ours(config: Path) -> bool:
    """Return whether a config.yaml belongs to this program; other Hydra programs use the same name."""
    return b"stage_schema" in config.read_bytes()


def parse_config(composed: DictConfig) -> StageConfig:
    """Check what Hydra composed against the schema.

    Raises:
        ConfigError: a key is unknown, missing or of the wrong type.
    """
    try:
        check_name("split", composed.split)  # before it is used to look anything up
        _refuse_unknown(composed, StageConfig, "")
        merged = OmegaConf.merge(OmegaConf.structured(StageConfig), composed)
        if merged.stage is not StageName.shards:
            merged.num_shards = 1  # only a build needs it; resolving it would need the split in params.yaml
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, StageConfig)) from error
    assert isinstance(config, StageConfig)
    return config


def manifests_by_split(composed: DictConfig) -> dict[str, Path]:
    """Return the manifest of each split, in the order of params.yaml, by resolving `manifest` with each split.

    Empty if `manifest` does not depend on `split`: it is then the same for all.
    """
    config = deepcopy(composed)
    names = list(dict.fromkeys([*composed.get("splits", {}), composed.split]))
    manifests = {}
    for config.split in names:
        manifests[str(config.split)] = Path(config.manifest)
    return manifests if len(set(manifests.values())) == len(names) else {}


def _refuse_unknown(node: DictConfig, schema: type, path: str) -> None:
    """Refuse unknown keys: `+foo=1` adds a key without Hydra's own check."""
    known = {option.name: option.type for option in fields(schema)}
    for name in map(str, node):
        if name not in known:
            raise ConfigError(unknown_option(f"{path}{name}", StageConfig))
        nested = known[name]
        if isinstance(nested, type) and is_dataclass(nested):
            _refuse_unknown(node[name], nested, f"{path}{name}.")
