"""What an importer is and returns: the Protocol, labels, notes, and a stream of image records and problems."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.records import ImageRecord

LARGEST_PX: Final = 2**31
"""Limit of coordinates in pixels. No image is as wide, and areas of much larger boxes would overflow to infinity."""
_BACKGROUND: Final = frozenset({"background", "__background__"})


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in the annotations, because of which an image does not become a record."""

    path: str
    """File in which it was found."""
    message: str
    """What was expected, what was found and what to do."""
    line: int | None = None
    """Line in that file, from 1, where the format has lines."""

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        text = f"{where}: {self.message}"
        return text.encode("utf-8", "backslashreplace").decode()  # a file name may not be UTF-8


class AnnotationError(ValueError):
    """Raised for the annotations of one image and converted to its `Problem`; it never leaves an importer."""

    def __init__(self, message: str, line: int | None = None, path: Path | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.path = path

    def to_problem(self, path: str | Path) -> Problem:
        """Return the problem, located in `path` unless the error names another file."""
        return Problem(str(self.path or path), str(self), self.line)


@dataclass(slots=True)
class ImportNotes:
    """What users should know about an import besides problems; it grows while records are read."""

    counts: Counter[str] = field(default_factory=Counter)
    """How often something was derived or interpreted, by its description, for example `boxes derived from outlines`."""
    warnings: list[str] = field(default_factory=list)
    """What looks wrong but was accepted, one sentence each."""


@dataclass(frozen=True, slots=True)
class ImportedDataset:
    """What an importer returns: all labels, and the records as a stream that can be read once."""

    labels: tuple[Label, ...]
    """Classes in the order of their numbers."""
    records: Iterator[ImageRecord | Problem] = field(repr=False)
    """Image records and problems, in a deterministic order."""
    notes: ImportNotes = field(default_factory=ImportNotes)
    """Complete when the records have been read to the end."""


class Importer(Protocol):
    """Reads annotations and a folder of images as labels and image records."""

    def __call__(self, annotations: tuple[Path, ...], images: Path, images_root: Path) -> ImportedDataset:
        """Read the annotations.

        An image that is missing, unreadable or damaged still becomes a record: the build detects that. What only an
        importer can detect is yielded as a `Problem`, in the order of the stream, and the whole image is skipped. A
        record without one of its objects would teach a model that there is nothing.

        Args:
            annotations: annotation files or folders; each importer says which.
            images: folder that file names in the annotations start from.
            images_root: folder that records' `filename` starts from; an ancestor of `images`, or the same.

        Raises:
            SourceError: the annotations cannot be read at all.
        """
        ...


def number_labels(found: Iterable[str], names: list[str] | None = None) -> dict[str, Label]:
    """Return a label for each class name, in the order of their numbers.

    Args:
        found: the names in the annotations; they are numbered in alphabetical order.
        names: all names in the order of their numbers; replaces `found`. Splits need it to have the same numbers if
            some of them lack a class.

    Raises:
        ConfigError: `names` has a name twice.

    >>> number_labels({"dog", "cat"})["dog"]
    Label(label=1, text='dog', source_id='dog', keypoints=())
    """
    twice = [name for name, count in Counter(names or ()).items() if count > 1]
    if twice:
        raise ConfigError(f"names: expected each name once, but got {twice} more often")
    ordered = sorted(set(found)) if names is None else names
    return {name: Label(number, name, source_id=name) for number, name in enumerate(ordered)}


def list_odd_names(labels: Collection[Label]) -> Iterator[str]:
    """Yield one sentence for each class name that looks wrong but is accepted."""
    for name, count in Counter(label.text for label in labels).items():
        if count > 1:
            keys = [_source_id_of(label) for label in labels if label.text == name]
            yield f"{count} categories have the name {name!r}, and become {count} classes: ids {show_names(keys)}"
    for label in labels:
        if not label.text:
            yield f"category {_source_id_of(label)!r} has no name"
        if label.label == 0 and label.text.lower() in _BACKGROUND:
            shown = (
                repr(label.text) if label.source_id in {label.text, None} else f"{label.source_id!r} ({label.text!r})"
            )
            yield f"category {shown} becomes class 0; remove it from the categories unless that is intended"


def _source_id_of(label: Label) -> int | str:
    return label.label if label.source_id is None else label.source_id


def show_names(names: Collection[str | int]) -> str:
    """Return the first ten names for a message, and how many there are.

    >>> show_names(["cat", "dog"])
    "'cat', 'dog'"
    """
    shown = ", ".join(repr(name) for name in islice(names, 10))
    return shown if len(names) <= 10 else f"{shown}, … ({len(names):,} in all)"
