"""What importers give: labels, problems and a stream of image records."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tfrec_stage.dataset_info import Label
from tfrec_stage.records import ImageRecord

LARGEST_PX: Final = 2**31
"""No image has as many pixels in a row; areas of such boxes would soon be no numbers any more."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the annotations that could not become an image record."""

    path: str
    """File it was found in."""
    message: str
    """What was expected, what was found and what to do."""
    line: int | None = None
    """Line in that file, from 1, where the format has lines."""

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        text = f"{where}: {self.message}"
        return text.encode("utf-8", "backslashreplace").decode()  # a file's name may not be UTF-8


class AnnotationError(ValueError):
    """Raised while one image's annotations are read, and turned into its `Problem`; never leaves an importer."""

    def __init__(self, message: str, line: int | None = None, path: Path | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.path = path

    def to_problem(self, path: str | Path) -> Problem:
        """Give the problem, in that file unless the error names another."""
        return Problem(str(self.path or path), str(self), self.line)


@dataclass(slots=True)
class ImportNotes:
    """What people should know of an import that is no problem; grows while the records are walked."""

    counts: Counter[str] = field(default_factory=Counter)
    """How often something was done, by what it was in words, for example `boxes derived from outlines`."""
    warnings: list[str] = field(default_factory=list)
    """What looks wrong and was taken as it is, a sentence each."""


@dataclass(frozen=True, slots=True)
class ImportedDataset:
    """What an importer gives: the labels at once, the records as a stream that can be walked once."""

    labels: tuple[Label, ...]
    """Classes in the order of their numbers."""
    records: Iterator[ImageRecord | Problem] = field(repr=False)
    """Image records and problems, in a deterministic order."""
    notes: ImportNotes = field(default_factory=ImportNotes)
    """Complete once the records have been walked to their end."""


class Importer(Protocol):
    """Annotations and a folder of images → labels and image records."""

    def __call__(self, annotations: tuple[Path, ...], images: Path, images_root: Path) -> ImportedDataset:
        """Read the annotations.

        What the encoder will see for itself (an image that is missing, unreadable or damaged) stays a record
        and fails there. What only an importer can see is yielded as a `Problem` in its place in the stream,
        and the image it belongs to is left out as a whole: an image with one of its objects missing would
        teach the opposite of what the annotator saw.

        Args:
            annotations: annotation files or folders; which, says each importer.
            images: folder that the annotations' file names start from.
            images_root: folder that records' `filename` starts from; an ancestor of `images`, or the same.

        Raises:
            SourceError: the annotations cannot be read at all.
        """
        ...
