"""The content of a COCO file: images, categories, annotations, and problems with single entries.

Source: the data format on https://cocodataset.org/#format-data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import msgspec

from tfrec_stage.importers.shapes import Box, Outline, outline_area
from tfrec_stage.records import Size

Key = int | str
_Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]
_NO_OUTLINE: Final = msgspec.Raw(b"null")


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
    segmentation: msgspec.Raw = _NO_OUTLINE

    def __post_init__(self) -> None:
        """Find the area and let go of the outline: outlines are most of the file.

        Raises:
            ValueError: there is no box, but something to derive it from: `coco_entries.to_annotation` does.
        """
        if self.bbox is None:
            if self.keypoints or bytes(self.segmentation) != b"null":
                raise ValueError("expected `bbox`")
            return
        if self.area is None:
            self.area = _area(self.segmentation) or max(self.bbox[2], 0) * max(self.bbox[3], 0)
        self.segmentation = _NO_OUTLINE


class DerivedAnnotation(Annotation, gc=False):
    """An annotation whose box was derived."""

    source: str = ""
    """What it was derived from: outlines or keypoints."""


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """An entry that could not be read."""

    place: str
    """Where it stands in the file, for example `annotations[12] (id 7)`."""
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
    places: Sequence[Key]
    """Place of each annotation: its index in the list, or its key in the object."""
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


def place_of(section: str, key: Key, entry_id: object = None) -> str:
    """Say where an entry stands.

    >>> place_of("annotations", 12, 7)
    'annotations[12] (id 7)'
    """
    return f"{section}[{key!r}]" if entry_id is None else f"{section}[{key!r}] (id {entry_id!r})"


def _area(segmentation: msgspec.Raw) -> float:
    return outline_area(msgspec.json.decode(segmentation, type=Outline))
