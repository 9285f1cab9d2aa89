"""Rows of a table: as text, then by the role of each column.

Handles what `csv` alone does not: encodings, bytes that are not text, and quotes that are never closed.
"""

import csv
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.csv_columns import EDGES, Layout, with_point
from tfrec_stage.text_files import MARK_BYTES, find_encoding, is_utf8

_NUMBERS: Final = (*EDGES, "width", "height", "is_crowd")
"""Roles whose cells are numbers."""


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row as text."""

    line: int
    """Its last line, from 1."""
    cells: list[str]
    """Its cells; of a malformed row those that can be read."""
    problem: str | None = None
    """What is wrong with the text of the row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row by role."""

    path: Path
    """The table."""
    line: int
    """Last line of the row, from 1."""
    cells: Mapping[str, str]
    """Text of each role that the table has a column for."""
    extra: tuple[str, ...]
    """Texts of the further columns that are kept."""
    problem: str | None = None
    """What is wrong with the text of the row; `cells` then has what can be read."""

    @property
    def image(self) -> str:
        """Text that identifies the image."""
        return self.cells["image"]

    @property
    def label(self) -> str:
        """Text that names the class; empty in a row without an object."""
        return self.cells["label"]

    @property
    def has_object(self) -> bool:
        """Whether the row describes an object, rather than an image without objects."""
        return bool(self.label or any(self.cells[edge] for edge in EDGES))


@dataclass(frozen=True, slots=True)
class Table:
    """A table file and its layout."""

    path: Path
    layout: Layout

    def read_rows(self) -> Iterator[Row]:
        """Yield the rows below the header, if there is one; cells that a row lacks are empty.

        Raises:
            SourceError: the file cannot be read.
        """
        rows = read_rows(self.path, self.layout.delimiter)
        if self.layout.has_header:
            next(rows, None)
        return map(self._to_row, rows)

    def _to_row(self, row: TextRow) -> Row:
        columns, extra = self.layout.columns, self.layout.extra.values()
        padded = row.cells + [""] * (1 + max(*columns.values(), *extra, 0) - len(row.cells))
        cells = {role: padded[index].strip() for role, index in columns.items()}
        if self.layout.delimiter != ",":  # else a comma ends the cell, and no number can have one
            cells |= {role: with_point(cells[role]) for role in _NUMBERS if role in cells}
        return Row(self.path, row.line, cells, tuple(padded[index] for index in extra), row.problem)


def read_rows(path: Path, delimiter: str) -> Iterator[TextRow]:
    """Yield the rows that are not blank.

    A quote that is never closed would turn all following rows into one cell. So reading resumes after the first line of
    a malformed row, and the row is yielded with its problem.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        # surrogateescape keeps bytes that are not text, so that they are a problem of their row, not of the file.
        with path.open(encoding=_find_encoding(path), errors="surrogateescape", newline="") as file:
            lines = _Lines(file)
            while row := _read_row(lines, delimiter):
                if any(map(str.strip, row.cells)) or row.problem:
                    yield row
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: expected a table, but: {error}") from error


def _find_encoding(path: Path) -> str:
    with path.open("rb") as file:
        return find_encoding(file.read(MARK_BYTES))


class _Lines:
    """Lines of a file; lines of the current row can be put back and read again."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._put_back: deque[str] = deque()
        self.current: list[str] = []
        """Lines of the current row."""
        self.number = 0
        """Number of the last line read, from 1."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._put_back.popleft() if self._put_back else next(self._file)
        self.current.append(line)
        self.number += 1
        return line

    def keep_first(self) -> str:
        """Put back all lines of the current row except the first, and return that one."""
        first, *others = self.current
        self._put_back.extendleft(reversed(others))
        self.number -= len(others)
        return first


def _read_row(lines: _Lines, delimiter: str) -> TextRow | None:
    lines.current.clear()
    try:
        cells = next(csv.reader(lines, delimiter=delimiter, strict=True), None)
    except csv.Error as error:
        first = lines.keep_first()
        return TextRow(
            lines.number, _split_malformed(first, delimiter), f"expected cells with closed quotes, but: {error}"
        )
    if cells is None:
        return None
    problem = None if all(map(is_utf8, cells)) else "expected text in UTF-8, but some bytes are none"
    return TextRow(lines.number, cells, problem)


def _split_malformed(line: str, delimiter: str) -> list[str]:
    """Split a malformed row as well as possible, to find the image that it belongs to."""
    try:
        *closed, last = next(csv.reader([line], delimiter=delimiter), [""])
    except csv.Error:  # a cell of more than 128 KiB
        return [cell.strip('"') for cell in line.split(delimiter)]
    return [*closed, *last.split(delimiter)]  # the cell with the open quote has swallowed all that follow
