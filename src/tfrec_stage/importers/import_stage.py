"""The import stage: write the records of an importer as a manifest and its labels as labels.json."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfrec_stage.dataset_info import Label, write_labels
from tfrec_stage.errors import SourceError
from tfrec_stage.importers import ImportedDataset, ImportNotes, Problem
from tfrec_stage.manifest import write_manifest
from tfrec_stage.records import ImageRecord

LABELS_NAME: Final = "labels.json"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import."""

    records: int
    """Image records in the manifest."""
    labels: tuple[Label, ...]
    """Classes in the order of their numbers."""
    problems: tuple[Problem, ...]
    """What is wrong in the annotations."""
    notes: ImportNotes
    """What was derived or interpreted, and what looks wrong."""


def import_dataset(dataset: ImportedDataset, manifest: Path) -> ImportReport:
    """Write the manifest, and `labels.json` beside it.

    Raises:
        OutputError: a file cannot be written.
        SourceError: there is no record at all; an earlier manifest is left as it was.
    """
    problems: list[Problem] = []  # filled while the manifest is written, as records are streamed
    records = write_manifest(manifest, _separate(dataset.records, problems))
    write_labels(manifest.with_name(LABELS_NAME), dataset.labels)
    return ImportReport(records, dataset.labels, tuple(problems), dataset.notes)


def _separate(stream: Iterable[ImageRecord | Problem], problems: list[Problem]) -> Iterator[ImageRecord]:
    """Yield the records, and append the problems to `problems`."""
    is_empty = True
    for item in stream:
        if isinstance(item, Problem):
            problems.append(item)
        else:
            is_empty = False
            yield item
    if is_empty:  # most likely a wrong folder; raising here keeps `write_manifest` from replacing the manifest
        first = f"; the first of {len(problems):,} problems: {problems[0]}" if problems else ""
        raise SourceError(f"expected images, but the annotations give no image record{first}; look at `importer`")
