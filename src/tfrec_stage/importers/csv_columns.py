"""Which column of a table of boxes is which: the formats known by their header, and tables without a header.

Source: the columns of OpenImages (https://storage.googleapis.com/openimages/web/download_v7.html), of the TensorFlow
Object Detection API's tutorials, and, without a header, of keras-retinanet (https://github.com/fizyr/keras-retinanet).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tfrec_stage.errors import SourceError

EDGES: Final = ("xmin", "xmax", "ymin", "ymax")
REQUIRED: Final = ("image", "label", *EDGES)
ROLES: Final = (*REQUIRED, "width", "height", "is_crowd")
"""Everything that a column can mean."""
KERAS_RETINANET: Final = ("image", "xmin", "ymin", "xmax", "ymax", "class")
"""Columns of a table without a header, in their order."""
Columns = dict[str, str] | list[str]
"""The option `columns`: the header of each role's column, or, without a header, the roles in column order."""
Cells = list[str]
"""The texts of one row."""


@dataclass(frozen=True)
class TableFormat:
    """A table format that is recognised by its header."""

    headers: Mapping[str, str]
    """Header of each role's column."""
    suffix: str = ""
    """Appended to the image's cell to get a file name."""
    extra: tuple[str, ...] = ()
    """Headers of further columns to keep by default."""


OPEN_IMAGES: Final = TableFormat(
    headers=MappingProxyType(
        {"image": "ImageID", "label": "LabelName", "is_crowd": "IsGroupOf"}
        | {"xmin": "XMin", "xmax": "XMax", "ymin": "YMin", "ymax": "YMax"}
    ),
    suffix=".jpg",
    extra=("IsOccluded", "IsTruncated", "IsDepiction", "IsInside"),
)
TENSORFLOW: Final = TableFormat(
    headers=MappingProxyType(
        {"image": "filename", "label": "class", "width": "width", "height": "height"} | {edge: edge for edge in EDGES}
    )
)
OTHER: Final = TableFormat(headers=MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a table."""

    delimiter: str
    """The character between cells."""
    has_header: bool
    """Whether the first row is a header."""
    columns: Mapping[str, int]
    """Index of each role's column, from 0."""
    extra: Mapping[str, int]
    """Index of each further column to keep, by its header."""
    suffix: str = ""
    """Appended to the image's cell to get a file name."""
    in_pixels: bool = False
    """Whether edges are in pixels, unless the option `pixels` is set."""


def role_of(name: str) -> str:
    """Return the role that a name in the list `columns` stands for.

    >>> role_of("class")
    'label'
    """
    return "label" if name == "class" else name


def layout_from_order(
    delimiter: str, rows: Sequence[Cells], order: Sequence[str], extra: Sequence[str] = ()
) -> tuple[Layout, bool]:
    """Return the layout of columns in this order, and whether at least half of the rows fit it.

    The first row is a header if it has a text in each of the four edge columns and none of them is a number.

    Args:
        delimiter: the character that the rows were split at.
        rows: the first rows of the table.
        order: the role or the name of each column.
        extra: those of the names whose columns are kept.
    """
    index_of = {role_of(name): index for index, name in enumerate(order)}
    columns = {role: index for role, index in index_of.items() if role in ROLES}
    has_header = bool(rows) and _is_header(rows[0], columns)
    # Not all rows have to fit: a few malformed ones are problems of their images, not signs of another delimiter.
    fitting = sum(len(cells) >= len(order) and _fits(cells, columns) for cells in rows[has_header:])
    kept = {name: index_of[name] for name in extra if name in index_of}
    layout = Layout(delimiter, has_header, columns, kept, in_pixels=True)
    return layout, fitting > 0 and 2 * fitting >= len(rows) - has_header


def guess_layout(delimiter: str, rows: Sequence[Cells]) -> Layout | None:
    """Return keras-retinanet's layout if the rows fit it and have no header, else None."""
    if not rows or len(rows[0]) != len(KERAS_RETINANET):
        return None
    layout, fits = layout_from_order(delimiter, rows, KERAS_RETINANET)
    return layout if fits and not layout.has_header else None


def check_guess(path: Path, rows: Sequence[Cells], layout: Layout, *, pixels: bool | None) -> None:
    """Check that a layout from `guess_layout` is the only plausible one.

    Six columns with four numbers in the middle also fit tables with other columns. Reading one of those as
    keras-retinanet's would give wrong boxes without any error.

    Raises:
        SourceError: the columns may be others, or the edges normalised; the message names the option to set.
    """
    boxes = [
        cells for cells in rows if len(cells) > max(layout.columns.values()) and all(_edges(cells, layout.columns))
    ]
    found = f"{path}: expected {','.join(KERAS_RETINANET)} in a table without a header, but in its first rows"
    remedy = "name the columns in their order in the option `columns`"
    if boxes and all(_is_finite_number(cells[layout.columns["label"]]) for cells in boxes):
        raise SourceError(f"{found} the last column has numbers, as if it were an edge; {remedy}")
    edges = [[to_number(edge) for edge in _edges(cells, layout.columns)] for cells in boxes]
    # A width and a height, read as xmax and ymax, are often smaller than xmin and ymin.
    if 2 * sum(xmin > xmax or ymin > ymax for xmin, xmax, ymin, ymax in edges) > len(edges):
        raise SourceError(f"{found} most boxes would be reversed, as if they had width and height; {remedy}")
    numbers = [number for box in edges for number in box]
    # Edges that are all exactly 0 or 1 could be pixels as well.
    if pixels is None and any(number % 1 for number in numbers) and all(0 <= number <= 1 for number in numbers):
        raise SourceError(f"{found} all edges are in [0, 1]; set the option `pixels` to false if they are normalised")


def to_number(text: str) -> float:
    """Return the number in a cell; NaN if there is none.

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


def _edges(cells: Cells, columns: Mapping[str, int]) -> list[str]:
    """Return the texts in the four edge columns; empty where the row is too short."""
    return [cells[columns[edge]].strip() if columns[edge] < len(cells) else "" for edge in EDGES]


def _fits(cells: Cells, columns: Mapping[str, int]) -> bool:
    """Return whether the edges of a row are four numbers, or all empty as for an image without objects."""
    edges = _edges(cells, columns)
    return not any(edges) or all(map(_is_any_number, edges))


def _is_header(cells: Cells, columns: Mapping[str, int]) -> bool:
    edges = _edges(cells, columns)
    return all(edges) and not any(map(_is_any_number, edges))


def _is_finite_number(text: str) -> bool:
    return math.isfinite(to_number(text))


def _is_any_number(text: str) -> bool:
    """Return whether a text is a number, finite or not: NaN is a problem of one row, not a sign of another layout."""
    try:
        float(with_point(text))
    except ValueError:
        return False
    return True
