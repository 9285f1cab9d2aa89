"""Tables of boxes: rows by the meaning of their columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfrec_stage.importers.csv_kinds import EDGES, Columns, Layout, with_point
from tfrec_stage.importers.csv_layout import find_layout
from tfrec_stage.importers.csv_text import TextRow, read_rows

_NUMBERS: Final = (*EDGES, "width", "height", "is_crowd")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, as text."""

    path: Path
    """The table."""
    line: int
    """Last line of the row, from 1."""
    cells: Mapping[str, str]
    """Texts by role; those of absent columns are absent."""
    extra: tuple[str, ...]
    """Texts of the further columns that are kept."""
    problem: str | None = None
    """What is wrong with the row as text; its cells are then those that can be read."""

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
        """Whether the row describes an object, not only an image without any."""
        return bool(self.label or any(self.cells[edge] for edge in EDGES))


@dataclass(frozen=True, slots=True)
class Table:
    """One table, and the meaning of its columns."""

    path: Path
    """The file."""
    layout: Layout
    """Its delimiter and its columns."""
    suffix: str
    """What turns the image's cell into a file name."""

    @classmethod
    def open(
        cls,
        path: Path,
        columns: Columns | None,
        suffix: str | None,
        extra: Sequence[str] | None,
        *,
        delimiter: str | None = None,
        pixels: bool | None = None,
    ) -> "Table":
        """Read a table's first rows; what is given counts more than what they tell.

        Raises:
            SourceError: the file cannot be read, lacks a column, or can be read in several ways.
            ConfigError: `columns` or `delimiter` is none that can be.
        """
        layout = find_layout(path, columns, delimiter, extra, pixels=pixels)
        return cls(path, layout, layout.suffix if suffix is None else suffix)

    @property
    def extra(self) -> Mapping[str, int]:
        """Index of each further column to keep, by its header."""
        return self.layout.extra

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
        places, further = self.layout.places, self.layout.extra.values()
        padded = row.cells + [""] * (1 + max(*places.values(), *further, 0) - len(row.cells))
        cells = {role: padded[place].strip() for role, place in places.items()}
        if self.layout.delimiter != ",":
            cells |= {role: with_point(cells[role]) for role in _NUMBERS if role in cells}
        return Row(self.path, row.line, cells, tuple(padded[place] for place in further), row.problem)
