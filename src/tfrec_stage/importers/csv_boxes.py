"""CSV tables with one box per row → image records.

Source: the box files of OpenImages (https://storage.googleapis.com/openimages/web/download_v7.html), whose edges are
normalised, the tables of the TensorFlow Object Detection API's tutorials, whose edges are in pixels, and those of
keras-retinanet (https://github.com/fizyr/keras-retinanet), which have no header and whose edges are in pixels.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers.csv_columns import EDGES, Columns, Layout
from tfrec_stage.importers.csv_layout import find_layout
from tfrec_stage.importers.csv_rows import Row, Table
from tfrec_stage.importers.image_files import ImageFolder
from tfrec_stage.importers.interface import (
    LARGEST_PX,
    AnnotationError,
    ImportedDataset,
    Problem,
    number_labels,
    show_names,
)
from tfrec_stage.importers.objects import Box, Instance, to_objects
from tfrec_stage.importers.pin_images import inspect_image
from tfrec_stage.records import ImageRecord
from tfrec_stage.text_files import read_text


def read(
    annotations: tuple[Path, ...],
    images: Path,
    images_root: Path,
    *,
    columns: Columns | None = None,
    delimiter: str | None = None,
    pixels: bool | None = None,
    suffix: str | None = None,
    extra: list[str] | None = None,
    names: list[str] | None = None,
    class_names: str | None = None,
) -> ImportedDataset:
    """Read CSV files; those of OpenImages and of TensorFlow's tutorials are recognised by their header.

    Without a header the columns are those of keras-retinanet: image, xmin, ymin, xmax, ymax, class. Cells are separated
    by commas, semicolons, tabs or vertical bars; numbers may have a decimal comma unless commas separate cells.

    The rows of an image become one record, whose id is the image's cell. A row with neither label nor edges is an image
    without objects; an image in no row is not part of the data set. If the rows of each image are adjacent, they are
    streamed; otherwise all rows are held in memory, and records are sorted by image.

    Args:
        annotations: the CSV files.
        images: folder that the image's cell starts from.
        images_root: folder that records' `filename` starts from.
        columns: header of each role's column: image, label, xmin, xmax, ymin, ymax and, where there are any, width,
            height and is_crowd; adds to what the header shows. Or, for a table without a header, a list of these roles
            in the order of the columns, with "-" for a column to ignore; label may be called class.
        delimiter: the character between cells, or "tab"; by default it is recognised.
        pixels: whether edges are in pixels, else normalised; by default they are in pixels if there is a width, or no
            header.
        suffix: appended to the image's cell to get a file name; by default ".jpg" for OpenImages, else nothing.
        extra: headers of columns to keep in `extra`, as lists of texts with one entry per object; by default
            OpenImages' flags.
        names: all labels as the table writes them, in the order of their numbers; by default those of `class_names` in
            the order of their texts, else those found in alphabetical order.
        class_names: CSV file without a header: labels as the table writes them, and their texts.

    Raises:
        SourceError: a file cannot be read, lacks a column, or can be read in several ways.
        ConfigError: `columns` has an unknown role, `delimiter` is not one character, or `names` has one name twice.
    """
    if not annotations:
        raise SourceError("expected CSV files in `annotations`, but got none")
    folder = ImageFolder(images, images_root)
    layouts = [find_layout(path, columns, delimiter, extra, pixels=pixels) for path in annotations]
    if suffix is not None:
        layouts = [replace(layout, suffix=suffix) for layout in layouts]
    tables = [Table(path, layout) for path, layout in zip(annotations, layouts, strict=True)]
    # Tables are read twice: labels are numbered before the first record, and rows are streamed rather than kept.
    overview = _Overview.of(_read_rows(tables))
    texts = {} if class_names is None else _read_texts(Path(class_names))
    ordered = names or sorted(texts, key=lambda key: (texts[key], key)) or None
    labels = {
        key: replace(label, text=texts.get(key, key)) for key, label in number_labels(overview.labels, ordered).items()
    }
    reader = _Reader(folder, labels, {table.path: table for table in tables}, pixels)
    return ImportedDataset(tuple(labels.values()), reader.to_records(overview.group(_read_rows(tables))), folder.notes)


def _read_rows(tables: Iterable[Table]) -> Iterator[Row]:
    return (row for table in tables for row in table.read_rows())


def _read_texts(path: Path) -> dict[str, str]:
    try:
        rows = csv.reader(StringIO(read_text(path), newline=""))
        return {cells[0]: cells[1] for cells in rows if cells}
    except (OSError, UnicodeDecodeError, csv.Error, IndexError) as error:
        raise SourceError(f"class_names: {path}: expected lines of label,text, but: {error}") from error


@dataclass(frozen=True, slots=True)
class _Overview:
    """What must be known about all rows before the first record is built."""

    labels: frozenset[str]
    """Labels as the table writes them."""
    is_grouped: bool
    """Whether the rows of each image are adjacent."""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "_Overview":
        labels: set[str] = set()
        images: set[str] = set()
        is_grouped = True
        for image, group in groupby(rows, attrgetter("image")):
            is_grouped = is_grouped and image not in images
            images.add(image)
            labels.update(row.label for row in group if row.label and not row.problem)
        return cls(frozenset(labels), is_grouped)

    def group(self, rows: Iterable[Row]) -> Iterator[tuple[str, Iterable[Row]]]:
        """Yield each image with its rows.

        The sort is stable: objects of an image keep the order of their rows.
        """
        return groupby(rows if self.is_grouped else sorted(rows, key=attrgetter("image")), attrgetter("image"))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Builds image records from rows."""

    folder: ImageFolder
    labels: Mapping[str, Label]
    """By their text in the table."""
    tables: Mapping[Path, Table]
    pixels: bool | None
    """Whether edges are in pixels; None: as the layout of each table says."""

    def to_records(self, groups: Iterable[tuple[str, Iterable[Row]]]) -> Iterator[ImageRecord | Problem]:
        for image, group in groups:
            rows = list(group)
            if not image:  # unrelated rows: each is a problem of its own
                yield from map(_to_unnamed_problem, rows)
                continue
            try:
                yield self._to_record(image, rows)
            except AnnotationError as error:
                yield error.to_problem(rows[0].path)

    def _to_record(self, image: str, rows: Sequence[Row]) -> ImageRecord:
        for row in rows:
            if row.problem:
                raise _row_problem(row, row.problem)
        layout = self.tables[rows[0].path].layout
        filename, path = self._find_image(rows[0], image + layout.suffix)
        objects = [row for row in rows if row.has_object]
        size = _find_size(rows)
        if self._in_pixels(layout):
            # A stated size names the frame that was annotated, upright or as stored; the file cannot tell which.
            size = size or inspect_image(path).upright
            if size is None and objects:
                raise _row_problem(rows[0], "expected width and height in the table, or a readable image")
        # Normalised edges need no size, so their image may be missing here.
        scale = size if size and self._in_pixels(layout) else (1, 1)
        width, height = size or (None, None)
        return ImageRecord(
            filename=filename,
            id=image,
            object=to_objects([self._to_instance(row, *scale) for row in objects]),
            extra={name: [row.extra[i] for row in objects] for i, name in enumerate(layout.extra)} or "",
            width=width,
            height=height,
        )

    def _find_image(self, row: Row, name: str) -> tuple[str, Path]:
        """Return the `filename` of an image and its path."""
        try:
            return self.folder.filename(name), self.folder.locate(name)
        except AnnotationError as error:
            raise _row_problem(row, str(error)) from None

    def _in_pixels(self, layout: Layout) -> bool:
        return layout.in_pixels if self.pixels is None else self.pixels

    def _to_instance(self, row: Row, width: int, height: int) -> Instance:
        if row.label not in self.labels:
            raise _row_problem(row, f"expected one of the labels {show_names(self.labels)}, but got {row.label!r}")
        xmin, xmax, ymin, ymax = (_read_number(row, edge) for edge in EDGES)
        box = Box(xmin / width, xmax / width, ymin / height, ymax / height)
        is_crowd = _read_number(row, "is_crowd") == 1 if "is_crowd" in row.cells else None
        return Instance(self.labels[row.label], box, box.area, is_crowd=is_crowd)


def _find_size(rows: Sequence[Row]) -> tuple[int, int] | None:
    """Return the width and height in pixels that all rows of an image state; None if the table has no such columns."""
    first = rows[0]
    if "width" not in first.cells or "height" not in first.cells:
        return None
    size = (int(_read_number(first, "width")), int(_read_number(first, "height")))
    if min(size) < 1:
        raise _row_problem(first, f"expected a width and a height of 1 or more, but got {size[0]}x{size[1]}")
    for row in rows[1:]:
        # Compared as text: 20 and 20.0 count as different.
        if any(row.cells.get(side) != first.cells[side] for side in ("width", "height")):
            raise _row_problem(
                row, f"expected {size[0]}x{size[1]} pixels, as in line {first.line}, but got another size"
            )
    return size


def _read_number(row: Row, role: str) -> float:
    try:
        number = float(row.cells[role])
    except ValueError:
        number = math.nan
    if not abs(number) < LARGEST_PX:  # also true for NaN
        raise _row_problem(row, f"expected a number as {role}, but got {row.cells[role]!r}")
    return number


def _to_unnamed_problem(row: Row) -> Problem:
    return Problem(str(row.path), row.problem or "expected the name of an image, but its cell is empty", row.line)


def _row_problem(row: Row, message: str) -> AnnotationError:
    return AnnotationError(message, row.line, row.path)
