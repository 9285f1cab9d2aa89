"""Files beside the shards, for consumers that want more than shards.

Each writer is a function of finished shards: it reads them where it has to, and changes nothing. So a profile that adds
no keys never causes a shard to be written again.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from tfrec_stage.codecs.profiles import Profile
from tfrec_stage.handover import croissant, tfds
from tfrec_stage.handover.boxes_csv import write_boxes_csv
from tfrec_stage.handover.dataset import FinishedDataset
from tfrec_stage.handover.label_map import write_label_map
from tfrec_stage.handover.record_index import write_record_indices

__all__ = ["FinishedDataset", "handover_names", "write_handover"]

Writer = Callable[[FinishedDataset], None]

_WRITERS: Final[Mapping[Profile, Writer]] = {
    Profile.od_api: write_label_map,
    Profile.tfds: tfds.write_tfds,
    Profile.dali: write_record_indices,
    Profile.csv: write_boxes_csv,
    Profile.croissant: croissant.write_croissant,  # last: it describes what the others wrote
}
_NAMES: Final[Mapping[Profile, str]] = {
    Profile.od_api: r"label_map\.pbtxt",
    Profile.tfds: tfds.NAMES,
    Profile.dali: r"{name}-\d{{5,}}-of-\d{{5,}}\.idx",
    Profile.csv: r"{name}\.csv",
    Profile.croissant: croissant.NAMES,
}
"""Names of the files that each profile writes: a regular expression, `{name}` being that of the split."""


def write_handover(dataset: FinishedDataset, profiles: Iterable[Profile]) -> None:
    """Write the files of these profiles into the dataset's directory.

    Raises:
        OutputError: they cannot be written.
    """
    wanted = set(profiles)
    for profile, write in _WRITERS.items():
        if profile in wanted:
            write(dataset)


def handover_names(name: str, profiles: Iterable[str]) -> list[str]:
    """Regular expressions for the files that these profiles write for a split of this name."""
    wanted = set(profiles)
    return [pattern.format(name=re.escape(name)) for profile, pattern in _NAMES.items() if profile.name in wanted]
