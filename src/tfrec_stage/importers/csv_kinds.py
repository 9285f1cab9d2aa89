"""Tables of boxes that are known by their columns, and how a table is laid out.

Source: the columns of OpenImages (https://storage.googleapis.com/openimages/web/download_v7.html), of the TensorFlow
Object Detection API's tutorials, and, without a header, of keras-retinanet (https://github.com/fizyr/keras-retinanet).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

EDGES: Final = ("xmin", "xmax", "ymin", "ymax")
NEEDED: Final = ("image", "label", *EDGES)
ROLES: Final = (*NEEDED, "width", "height", "is_crowd")
KERAS_RETINANET: Final = ("image", "xmin", "ymin", "xmax", "ymax", "class")
"""Columns of a table without a header."""
Columns = dict[str, str] | list[str]
"""Header of each role's column; or, where a table has no header, the roles in the order of its columns."""


@dataclass(frozen=True)
class TableKind:
    """A kind of table that is recognised by its header."""

    headers: Mapping[str, str]
    """Header of each role."""
    suffix: str = ""
    """What turns the image's cell into a file name."""
    extra: tuple[str, ...] = ()
    """Headers of further columns worth keeping."""


OPEN_IMAGES: Final = TableKind(
    headers=MappingProxyType(
        {"image": "ImageID", "label": "LabelName", "is_crowd": "IsGroupOf"}
        | {"xmin": "XMin", "xmax": "XMax", "ymin": "YMin", "ymax": "YMax"}
    ),
    suffix=".jpg",
    extra=("IsOccluded", "IsTruncated", "IsDepiction", "IsInside"),
)
TENSORFLOW: Final = TableKind(
    headers=MappingProxyType(
        {"image": "filename", "label": "class", "width": "width", "height": "height"} | {edge: edge for edge in EDGES}
    )
)
OTHER: Final = TableKind(headers=MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a table."""

    delimiter: str
    """What separates cells."""
    has_header: bool
    """Whether the first row has no data."""
    places: Mapping[str, int]
    """Place of each role's column, from 0."""
    extra: Mapping[str, int]
    """Place of each further column to keep, by its header."""
    suffix: str = ""
    """What turns the image's cell into a file name."""
    in_pixels: bool = False
    """Whether edges are in pixels unless it is said otherwise."""


def role_of(name: str) -> str:
    """Return the role that a name in a list of columns means."""
    return "label" if name == "class" else name


def to_number(text: str) -> float:
    """Give the number in a cell; NaN where there is none.

    >>> to_number("12,5")
    12.5
    """
    try:
        return float(with_point(text))
    except ValueError:
        return math.nan


def with_point(text: str) -> str:
    """Return a number with a decimal point instead of a comma; other text is unchanged."""
    return text.replace(",", ".") if text.count(",") == 1 and "." not in text else text
