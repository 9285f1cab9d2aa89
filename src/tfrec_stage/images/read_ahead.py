"""Load image files from a cold disk while earlier ones are encoded."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from tfrec_stage.images.file import is_cached, prefetch
from tfrec_stage.records import ImageRecord, ParsedRecord

BATCH: Final = 16
"""Records per batch. If the file of one of them is not in memory, all files of the batch are requested."""


def read_ahead(records: Iterable[ParsedRecord], images_root: Path) -> Iterator[ParsedRecord]:
    """Yield the same records one batch later, so that the next batch of files is loaded while this one is encoded.

    Requesting a file costs about a hundredth of encoding an image, so it is done only if the batch is not cached.
    """
    upcoming = iter(records)
    batch: list[ParsedRecord] = []
    while next_batch := list(islice(upcoming, BATCH)):
        _prefetch(next_batch, images_root)
        yield from batch
        batch = next_batch
    yield from batch


def _prefetch(batch: list[ParsedRecord], images_root: Path) -> None:
    names = [record.filename for record in batch if isinstance(record, ImageRecord) and record.encoded is None]
    if names and not is_cached(os.path.join(images_root, names[-1])):  # noqa: PTH118 - here and below: ten times as fast
        for name in names:
            prefetch(os.path.join(images_root, name))  # noqa: PTH118
