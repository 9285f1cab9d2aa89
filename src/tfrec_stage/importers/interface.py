"""What importers return: labels, problems and a stream of image records."""

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
        return text.encode("utf-8", "backslashreplace").decode()  # a file name may not be UTF-8


class AnnotationError(ValueError):
    """Raised while one image's annotations are read, and turned into its `Problem`; it never leaves an importer."""

    def __init__(self, message: str, line: int | None = None, path: Path | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.path = path

    def to_problem(self, path: str | Path) -> Problem:
        """Return the problem, in that file unless the error names another."""
        return Problem(str(self.path or path), str(self), self.line)


@dataclass(slots=True)
class ImportNotes:
    """What people should know about an import that is not a problem; it grows while records are read."""

    counts: Counter[str] = field(default_factory=Counter)
    """How often something was done, by what it was in words, for example `boxes derived from outlines`."""
    warnings: list[str] = field(default_factory=list)
    """What looks wrong and was taken as it is, a sentence each."""


@dataclass(frozen=True, slots=True)
class ImportedDataset:
    """What an importer returns: the labels at once, the records as a stream that can be read once."""

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

        What a build detects itself (an image that is missing, unreadable or damaged) stays a record and fails there.
        What only an importer can see is yielded as a `Problem` at its place in the stream, and its image is skipped as
        a whole: an image without one of its objects would teach the opposite of what the annotator saw.

        Args:
            annotations: annotation files or folders, as each importer describes.
            images: folder that the annotations' file names start from.
            images_root: folder that records' `filename` starts from; an ancestor of `images`, or the same.

        Raises:
            SourceError: the annotations cannot be read at all.
        """
        ...


_BACKGROUND: Final = frozenset({"background", "__background__"})


def number_labels(found: Iterable[str], names: list[str] | None = None) -> dict[str, Label]:
    """Assign a label to each class name, in the order of the numbers.

    Args:
        found: the names in the annotations; they are numbered in alphabetical order.
        names: all names in the order of their numbers, instead. Splits whose annotations do not have every class agree
            on the numbers in no other way.

    Raises:
        ConfigError: `names` has one name twice.

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
            keys = [_key_of(label) for label in labels if label.text == name]
            yield f"{count} categories have the name {name!r}, and become {count} classes: ids {show_names(keys)}"
    for label in labels:
        if not label.text:
            yield f"category {_key_of(label)!r} has no name"
        if label.label == 0 and label.text.lower() in _BACKGROUND:
            shown = (
                repr(label.text) if label.source_id in {label.text, None} else f"{label.source_id!r} ({label.text!r})"
            )
            yield f"category {shown} becomes class 0; take it out of the categories unless it is meant"


def _key_of(label: Label) -> int | str:
    return label.label if label.source_id is None else label.source_id


def show_names(names: Collection[str | int]) -> str:
    """List names for a message, the first ten of them.

    >>> show_names(["cat", "dog"])
    "'cat', 'dog'"
    """
    shown = ", ".join(repr(name) for name in islice(names, 10))
    return shown if len(names) <= 10 else f"{shown}, … ({len(names):,} in all)"
