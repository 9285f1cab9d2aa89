"""Who writes what: for each profile the function, and the names of its files."""

from collections.abc import Callable, Mapping
from typing import Final

from tfrec_stage.exporters import croissant, tfds
from tfrec_stage.exporters.boxes_csv import write_boxes_csv
from tfrec_stage.exporters.dali_index import write_record_indices
from tfrec_stage.exporters.dataset import FinishedDataset
from tfrec_stage.exporters.label_map import write_label_map
from tfrec_stage.schema.profiles import Profile

Writer = Callable[[FinishedDataset], None]

WRITERS: Final[Mapping[Profile, Writer]] = {
    Profile.od_api: write_label_map,
    Profile.tfds: tfds.write_tfds,
    Profile.dali: write_record_indices,
    Profile.csv: write_boxes_csv,
    Profile.croissant: croissant.write_croissant,  # last: it describes what the others wrote
}
NAMES: Final[Mapping[Profile, str]] = {
    Profile.od_api: r"label_map\.pbtxt",
    Profile.tfds: tfds.NAMES,
    Profile.dali: r"{name}-\d{{5,}}-of-\d{{5,}}\.idx",
    Profile.csv: r"{name}\.csv",
    Profile.croissant: croissant.NAMES,
}
"""Names of the files that each profile writes: a regular expression, `{name}` being that of the split."""
