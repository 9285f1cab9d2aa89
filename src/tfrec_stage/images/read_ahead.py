"""Image files asked from a cold disk while earlier ones are encoded."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from tfrec_stage.images.file import is_cached, prefetch
from tfrec_stage.records import ImageRecord, ParsedRecord

BATCH: Final = 16
"""Records of one batch: one of them is looked at, and if its file is not in memory, all are asked for."""


def read_ahead(records: Iterable[ParsedRecord], images_root: Path) -> Iterator[ParsedRecord]:
    """The same records, a batch later, so that the files of the next batch are read while this one is encoded.

    To ask for a file costs as much as a hundredth of an image, so a batch is asked for only where it is worth it.
    """
    coming = iter(records)
    batch: list[ParsedRecord] = []
    while following := list(islice(coming, BATCH)):
        _prefetch(following, images_root)
        yield from batch
        batch = following
    yield from batch


def _prefetch(batch: list[ParsedRecord], images_root: Path) -> None:
    names = [record.filename for record in batch if isinstance(record, ImageRecord) and record.encoded is None]
    if names and not is_cached(os.path.join(images_root, names[-1])):  # noqa: PTH118 - here and below: ten times as fast
        for name in names:
            prefetch(os.path.join(images_root, name))  # noqa: PTH118
