"""Check the annotations of stored records by the rules of a build, if they could not be compared with a manifest.

All records of a batch are first checked as arrays. The few that may be invalid are turned back into records, and the
rules in `annotations.rules` say what is wrong. The keys that profiles add are compared with the core keys they repeat.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_, or_
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.annotations.policy import AnnotationPolicy, DegenerateBoxes
from tfrec_stage.annotations.rules import length_problems, range_problems, value_problems
from tfrec_stage.reading.columns import Columns, Ragged, Rows, mismatched_rows
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, Objects, Parts
from tfrec_stage.schema.fields import AREA_KEY
from tfrec_stage.schema.od_api import FIRST_ID
from tfrec_stage.schema.options import AreaUnit
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.parsing import ParsedBatch

_BBOX, _PARTS = "image/object/bbox/", "image/object/parts/"
_EDGES: Final = tuple(f"{_BBOX}{edge}" for edge in ("xmin", "xmax", "ymin", "ymax"))
_NORMALIZED: Final = (*_EDGES, "image/object/area", f"{_PARTS}x", f"{_PARTS}y")
"""Lists of numbers in [0, 1]. Parts that are not in the image (v = 0) may be anywhere; the rules know that."""
_AREA_TOLERANCE: Final = 1e-6
_FINITE: Final = (f"{_BBOX}score", f"{_BBOX}conf", f"{_PARTS}score")
_TEXTS: Final = ("image/object/id", f"{_BBOX}text")


def check_annotations(parsed: ParsedBatch, policy: AnnotationPolicy, area: AreaUnit, findings: Findings) -> None:
    """Report all invalid annotations of a batch, and derived keys that differ from their core keys."""
    if not parsed.columns.size:
        return
    columns = parsed.columns if area is AreaUnit.normalized else _normalize_areas(parsed.columns)
    mismatched = mismatched_rows(columns)
    # A flagged record may be valid, for example with parts that are not in the image: the rules decide.
    array_checks = (_rows_out_of_bounds, _reversed_rows, _rows_not_utf8)
    suspects = reduce(or_, (find_rows(columns) for find_rows in array_checks), mismatched)
    for row in np.flatnonzero(suspects).tolist():
        _check_record(_record_at(columns, row), parsed.locations[row], policy, findings)
    _check_derived_keys(parsed, mismatched, findings)


# --- check all records as arrays ------------------------------------------------------------------------------------


def _normalize_areas(columns: Columns) -> Columns:
    """Convert areas from square pixels to fractions of the image."""
    areas = columns.lists[AREA_KEY]
    pixels = columns.scalars["image/width"] * columns.scalars["image/height"]
    with np.errstate(divide="ignore", invalid="ignore"):  # a size of 0 is reported elsewhere
        values = areas.values / pixels[areas.owners]
    # Areas are stored as 32-bit floats, so the area of a whole image may come back slightly above 1.
    values[(values > 1) & (values < 1 + _AREA_TOLERANCE)] = 1
    return replace(columns, lists={**columns.lists, AREA_KEY: Ragged(values, areas.lengths)})


def _reversed_rows(columns: Columns) -> Rows:
    """Return the records with a box whose xmin > xmax or ymin > ymax."""
    xmin, xmax, ymin, ymax = (columns.lists[edge] for edge in _EDGES)
    # If the four lists have different lengths, it is unknown which edges belong together.
    has_boxes = reduce(and_, (edge.lengths == xmin.lengths for edge in (xmax, ymin, ymax)))
    values = [edge.of_rows(has_boxes) for edge in (xmin, xmax, ymin, ymax)]
    is_reversed = (values[0] > values[1]) | (values[2] > values[3])
    rows = np.zeros(columns.size, np.bool_)
    rows[xmin.owners[np.repeat(has_boxes, xmin.lengths)][is_reversed]] = True
    return rows


def _rows_out_of_bounds(columns: Columns) -> Rows:
    conf, label = columns.scalars["image/class/conf"], columns.scalars["image/class/label"]
    rows: list[Rows] = [~np.isfinite(conf) | (label < 0)]
    lists = columns.lists
    # Both comparisons are false for NaN, so the negation finds NaN as well.
    rows += [lists[key].rows_with(~((lists[key].values >= 0) & (lists[key].values <= 1))) for key in _NORMALIZED]
    rows += [lists[key].rows_with(~np.isfinite(lists[key].values)) for key in _FINITE]
    rows.append(_rows_outside(lists[f"{_BBOX}label"], np.iinfo(np.int64).max))
    rows.append(_rows_outside(lists[f"{_PARTS}v"], 2))
    if "image/object/is_crowd" in lists:
        rows.append(_rows_outside(lists["image/object/is_crowd"], 1))
    return reduce(or_, rows)


def _rows_outside(column: Ragged, highest: int) -> Rows:
    return column.rows_with((column.values < 0) | (column.values > highest))


def _rows_not_utf8(columns: Columns) -> Rows:
    rows = [_is_not_utf8(columns.scalars[key]) for key in ("image/id", "image/class/text")]
    rows += [columns.lists[key].rows_with(_is_not_utf8(columns.lists[key].values)) for key in _TEXTS]
    return reduce(or_, rows)


def _is_not_utf8(values: NDArray[Any]) -> NDArray[np.bool_]:
    # Decoding all texts as one is fast. A newline between them keeps two broken halves from making a valid character.
    try:
        b"\n".join(values.tolist()).decode()
    except UnicodeDecodeError:
        return np.array([not _decodes(value) for value in values.tolist()], np.bool_)
    return np.zeros(len(values), np.bool_)


def _decodes(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- check one record by the rules ----------------------------------------------------------------------------------


def _check_record(record: ImageRecord, location: Location, policy: AnnotationPolicy, findings: Findings) -> None:
    lengths = list(length_problems(record.object))
    # `value_problems` includes the lengths, which are a kind of their own. The size of the image is checked elsewhere.
    values = [text for text in value_problems(record, 0, 0) if text not in lengths]
    problems = [("lists_disagree", lengths), ("value_invalid", values), ("out_of_range", range_problems(record.object))]
    if policy.degenerate_boxes is not DegenerateBoxes.keep:
        problems.append(("box_reversed", _reversed_boxes(record.object.bbox)))
    for kind, texts in problems:
        if texts:
            findings.add(kind, location, _with_keys("; ".join(texts)))


def _reversed_boxes(boxes: Boxes) -> list[str]:
    # Boxes without area pass, unlike in a build: edges that differ in the manifest may be equal as 32-bit floats.
    edges = zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=False)
    return [
        f"$.object.bbox.{low}[{index}]: expected at most {high}, but got {box[first]} and {box[first + 1]}"
        for index, box in enumerate(edges)
        for first, low, high in ((0, "xmin", "xmax"), (2, "ymin", "ymax"))
        if box[first] > box[first + 1]
    ]


def _with_keys(text: str) -> str:
    """Translate paths of manifests to keys of records: `$.object.bbox.xmin[0]` → `image/object/bbox/xmin[0]`."""
    return re.sub(r"\$\.[a-z_.]+", lambda path: f"image/{path[0][2:].replace('.', '/')}", text)


def _record_at(columns: Columns, row: int) -> ImageRecord:
    """Return the annotations of a stored record in the form that a manifest has."""

    def values(key: str) -> list[Any]:
        return columns.lists[key].row(row) if key in columns.lists else []

    # Text that is not UTF-8 becomes surrogates, which the rules report.
    def texts(key: str) -> list[Any]:
        return [value.decode(errors="surrogateescape") for value in values(key)]

    def scalar(key: str) -> Any:
        return columns.scalars[f"image/{key}"][row]

    return ImageRecord(
        filename="",
        id=scalar("id").decode(errors="surrogateescape"),
        class_=ImageClass(
            label=int(scalar("class/label")),
            text=scalar("class/text").decode(errors="surrogateescape"),
            conf=float(scalar("class/conf")),
        ),
        object=Objects(
            count=int(scalar("object/count")),
            area=values("image/object/area"),
            id=texts("image/object/id"),
            is_crowd=values("image/object/is_crowd"),
            bbox=Boxes(
                text=texts(f"{_BBOX}text"),
                **{name: values(_BBOX + name) for name in Boxes.__struct_fields__ if name != "text"},
            ),
            parts=Parts(**{name: values(_PARTS + name) for name in Parts.__struct_fields__}),
        ),
    )


# --- compare derived keys with core keys ----------------------------------------------------------------------------


def _check_derived_keys(parsed: ParsedBatch, ignored: Rows, findings: Findings) -> None:
    """Report records in which a key of a profile has other values than the core keys it is derived from.

    Args:
        parsed: a batch.
        ignored: records with mismatched lists: these are reported already, and what follows from them is undefined.
        findings: collects findings.
    """
    columns = parsed.columns
    for key, (original, derive) in _DERIVED_LISTS.items():
        if key in columns.lists and original in columns.lists:
            for row in _differing_rows(columns.lists[key], derive(columns)):
                if not ignored[row]:
                    message = f"{key}: expected what follows from {original}"
                    findings.add("copy_differs", parsed.locations[row], message)
    source_ids = columns.scalars.get("image/source_id")
    if source_ids is not None:
        for row in np.flatnonzero(source_ids != columns.scalars["image/id"]).tolist():
            findings.add("copy_differs", parsed.locations[row], "image/source_id: expected the same as image/id")


def _same(key: str) -> tuple[str, Callable[[Columns], Ragged]]:
    return key, lambda columns: columns.lists[key]


def _one_per_box(columns: Columns, key: str, default: Any) -> Ragged:
    """Return a list with one value per box: the stored one, or defaults if it has another length.

    This is `schema.tfds.one_per_box` for a whole batch.
    """
    boxes, values = columns.lists[f"{_BBOX}xmin"].lengths, columns.lists[key]
    if np.array_equal(values.lengths, boxes):
        return values
    rows = [
        values.row(row) if values.lengths[row] == count else [default] * int(count) for row, count in enumerate(boxes)
    ]
    flat: NDArray[Any] = np.empty(int(boxes.sum()), values.values.dtype)
    flat[:] = [value for row in rows for value in row]
    return Ragged(flat, boxes)


def _class_ids(columns: Columns) -> Ragged:
    """Return the ids that the Object Detection API has for the labels; boxes without labels have the first class."""
    labels, boxes = columns.lists[f"{_BBOX}label"], columns.lists[f"{_BBOX}xmin"].lengths
    lengths = np.where(labels.lengths == 0, boxes, labels.lengths)
    ids = np.full(int(lengths.sum()), FIRST_ID, np.int64)
    ids[np.repeat(labels.lengths != 0, lengths)] += labels.values
    return Ragged(ids, lengths)


def _corners(columns: Columns) -> Ragged:
    """Return ymin, xmin, ymax, xmax of every box, four numbers per box."""
    edges = [columns.lists[_BBOX + edge] for edge in ("ymin", "xmin", "ymax", "xmax")]
    if any(not np.array_equal(edge.lengths, edges[0].lengths) for edge in edges):
        return Ragged(edges[0].values[:0], np.zeros(columns.size, np.int64))  # mismatched lists are reported already
    return Ragged(np.stack([edge.values for edge in edges], axis=1).ravel(), edges[0].lengths * len(edges))


_DERIVED_LISTS: Final[Mapping[str, tuple[str, Callable[[Columns], Ragged]]]] = {
    "image/object/class/label": (f"{_BBOX}label", _class_ids),
    "image/object/class/text": _same(f"{_BBOX}text"),
    "image/object/group_of": _same("image/object/is_crowd"),
    "image/object/keypoint/x": _same(f"{_PARTS}x"),
    "image/object/keypoint/y": _same(f"{_PARTS}y"),
    "image/object/keypoint/visibility": _same(f"{_PARTS}v"),
    "objects/bbox": (f"{_BBOX}xmin", _corners),
    "objects/label": (f"{_BBOX}label", lambda columns: _one_per_box(columns, f"{_BBOX}label", -1)),
    "objects/id": ("image/object/id", lambda columns: _one_per_box(columns, "image/object/id", b"")),
}
"""For each derived key, the core key that it is derived from and the function that derives it."""


def _differing_rows(derived: Ragged, expected: Ragged) -> Sequence[int]:
    if np.array_equal(derived.lengths, expected.lengths) and np.array_equal(derived.values, expected.values):
        return []
    return [row for row in range(len(derived.lengths)) if derived.row(row) != expected.row(row)]
