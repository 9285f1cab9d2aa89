"""Recognise the layout of a table: its delimiter, whether it has a header, and which column is which.

Every delimiter is tried on the first rows; the one that makes them a table of boxes is used. `csv.Sniffer` only counts
characters: it takes the comma in decimal numbers, or a letter of all file names, for the delimiter.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn

from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers.csv_headerless import check_guess, guess_order, lay_out_by_order
from tfrec_stage.importers.csv_kinds import (
    KERAS_RETINANET,
    NEEDED,
    OPEN_IMAGES,
    OTHER,
    ROLES,
    TENSORFLOW,
    Columns,
    Layout,
    TableKind,
    role_of,
)
from tfrec_stage.importers.csv_text import TextRow, read_rows

DELIMITERS: Final = (",", ";", "\t", "|")
_ROWS_TRIED: Final = 20
_PASSED_OVER: Final = "-"
_SHOWN: Final = 200
"""Characters of a first row that a message shows."""


def find_layout(
    path: Path,
    columns: Columns | None = None,
    delimiter: str | None = None,
    extra: Sequence[str] | None = None,
    *,
    pixels: bool | None = None,
) -> Layout:
    """Give the layout of a table; what is stated counts more than what its first rows tell.

    Args:
        path: the table.
        columns: header of each role's column, or the roles in the order of the columns.
        delimiter: what separates cells.
        extra: headers of further columns to keep.
        pixels: whether edges are in pixels, if that is known.

    Raises:
        SourceError: the file cannot be read, lacks a column, or can be read in several ways.
        ConfigError: an option is none of those that can be.
    """
    _check_columns(columns, extra or ())
    tried = DELIMITERS if delimiter is None else (_parse_delimiter(delimiter),)
    samples = {each: list(islice(read_rows(path, each), _ROWS_TRIED)) for each in tried}
    layouts = [layout for each, rows in samples.items() if (layout := _lay_out(each, rows, columns, extra))]
    if not layouts and delimiter is not None and isinstance(columns, list):
        return lay_out_by_order(tried[0], samples[tried[0]], columns, extra or ())[0]  # nothing is left to be guessed
    if not layouts:
        _refuse(path, max(samples.values(), key=lambda rows: len(_first(rows))), columns, extra)
    if len(layouts) > 1:
        shown = " as well as ".join(repr(layout.delimiter) for layout in layouts)
        raise SourceError(f"{path}: expected one delimiter, but cells may be separated by {shown}; set `delimiter`")
    if columns is None and not layouts[0].has_header:
        check_guess(path, samples[layouts[0].delimiter], layouts[0], pixels=pixels)
    return layouts[0]


def _check_columns(columns: Columns | None, extra: Sequence[str]) -> None:
    names = [*map(role_of, columns)] if isinstance(columns, list) else list(columns or ())
    known = {*ROLES} | ({*extra, _PASSED_OVER} if isinstance(columns, list) else set())
    if unknown := sorted({*names} - known):
        raise ConfigError(f"columns: expected some of {', '.join(ROLES)}, but got {', '.join(unknown)}")
    absent = [role for role in NEEDED if isinstance(columns, list) and names.count(role) != 1]
    if absent:
        raise ConfigError(f"columns: expected each of {', '.join(NEEDED)} once, but got {', '.join(names)}")


def _parse_delimiter(text: str) -> str:
    delimiter = "\t" if text in {"tab", "\\t"} else text
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigError(f"delimiter: expected one character, or tab, but got {text!r}")
    return delimiter


def _first(rows: Sequence[TextRow]) -> list[str]:
    return [cell.strip() for cell in rows[0].cells] if rows else []


def _lay_out(
    delimiter: str, rows: Sequence[TextRow], columns: Columns | None, extra: Sequence[str] | None
) -> Layout | None:
    """Return the layout with that delimiter, if it makes the rows a table of boxes."""
    if isinstance(columns, list):
        layout, fits = lay_out_by_order(delimiter, rows, columns, extra or ())
        return layout if fits else None
    header = _first(rows)
    kind, known, kept = _recognise(header, columns, extra)
    if {*NEEDED} <= known.keys() and {*known.values(), *kept} <= {*header}:
        places = {name: place for place, name in enumerate(header)}
        by_role = {role: places[name] for role, name in known.items()}
        by_header = {name: places[name] for name in kept}
        return Layout(delimiter, True, by_role, by_header, kind.suffix, in_pixels="width" in by_role)
    return guess_order(delimiter, rows) if columns is None and not extra else None


def _recognise(
    header: Sequence[str], columns: Mapping[str, str] | None, extra: Sequence[str] | None
) -> tuple[TableKind, dict[str, str], Sequence[str]]:
    """Return what a header shows: the header of each role's column, and those of further columns to keep."""
    kinds = (kind for kind in (OPEN_IMAGES, TENSORFLOW) if {kind.headers["image"], kind.headers["label"]} <= {*header})
    kind = next(kinds, OTHER)
    known = {role: name for role, name in kind.headers.items() if name in header} | dict(columns or {})
    return kind, known, [name for name in kind.extra if name in header] if extra is None else extra


def _refuse(path: Path, rows: Sequence[TextRow], columns: Columns | None, extra: Sequence[str] | None) -> NoReturn:
    text = ", ".join(_first(rows)).replace("\n", " ").replace("\0", "\\0") or "none"
    got = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    if isinstance(columns, list):
        raise SourceError(f"{path}: expected rows of {', '.join(columns)}, but got {got}; correct `columns`")
    _, known, kept = _recognise(_first(rows), columns, extra)
    absent = [name for name in (*known.values(), *kept) if name not in _first(rows)]
    if absent:
        raise SourceError(f"{path}: expected the columns {', '.join(absent)}, but got {got}")
    unclear = [role for role in NEEDED if role not in known]
    raise SourceError(
        f"{path}: expected columns for {', '.join(unclear)}, but got {got}; name them in the option `columns`, "
        f"in their order where there is no header, as [{', '.join(KERAS_RETINANET)}]"
    )
