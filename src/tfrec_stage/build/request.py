"""What to build, and where."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tfrec_stage.build.failures import FailureLimit
from tfrec_stage.build.options import OutputOptions, keypoint_names_by_label
from tfrec_stage.dataset_info import About, Label
from tfrec_stage.engine import EngineOptions
from tfrec_stage.errors import ConfigError
from tfrec_stage.files import partial_path
from tfrec_stage.options import check_text, check_within, show
from tfrec_stage.paths import (
    parse_path,
    refuse_impossible_names,
    refuse_inside,
    refuse_overlap,
    refuse_unreplaceable_directory,
)
from tfrec_stage.schema.od_api import KeypointNames
from tfrec_stage.shards.directory import shard_name
from tfrec_stage.shards.metadata_files import FAILURES_NAME

MAX_SHARDS: Final = 99_999
"""Names of shards have five digits, so that they sort by number."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and where."""

    name: str
    """Name of the split; shards are called `<name>-00000-of-00010`."""
    output_directory: Path
    """Directory of the shards; replaced as a whole."""
    num_shards: int
    """Number of shards, 1 to `MAX_SHARDS`."""
    output_options: OutputOptions = field(default_factory=OutputOptions)
    """Options that decide the bytes."""
    images_root: Path = Path()
    """Directory that relative file names start from."""
    store_directory: Path | None = None
    """Directory of the shard cache; None builds without one."""
    labels: tuple[Label, ...] = ()
    """Classes, for files that name them; empty: the names are collected from the records."""
    about: About = field(default_factory=About)
    """Description of the dataset, for files that describe it."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """Runtime options: they decide how fast, never what."""
    failure_limit: FailureLimit | None = None
    """How many images may fail. None allows any number, but never replaces a build that has records by an empty one."""

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_num_shards("num_shards", self.num_shards)

    @property
    def rejected_failures_path(self) -> Path:
        """Where the failed records are kept if the build does not replace the output directory."""
        output = self.output_directory  # may be a path without a name, such as `..`, until check_paths has refused it
        return output.parent / f"{output.name}.{FAILURES_NAME}"

    @property
    def keypoint_names(self) -> KeypointNames:
        """Names of an object's keypoints by its label; empty unless records store them."""
        return keypoint_names_by_label(self.labels, self.output_options.encode)

    def shard_path(self, directory: Path, number: int) -> Path:
        """Return the path of a shard in a directory, by its number from 0."""
        return directory / shard_name(self.name, number, self.num_shards)

    def check_paths(self) -> None:
        """Check that shards can be written where they should go; nothing is read or written.

        The output directory may lie inside `images_root`, which may be the working directory: a build replaces only its
        own files.

        Raises:
            ConfigError: a path is invalid, or the output directory is or contains what a build must not replace.
            OutputError: a directory cannot be created, or a name is too long.
        """
        output, store = parse_path("output_dir", self.output_directory), self.store_directory
        here = {"the working directory": Path.cwd()}
        stores = {} if store is None else {"store_dir": parse_path("store_dir", store)}
        kept = here | {"images_root": parse_path("images_root", self.images_root)} | stores
        for name, path in stores.items():
            refuse_overlap(name, path, here)
            refuse_impossible_names(name, path, [])
        refuse_overlap("output_dir", output, kept)
        refuse_inside("output_dir", output, stores)
        # The longest names that a build creates: the index of the last shard, and the failures beside the directory,
        # both while they are written under a temporary name.
        longest = Path(shard_name(self.name, self.num_shards, self.num_shards) + ".index")
        refuse_unreplaceable_directory("output_dir", output, [partial_path(longest).name])
        failures = self.rejected_failures_path
        refuse_impossible_names("output_dir", failures.parent, [partial_path(failures).name])


def check_name(option: str, name: object) -> None:
    """Refuse what cannot be the name of a split: files are named after it."""
    if not isinstance(name, str) or not name or set(name) & set("/\\\0"):
        raise ConfigError(
            f"{option}: expected a name without slashes, as shards are called by it, but got {show(name)}"
        )
    check_text(option, name)


def check_num_shards(option: str, number: int) -> None:
    """Refuse what cannot be a number of shards."""
    check_within(option, number, 1, MAX_SHARDS)
