"""What to build, and where."""

from dataclasses import dataclass, field
from pathlib import Path

from tfrec_stage.about import About
from tfrec_stage.codecs.od_api import KeypointNames
from tfrec_stage.engine import EngineOptions
from tfrec_stage.errors import ConfigError
from tfrec_stage.labels import Label
from tfrec_stage.shards.encoder import Identity, names_of_parts


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and where."""

    name: str
    """Name of the split; shards are called `<name>-00000-of-00010`."""
    output_directory: Path
    """Directory of the shards; replaced as a whole."""
    num_shards: int
    """Number of shards, at least 1."""
    identity: Identity = field(default_factory=Identity)
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

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/\\\0"):
            raise ConfigError(
                f"name: expected a name without slashes, as shards are called by it, but got {self.name!r}"
            )
        if not isinstance(self.num_shards, int) or self.num_shards < 1:
            raise ConfigError(f"num_shards: expected a whole number of at least 1, but got {self.num_shards!r}")

    @property
    def keypoint_names(self) -> KeypointNames:
        """Names of the parts of an object by its class, as far as records have them."""
        return names_of_parts(self.labels, self.identity.encode)
