"""Tables of boxes: what their columns mean, and their rows as text."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tfrec_stage.errors import ConfigError, SourceError

EDGES: Final = ("xmin", "xmax", "ymin", "ymax")
NEEDED: Final = ("image", "label", *EDGES)
ROLES: Final = (*NEEDED, "width", "height", "is_crowd")


@dataclass(frozen=True)
class TableKind:
    """A kind of table that is known by its header."""

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

    @property
    def image(self) -> str:
        """Text that names the image."""
        return self.cells["image"]

    @property
    def label(self) -> str:
        """Text that names the class; empty in a row without an object."""
        return self.cells["label"]

    @property
    def has_object(self) -> bool:
        """Whether the row describes an object, not just an image without any."""
        return bool(self.label or any(self.cells[edge] for edge in EDGES))


@dataclass(frozen=True, slots=True)
class Table:
    """One table and what its columns mean."""

    path: Path
    """The file."""
    places: Mapping[str, int]
    """Place of each role's column, from 0."""
    extra: Mapping[str, int]
    """Place of each further column to keep, by its header."""
    suffix: str
    """What turns the image's cell into a file name."""

    @classmethod
    def open(cls, path: Path, columns: Mapping[str, str], suffix: str | None, extra: Sequence[str] | None) -> "Table":
        """Read a table's header; what is given counts more than what the header tells.

        Raises:
            SourceError: the file cannot be read or lacks a column.
            ConfigError: `columns` has an unknown role.
        """
        unknown = sorted(columns.keys() - set(ROLES))
        if unknown:
            raise ConfigError(f"columns: expected some of {', '.join(ROLES)}, but got {', '.join(unknown)}")
        header = next((cells for _, cells in _read_cells(path)), [])
        kind = _recognise(header)
        known = {role: name for role, name in kind.headers.items() if name in header} | dict(columns)
        kept = [name for name in kind.extra if name in header] if extra is None else extra
        _expect(path, header, known, kept)
        places = {name: place for place, name in enumerate(header)}
        return cls(
            path,
            {role: places[name] for role, name in known.items()},
            {name: places[name] for name in kept},
            kind.suffix if suffix is None else suffix,
        )

    def read_rows(self) -> Iterator[Row]:
        """Yield the rows below the header; cells that a row lacks are empty.

        Raises:
            SourceError: the file cannot be read.
        """
        rows = _read_cells(self.path)
        next(rows, None)
        for line, cells in rows:
            padded = cells + [""] * (1 + max(*self.places.values(), *self.extra.values(), 0) - len(cells))
            by_role = {role: padded[place].strip() for role, place in self.places.items()}
            yield Row(self.path, line, by_role, tuple(padded[place] for place in self.extra.values()))


def _recognise(header: list[str]) -> TableKind:
    kinds = (kind for kind in (OPEN_IMAGES, TENSORFLOW) if {kind.headers["image"], kind.headers["label"]} <= {*header})
    return next(kinds, OTHER)


def _expect(path: Path, header: list[str], known: Mapping[str, str], kept: Sequence[str]) -> None:
    absent = [name for name in (*known.values(), *kept) if name not in header]
    if absent:
        raise SourceError(f"{path}: expected the columns {', '.join(absent)}, but got {', '.join(header) or 'none'}")
    unclear = [role for role in NEEDED if role not in known]
    if unclear:
        raise SourceError(
            f"{path}: expected columns for {', '.join(unclear)}, but got {', '.join(header) or 'none'}; "
            "name them in the option `columns`"
        )


def _read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            yield from ((reader.line_num, cells) for cells in reader if cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: expected a table, but: {error}") from error
