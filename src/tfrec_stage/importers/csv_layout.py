"""Recognise the layout of a table: its delimiter, whether it has a header, and which column is which.

Each delimiter is tried on the first rows, and the one that gives a table of boxes is used. `csv.Sniffer` would not do:
it only counts characters, and takes the comma in decimal numbers, or a letter that all file names have, for the
delimiter.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn

from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers.csv_columns import (
    KERAS_RETINANET,
    OPEN_IMAGES,
    OTHER,
    REQUIRED,
    ROLES,
    TENSORFLOW,
    Cells,
    Columns,
    Layout,
    TableFormat,
    check_guess,
    guess_layout,
    layout_from_order,
    role_of,
)
from tfrec_stage.importers.csv_rows import read_rows

DELIMITERS: Final = (",", ";", "\t", "|")
_SAMPLE_ROWS: Final = 20
_IGNORED: Final = "-"
"""Stands for a column without a role in the list `columns`."""
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
    """Return the layout of a table; options take precedence over what its first rows show.

    Args:
        path: the table.
        columns: header of each role's column, or the roles in the order of the columns.
        delimiter: the character between cells.
        extra: headers of further columns to keep.
        pixels: whether edges are in pixels; None: unknown.

    Raises:
        SourceError: the file cannot be read, lacks a column, or can be read in several ways.
        ConfigError: an option has an invalid value.
    """
    _check_columns(columns, extra or ())
    tried = DELIMITERS if delimiter is None else (_parse_delimiter(delimiter),)
    samples = {each: [row.cells for row in islice(read_rows(path, each), _SAMPLE_ROWS)] for each in tried}
    layouts = [layout for each, rows in samples.items() if (layout := _lay_out(each, rows, columns, extra))]
    if not layouts and delimiter is not None and isinstance(columns, list):
        # With both options set there is nothing to guess: rows that do not fit are reported one by one.
        return layout_from_order(tried[0], samples[tried[0]], columns, extra or ())[0]
    if not layouts:
        # The delimiter that gives the most cells is the likeliest, so the message shows the first row split at it.
        _refuse(path, max(samples.values(), key=lambda rows: len(_first(rows))), columns, extra)
    if len(layouts) > 1:
        shown = " as well as ".join(repr(layout.delimiter) for layout in layouts)
        raise SourceError(f"{path}: expected one delimiter, but cells may be separated by {shown}; set `delimiter`")
    if columns is None and not layouts[0].has_header:
        check_guess(path, samples[layouts[0].delimiter], layouts[0], pixels=pixels)
    return layouts[0]


def _check_columns(columns: Columns | None, extra: Sequence[str]) -> None:
    names = [*map(role_of, columns)] if isinstance(columns, list) else list(columns or ())
    known = {*ROLES} | ({*extra, _IGNORED} if isinstance(columns, list) else set())
    if unknown := sorted({*names} - known):
        raise ConfigError(f"columns: expected some of {', '.join(ROLES)}, but got {', '.join(unknown)}")
    absent = [role for role in REQUIRED if isinstance(columns, list) and names.count(role) != 1]
    if absent:
        raise ConfigError(f"columns: expected each of {', '.join(REQUIRED)} once, but got {', '.join(names)}")


def _parse_delimiter(text: str) -> str:
    delimiter = "\t" if text in {"tab", "\\t"} else text
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigError(f"delimiter: expected one character, or tab, but got {text!r}")
    return delimiter


def _first(rows: Sequence[Cells]) -> list[str]:
    return [cell.strip() for cell in rows[0]] if rows else []


def _lay_out(
    delimiter: str, rows: Sequence[Cells], columns: Columns | None, extra: Sequence[str] | None
) -> Layout | None:
    """Return the layout with that delimiter; None if the rows are then no table of boxes."""
    if isinstance(columns, list):
        layout, fits = layout_from_order(delimiter, rows, columns, extra or ())
        return layout if fits else None
    header = _first(rows)
    table_format, known, kept = _match_header(header, columns, extra)
    # Every needed role has a column, and every column that an option names exists.
    if {*REQUIRED} <= known.keys() and {*known.values(), *kept} <= {*header}:
        index_of = {name: index for index, name in enumerate(header)}
        by_role = {role: index_of[name] for role, name in known.items()}
        by_header = {name: index_of[name] for name in kept}
        return Layout(delimiter, True, by_role, by_header, table_format.suffix, in_pixels="width" in by_role)
    return guess_layout(delimiter, rows) if columns is None and not extra else None


def _match_header(
    header: Sequence[str], columns: Mapping[str, str] | None, extra: Sequence[str] | None
) -> tuple[TableFormat, dict[str, str], Sequence[str]]:
    """Return the format that a header shows, the header of each role's column, and those of further columns to keep."""
    known_formats = (OPEN_IMAGES, TENSORFLOW)
    matching = (each for each in known_formats if {each.headers["image"], each.headers["label"]} <= {*header})
    table_format = next(matching, OTHER)
    # `columns` comes last: it overrides the format where the two differ.
    known = {role: name for role, name in table_format.headers.items() if name in header} | dict(columns or {})
    return table_format, known, [name for name in table_format.extra if name in header] if extra is None else extra


def _refuse(path: Path, rows: Sequence[Cells], columns: Columns | None, extra: Sequence[str] | None) -> NoReturn:
    text = ", ".join(_first(rows)).replace("\n", " ").replace("\0", "\\0") or "none"
    got = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    if isinstance(columns, list):
        raise SourceError(f"{path}: expected rows of {', '.join(columns)}, but got {got}; correct `columns`")
    _, known, kept = _match_header(_first(rows), columns, extra)
    absent = [name for name in (*known.values(), *kept) if name not in _first(rows)]
    if absent:
        raise SourceError(f"{path}: expected the columns {', '.join(absent)}, but got {got}")
    unclear = [role for role in REQUIRED if role not in known]
    raise SourceError(
        f"{path}: expected columns for {', '.join(unclear)}, but got {got}; name them in the option `columns`, "
        f"in their order where there is no header, as [{', '.join(KERAS_RETINANET)}]"
    )
