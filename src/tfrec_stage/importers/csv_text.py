"""Rows of a table as text: encodings, quotes that are never closed, and bytes that are not text."""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tfrec_stage.errors import SourceError
from tfrec_stage.text_files import MARK_BYTES, find_encoding, is_utf8


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row."""

    line: int
    """Its last line, from 1."""
    cells: list[str]
    """Its cells; of a malformed row those that can be read."""
    problem: str | None = None
    """What is wrong with it as text."""


def read_rows(path: Path, delimiter: str) -> Iterator[TextRow]:
    """Yield the rows that are not blank.

    A quote that is never closed would take all following rows for one cell. So reading starts again after the first
    line of a malformed row, and the row is yielded with its problem.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
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
    """Lines of a file; those of the current row can be given back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._waiting: deque[str] = deque()
        self.taken: list[str] = []
        """Lines of the current row."""
        self.number = 0
        """Number of the last line taken, from 1."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._file)
        self.taken.append(line)
        self.number += 1
        return line

    def give_back(self) -> str:
        """Give back all lines of the current row except the first, which is returned."""
        first, *others = self.taken
        self._waiting.extendleft(reversed(others))
        self.number -= len(others)
        return first


def _read_row(lines: _Lines, delimiter: str) -> TextRow | None:
    lines.taken.clear()
    try:
        cells = next(csv.reader(lines, delimiter=delimiter, strict=True), None)
    except csv.Error as error:
        first = lines.give_back()
        return TextRow(lines.number, _cells_of(first, delimiter), f"expected cells with closed quotes, but: {error}")
    if cells is None:
        return None
    problem = None if all(map(is_utf8, cells)) else "expected text in UTF-8, but some bytes are none"
    return TextRow(lines.number, cells, problem)


def _cells_of(line: str, delimiter: str) -> list[str]:
    """Split a malformed row as far as possible, to find the image that it belongs to."""
    try:
        *closed, last = next(csv.reader([line], delimiter=delimiter), [""])
    except csv.Error:  # a cell of more than 128 KiB
        return [cell.strip('"') for cell in line.split(delimiter)]
    return [*closed, *last.split(delimiter)]  # a quote that is never closed takes all cells behind it for one
