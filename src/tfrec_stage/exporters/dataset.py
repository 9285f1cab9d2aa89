"""What a profile is given: a split whose shards are finished."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tfrec_stage.build.options import OutputOptions
from tfrec_stage.dataset_info import About, Label
from tfrec_stage.shards.index import ShardEntry
from tfrec_stage.shards.reader import StoredRecord, read_features
from tfrec_stage.shards.statistics import Statistics


@dataclass(frozen=True, slots=True)
class FinishedDataset:
    """A split whose shards are finished."""

    directory: Path
    """Where the shards are, and where files of the profile go."""
    name: str
    """Name of the split."""
    shards: tuple[ShardEntry, ...]
    """In the order of their numbers."""
    output_options: OutputOptions
    """Options that the shards were made with."""
    labels: tuple[Label, ...]
    """Classes in the order of their numbers, as `labels.json` has them; empty where there is none."""
    statistics: Statistics
    """Counts over all shards."""
    about: About = field(default_factory=About)
    """The data set in words."""

    def records(self) -> Iterator[StoredRecord]:
        """All records, shard by shard."""
        for shard in self.shards:
            yield from read_features(self.directory / shard.name)
