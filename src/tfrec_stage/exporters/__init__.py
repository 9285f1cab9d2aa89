"""Files beside the shards, for programs that need more than shards.

A profile (`encode.profiles`) may add keys to records, which `schema` does, and files beside the shards, which an
exporter here writes. An exporter is one function of a `FinishedDataset`. It reads shards if it has to and changes
none, so a profile without keys of its own never causes a shard to be written again.

    label_map     od_api      label_map.pbtxt: ids and names of classes
    tfds          tfds        features.json, dataset_info.json and names of classes
    dali_index    dali        <shard>.idx: where each record begins
    boxes_csv     csv         <name>.csv: one row per box
    croissant     croissant   metadata.json: a description of the dataset
    class_names               names of all classes, for several exporters and for classes.json

To add an exporter:

1. Add a member to `Profile` in schema/profiles.py, and keys to schema/fields.py if the format needs some.
2. Write a module here with a function `write_…(dataset: FinishedDataset) -> None`. Files are written with `write_file`
   or `atomic_writer`, and hold no time, host or path of the machine: DVC hashes them with the shards.
3. Add the names of its files to `_FILE_NAMES` and the function to `_exporters`, both below.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tfrec_stage.dataset_info import About, Label
from tfrec_stage.schema.options import Profile, SchemaOptions
from tfrec_stage.shards.metadata_files import ShardEntry
from tfrec_stage.shards.reader import StoredRecord, read_features
from tfrec_stage.shards.statistics import Statistics

__all__ = ["FinishedDataset", "export_names", "write_exports"]

_FILE_NAMES: Final[Mapping[Profile, str]] = {
    Profile.od_api: r"label_map\.pbtxt",
    Profile.tfds: r"features\.json|dataset_info\.json|(?:objects-label|image\.class\.label)\.labels\.txt",
    Profile.dali: r"{name}-\d{{5,}}-of-\d{{5,}}\.idx",
    Profile.csv: r"{name}\.csv",
    Profile.croissant: r"metadata\.json",
}
"""Names of the files that each profile writes, as regular expressions; `{name}` is the name of the split."""


@dataclass(frozen=True, slots=True)
class FinishedDataset:
    """A split whose shards are finished; what every exporter is given."""

    directory: Path
    """Directory of the shards; exporters write here."""
    name: str
    """Name of the split."""
    shards: tuple[ShardEntry, ...]
    """Shards in the order of their numbers."""
    schema_options: SchemaOptions
    """Options that decide which keys the records have."""
    labels: tuple[Label, ...]
    """Classes in the order of their numbers, from `labels.json`; empty without that file."""
    statistics: Statistics
    """Counts over all shards."""
    about: About = field(default_factory=About)
    """Name, licence, description and so on, as the owner of the dataset states them."""

    def records(self) -> Iterator[StoredRecord]:
        """All records, shard by shard.

        Raises:
            ShardError: a shard cannot be read.
        """
        for shard in self.shards:
            yield from read_features(self.directory / shard.name)


def write_exports(dataset: FinishedDataset, profiles: Iterable[Profile]) -> None:
    """Write the files of these profiles into the dataset's directory.

    Raises:
        ConfigError: labels are too large to list all classes.
        OutputError: a file cannot be written.
    """
    if wanted := set(profiles):
        for profile, write in _exporters().items():
            if profile in wanted:
                write(dataset)


def export_names(name: str, profiles: Iterable[str]) -> list[str]:
    """Regular expressions for the names of the files that profiles write.

    Args:
        name: name of the split.
        profiles: names of profiles; unknown ones write no files.
    """
    wanted = set(profiles)
    return [pattern.format(name=re.escape(name)) for profile, pattern in _FILE_NAMES.items() if profile.name in wanted]


def _exporters() -> Mapping[Profile, Callable[[FinishedDataset], None]]:
    """The function that writes the files of each profile, in the order in which they have to run."""
    from tfrec_stage.exporters import (  # noqa: PLC0415 - most builds have no profile
        boxes_csv,
        croissant,
        dali_index,
        label_map,
        tfds,
    )

    return {
        Profile.od_api: label_map.write_label_map,
        Profile.tfds: tfds.write_tfds,
        Profile.dali: dali_index.write_record_indices,
        Profile.csv: boxes_csv.write_boxes_csv,
        Profile.croissant: croissant.write_croissant,  # last, because it describes the table of boxes if there is one
    }
