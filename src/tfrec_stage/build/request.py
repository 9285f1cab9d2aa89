"""What to build, and where."""

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from tfrec_stage.build.record_encoder import OutputOptions, keypoint_names_by_label
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
from tfrec_stage.shards.index import FAILURES_NAME, shard_name

MOST_SHARDS: Final = 99_999
"""Names of shards have five digits, so that they sort."""


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many images may fail: a number, or a share of all."""

    text: str
    """As it was given, for example `10` or `0.5%`."""

    def __post_init__(self) -> None:
        self.allowed(0)

    def allowed(self, images: int) -> int:
        """How many of `images` may fail; a share is rounded down.

        >>> FailureLimit("0.5%").allowed(1000)
        5

        Raises:
            ConfigError: the text is neither a number nor a percentage.
        """
        text = self.text.strip()
        is_share, number = text.endswith("%"), text.removesuffix("%")
        try:
            limit = float(number) if is_share else int(number)
        except ValueError:
            limit = -1
        if not 0 <= limit <= (100 if is_share else math.inf):
            raise ConfigError(
                f"max_failures: expected a number or a percentage such as 0.1%, but got {show(self.text)}"
            )
        return int(Fraction(repr(limit)) * images / 100) if is_share else int(limit)  # floats would lose some


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and where."""

    name: str
    """Name of the split; shards are called `<name>-00000-of-00010`."""
    output_directory: Path
    """Directory of the shards; replaced as a whole."""
    num_shards: int
    """Number of shards, at least 1."""
    output_options: OutputOptions = field(default_factory=OutputOptions)
    """Identity options: they decide the bytes."""
    images_root: Path = Path()
    """Where relative file names start from."""
    store_directory: Path | None = None
    """Where finished shards are kept for the next build; None does without."""
    labels: tuple[Label, ...] = ()
    """Classes, for consumers that ask for their names; empty: as the records tell them."""
    about: About = field(default_factory=About)
    """The data set in words, for files that describe it."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """Runtime options: they decide how fast."""
    failure_limit: FailureLimit | None = None
    """How many images may fail; None allows any number, but never replaces a build that has records by an empty one."""

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_num_shards("num_shards", self.num_shards)

    @property
    def refused_failures_path(self) -> Path:
        """Where the records that failed are kept if the build does not replace the output directory."""
        output = self.output_directory  # which may have no name, as long as nobody has refused it
        return output.parent / f"{output.name}.{FAILURES_NAME}"

    def refuse_unusable_paths(self) -> None:
        """See to it that shards can go where they are asked to go; nothing is read or written.

        The output directory may lie in `images_root`, which may be the working directory: only its own files are
        ever replaced.

        Raises:
            ConfigError: a path is none, or the output directory is or holds what a build must not replace.
            OutputError: a directory cannot be made, or a name is too long.
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
        longest = Path(shard_name(self.name, self.num_shards, self.num_shards) + ".index")  # beside a shard
        refuse_unreplaceable_directory("output_dir", output, [partial_path(longest).name])
        failures = self.refused_failures_path
        refuse_impossible_names("output_dir", failures.parent, [partial_path(failures).name])

    @property
    def keypoint_names(self) -> KeypointNames:
        """Names of the parts of an object by its class, as far as records have them."""
        return keypoint_names_by_label(self.labels, self.output_options.encode)


def check_name(option: str, name: object) -> None:
    """Refuse what cannot be the name of a split: files are called by it."""
    if not isinstance(name, str) or not name or set(name) & set("/\\\0"):
        raise ConfigError(
            f"{option}: expected a name without slashes, as shards are called by it, but got {show(name)}"
        )
    check_text(option, name)


def check_num_shards(option: str, number: int) -> None:
    """Refuse what cannot be a number of shards."""
    check_within(option, number, 1, MOST_SHARDS)
