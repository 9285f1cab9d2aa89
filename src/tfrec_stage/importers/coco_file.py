"""The content of a COCO file: images, categories and annotations, their ids, and problems with single entries.

Source: the data format on https://cocodataset.org/#format-data.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Final

import msgspec

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.shapes import Box, Segmentation, segmentation_area
from tfrec_stage.records import Size

Key = int | str
"""An id: a number in the specification, a text in files of some tools."""
_Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]
_NO_SEGMENTATION: Final = msgspec.Raw(b"null")


class Image(msgspec.Struct, frozen=True, gc=False):
    """One of `images`."""

    id: Key
    file_name: str
    width: Size | None = None
    height: Size | None = None

    def __post_init__(self) -> None:
        if not self.file_name:
            raise ValueError("expected `file_name`")


class Category(msgspec.Struct, frozen=True, gc=False):
    """One of `categories`."""

    id: Key
    name: str
    keypoints: tuple[str, ...] = ()
    """Names of the keypoints, in their order."""


class Annotation(msgspec.Struct, gc=False):
    """One of `annotations`: an object, or the class of a whole image if it has neither `bbox` nor `area`."""

    image_id: Key
    category_id: Key
    id: Key | None = None
    bbox: Box | None = None
    """x, y, width, height in pixels."""
    area: float | None = None
    """In square pixels."""
    iscrowd: _Flag | bool | None = 0
    keypoints: tuple[float, ...] = ()
    """x, y in pixels and visibility of each."""
    segmentation: msgspec.Raw = _NO_SEGMENTATION

    def __post_init__(self) -> None:
        """Compute a missing area, then drop the segmentation.

        Segmentations are most of a file, and a `Raw` would keep the bytes of the whole file in memory.

        Raises:
            ValueError: there is no box, but a segmentation or keypoints to derive it from.
        """
        if self.bbox is None:
            if self.keypoints or bytes(self.segmentation) != b"null":
                # Rejects the fast decoding of the whole file; `coco_deviations.to_annotation` then derives the box.
                raise ValueError("expected `bbox`")
            return
        if self.area is None:
            self.area = _area(self.segmentation) or max(self.bbox[2], 0) * max(self.bbox[3], 0)
        self.segmentation = _NO_SEGMENTATION


class DerivedAnnotation(Annotation, gc=False):
    """An annotation whose box was derived."""

    source: str = ""
    """What it was derived from: outlines or keypoints."""


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """An entry that could not be read."""

    entry: str
    """Which entry of the file, for example `annotations[12] (id 7)`."""
    message: str
    """What was expected and what was found."""
    image_id: Key | None
    """The image that it belongs to, if known."""


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One file."""

    path: Path
    images: list[Image]
    categories: list[Category]
    annotations: list[Annotation]
    positions: Sequence[Key]
    """Position of each annotation in the file: its index in the list, or its key in the object."""
    section: str = "annotations"
    """Name of the list or object that holds the annotations."""
    entry_problems: list[EntryProblem] = field(default_factory=list)
    """Entries that could not be read."""
    images_with_problems: frozenset[Key] = frozenset()
    """Ids of the images that could not be read."""

    @property
    def gives_image_classes(self) -> bool:
        """Whether the annotations give classes of whole images: none of them has a box or an area."""
        return all(each.bbox is None and not each.area for each in self.annotations)


def describe_entry(section: str, position: Key, entry_id: object = None) -> str:
    """Return the position of an entry for a message.

    >>> describe_entry("annotations", 12, 7)
    'annotations[12] (id 7)'
    """
    return f"{section}[{position!r}]" if entry_id is None else f"{section}[{position!r}] (id {entry_id!r})"


def sort_keys(keys: Iterable[Key]) -> list[Key]:
    """Sort ids: numbers by value, then texts."""
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


def match_key(key: Key, known: Container[Key]) -> Key:
    """Return the known id that equals `key`, if need be after converting text to a number or a number to text.

    >>> match_key("0042", {42, "a"}), match_key(7, {"7"}), match_key("b", {"a"})
    (42, '7', 'b')
    """
    if key in known:
        return key
    other = str(key) if isinstance(key, int) else _parse_digits(key)
    return key if other is None or other not in known else other


def number_annotations(files: Sequence[CocoFile]) -> int:
    """Give annotations without an id one, by their position; return how many were numbered.

    The numbers start above every id in any file, so that they collide with none.
    """
    if not any(None in map(attrgetter("id"), file.annotations) for file in files):
        return 0
    # Ids become text in records, so the text "7" is taken as well.
    numbers = (_parse_digits(str(each.id)) for file in files for each in file.annotations)
    start, numbered = 1 + max((number for number in numbers if number is not None), default=-1), 0
    for file in files:
        for number, each in enumerate(file.annotations, start):
            if each.id is None:
                each.id = number
                numbered += 1
        start += len(file.annotations)
    return numbered


def find_shared_ids(images: Iterable[Image]) -> Iterator[EntryProblem]:
    """Yield a problem for each image of one file that has the id of another: whose its annotations are is unknown."""
    names: dict[Key, str] = {}
    for each in images:
        name = names.setdefault(each.id, each.file_name)
        if name != each.file_name:  # an image that is listed twice is harmless
            message = f"expected an id of its own for each image, but got {name!r} and {each.file_name!r}"
            yield EntryProblem(f"images (id {each.id!r})", message, each.id)


def expect_one_name(what: str, path: Path, key: Key, earlier: str, name: str) -> None:
    """Check that an id stands for one name, which it does not in files that were numbered independently.

    Raises:
        SourceError: the names differ.
    """
    if earlier != name:
        raise SourceError(f"{path}: expected one name for {what} {key!r}, but got {earlier!r} and then {name!r}")


def _area(segmentation: msgspec.Raw) -> float:
    return segmentation_area(msgspec.json.decode(segmentation, type=Segmentation))


def _parse_digits(text: str) -> int | None:
    # The limit keeps `int` from raising: it refuses texts of thousands of digits.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
