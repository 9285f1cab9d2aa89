"""Tables without a header: columns by their order, as stated or as in keras-retinanet."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.csv_kinds import EDGES, KERAS_RETINANET, ROLES, Layout, role_of, to_number, with_point
from tfrec_stage.importers.csv_text import TextRow


def lay_out_by_order(
    delimiter: str, rows: Sequence[TextRow], order: Sequence[str], extra: Sequence[str] = ()
) -> tuple[Layout, bool]:
    """Give the layout of columns in this order, and whether most rows are of that shape with this delimiter.

    A first row whose four edges are no numbers is a header.
    """
    places = {role_of(name): place for place, name in enumerate(order)}
    by_role = {role: place for role, place in places.items() if role in ROLES}
    has_header = bool(rows) and _is_header(rows[0], by_role)
    fitting = sum(len(row.cells) >= len(order) and _has_shape(row, by_role) for row in rows[has_header:])
    layout = Layout(
        delimiter, has_header, by_role, {name: places[name] for name in extra if name in places}, in_pixels=True
    )
    return layout, fitting > 0 and 2 * fitting >= len(rows) - has_header


def guess_order(delimiter: str, rows: Sequence[TextRow]) -> Layout | None:
    """Give keras-retinanet's layout, if the rows are of that shape."""
    if not rows or len(rows[0].cells) != len(KERAS_RETINANET):
        return None
    layout, fits = lay_out_by_order(delimiter, rows, KERAS_RETINANET)
    return layout if fits and not layout.has_header else None


def check_guess(path: Path, rows: Sequence[TextRow], layout: Layout, *, pixels: bool | None) -> None:
    """See to it that the columns are what `guess_order` takes them for.

    Raises:
        SourceError: they may as well be others, or edges in another unit; the message names the option to set.
    """
    boxes = [row for row in rows if len(row.cells) > max(layout.places.values()) and all(_edges(row, layout.places))]
    seen = f"{path}: expected {','.join(KERAS_RETINANET)} in a table without a header, but in its first rows"
    settled = "name the columns in their order in the option `columns`"
    if boxes and all(map(_is_number, (row.cells[layout.places["label"]] for row in boxes))):
        raise SourceError(f"{seen} the last column has numbers, as if it were an edge; {settled}")
    edges = [[to_number(edge) for edge in _edges(row, layout.places)] for row in boxes]
    if 2 * sum(xmin > xmax or ymin > ymax for xmin, xmax, ymin, ymax in edges) > len(edges):
        raise SourceError(f"{seen} most boxes would be reversed, as if they had width and height; {settled}")
    numbers = [number for box in edges for number in box]
    if pixels is None and any(number % 1 for number in numbers) and all(0 <= number <= 1 for number in numbers):
        raise SourceError(f"{seen} all edges are in [0, 1]; set the option `pixels` to false if they are normalised")


def _edges(row: TextRow, places: Mapping[str, int]) -> list[str]:
    """Return the texts in the columns of edges, empty if the row is too short."""
    return [row.cells[places[edge]].strip() if places[edge] < len(row.cells) else "" for edge in EDGES]


def _is_number(text: str) -> bool:
    return math.isfinite(to_number(text))


def _is_written_as_number(text: str) -> bool:
    """Return whether it is a number, finite or not: NaN is a problem of one row, not a sign of another table."""
    try:
        float(with_point(text))
    except ValueError:
        return False
    return True


def _has_shape(row: TextRow, places: Mapping[str, int]) -> bool:
    """Return whether a row has four numbers as edges, or is an image without objects."""
    edges = _edges(row, places)
    return not any(edges) or all(map(_is_written_as_number, edges))


def _is_header(row: TextRow, places: Mapping[str, int]) -> bool:
    edges = _edges(row, places)
    return all(edges) and not any(map(_is_written_as_number, edges))
