"""Files beside the shards, for consumers that want more than shards.

Each writer is a function of finished shards: it reads them where it has to, and changes nothing. So a profile that adds
no keys never causes a shard to be written again.
"""

import re
from collections.abc import Iterable

from tfrec_stage.exporters.dataset import FinishedDataset
from tfrec_stage.schema.profiles import Profile

__all__ = ["FinishedDataset", "export_names", "write_exports"]


def write_exports(dataset: FinishedDataset, profiles: Iterable[Profile]) -> None:
    """Write the files of these profiles into the dataset's directory.

    Raises:
        OutputError: they cannot be written.
    """
    if wanted := set(profiles):
        from tfrec_stage.exporters.writers import WRITERS  # noqa: PLC0415 - most builds have no profile

        for profile, write in WRITERS.items():
            if profile in wanted:
                write(dataset)


def export_names(name: str, profiles: Iterable[str]) -> list[str]:
    """Regular expressions for the files that these profiles write for a split of this name."""
    if wanted := set(profiles):
        from tfrec_stage.exporters.writers import NAMES  # noqa: PLC0415 - as above

        return [pattern.format(name=re.escape(name)) for profile, pattern in NAMES.items() if profile.name in wanted]
    return []
