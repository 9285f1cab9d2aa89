"""Annotated objects as importers find them → the lists of a record, with one entry per object."""

from collections.abc import Sequence
from dataclasses import dataclass

from tfrec_stage.dataset_info import Label
from tfrec_stage.records import Boxes, Objects, Parts

Part = tuple[float, float, int]
"""x and y, normalised, and the visibility: 0 not in the image, 1 occluded, 2 visible."""


@dataclass(frozen=True, slots=True)
class Box:
    """Edges of a box, normalised by the image's width and height."""

    xmin: float
    xmax: float
    ymin: float
    ymax: float

    @property
    def area(self) -> float:
        """Area, normalised by width times height; 0 if the edges are reversed."""
        return max(self.xmax - self.xmin, 0.0) * max(self.ymax - self.ymin, 0.0)


@dataclass(frozen=True, slots=True)
class Instance:
    """One annotated object."""

    label: Label
    """The class."""
    box: Box
    """The bounding box."""
    area: float
    """Area of the polygon or mask if there is one, else of the box, normalised by width times height."""
    id: str | None = None
    """The identifier; None in formats without one."""
    is_crowd: bool | None = None
    """Whether the box covers a crowd; None in formats that do not say."""
    parts: tuple[Part, ...] = ()
    """The keypoints."""


def to_objects(instances: Sequence[Instance], parts_per_object: int = 0) -> Objects:
    """Return the lists of a record, in the order of the objects.

    An object with fewer parts than `parts_per_object` is padded with parts that are not in the image (0, 0, 0). So the
    lists of parts are `parts_per_object` times as long as those of the boxes.
    """
    if not instances:
        return Objects()
    # A format gives `id` and `is_crowd` for all objects or for none, so each list is as long as the others or empty.
    return Objects(
        count=len(instances),
        area=[each.area for each in instances],
        id=[each.id for each in instances if each.id is not None],
        is_crowd=[int(each.is_crowd) for each in instances if each.is_crowd is not None],
        bbox=_to_boxes(instances),
        parts=_to_parts([part for each in instances for part in _pad(each.parts, parts_per_object)]),
    )


def _to_boxes(instances: Sequence[Instance]) -> Boxes:
    return Boxes(
        xmin=[each.box.xmin for each in instances],
        xmax=[each.box.xmax for each in instances],
        ymin=[each.box.ymin for each in instances],
        ymax=[each.box.ymax for each in instances],
        label=[each.label.label for each in instances],
        text=[each.label.text for each in instances],
    )


def _to_parts(parts: Sequence[Part]) -> Parts:
    return Parts(x=[x for x, _, _ in parts], y=[y for _, y, _ in parts], v=[v for _, _, v in parts])


def _pad(parts: tuple[Part, ...], number: int) -> tuple[Part, ...]:
    return parts + ((0.0, 0.0, 0),) * (number - len(parts))
