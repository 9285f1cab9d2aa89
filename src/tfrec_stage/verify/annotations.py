"""Check the annotations of stored records: all records at once with arrays, then the few suspicious ones by the rules.

The rules are those of a build, `annotations.rules`.
"""

import re
from dataclasses import replace
from functools import reduce
from operator import and_, or_
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.annotations.policy import AnnotationPolicy, DegenerateBoxes
from tfrec_stage.annotations.rules import length_problems, range_problems, value_problems
from tfrec_stage.reading.columns import Columns, Ragged, Rows
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, Objects, Parts
from tfrec_stage.schema.fields import AREA_KEY
from tfrec_stage.schema.options import AreaUnit
from tfrec_stage.verify.derived_keys import check_derived_keys
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.parsing import Parsed

_BBOX, _PARTS = "image/object/bbox/", "image/object/parts/"
_EDGES: Final = tuple(f"{_BBOX}{edge}" for edge in ("xmin", "xmax", "ymin", "ymax"))
_ONE_AN_OBJECT: Final = (
    *(f"{_BBOX}{name}" for name in ("label", "text", "score", "conf")),
    "image/object/area",
    "image/object/id",
    "image/object/is_crowd",
)
_WITHIN: Final = (*_EDGES, "image/object/area", f"{_PARTS}x", f"{_PARTS}y")
"""Lists of numbers in [0, 1]; a part that is not in the image may be anywhere, which is seen when it is walked."""
_ROUNDING: Final = 1e-6
_FINITE: Final = (f"{_BBOX}score", f"{_BBOX}conf", f"{_PARTS}score")
_TEXTS: Final = ("image/object/id", f"{_BBOX}text")


def check_values(parsed: Parsed, policy: AnnotationPolicy, area: AreaUnit, log: Findings) -> None:
    """Report the problems of all annotations of a batch."""
    if not parsed.columns.size:
        return
    columns = parsed.columns if area is AreaUnit.normalized else _normalize_areas(parsed.columns)
    mismatched = mismatched_rows(columns)
    screens = (_rows_out_of_bounds, reversed_rows, _rows_not_utf8)
    suspects = reduce(or_, (screen(columns) for screen in screens), mismatched)
    for row in np.flatnonzero(suspects).tolist():
        _tell(_record(columns, row), parsed.places[row], policy, log)
    check_derived_keys(parsed, mismatched, log)


def mismatched_rows(columns: Columns) -> Rows:
    """Find records whose lists have different lengths, or lengths that differ from their count."""
    count = columns.scalars["image/object/count"]
    lists, none = columns.lists, np.zeros(columns.size, np.int64)
    edges, places = lists[_EDGES[0]].lengths, lists[f"{_PARTS}x"].lengths
    wrong = [(count < 0) | ((edges != 0) & (edges != count))]
    wrong += [lists[edge].lengths != edges for edge in _EDGES[1:]]
    for key in _ONE_AN_OBJECT:
        lengths = lists[key].lengths if key in lists else none
        wrong.append((lengths != 0) & (lengths != count))
    wrong += [lists[f"{_PARTS}y"].lengths != places]
    for name in ("v", "score"):
        lengths = lists[_PARTS + name].lengths
        wrong.append((lengths != 0) & (lengths != places))
    wrong.append((places != 0) & ((count < 1) | (places % np.maximum(count, 1) != 0)))
    return reduce(or_, wrong)


def reversed_rows(columns: Columns) -> Rows:
    """Find records with a box whose xmin > xmax or ymin > ymax; records with mismatched lists are skipped."""
    xmin, xmax, ymin, ymax = (columns.lists[edge] for edge in _EDGES)
    whole = reduce(and_, (edge.lengths == xmin.lengths for edge in (xmax, ymin, ymax)))
    values = [edge.of_rows(whole) for edge in (xmin, xmax, ymin, ymax)]
    is_reversed = (values[0] > values[1]) | (values[2] > values[3])
    rows = np.zeros(columns.size, np.bool_)
    rows[xmin.owners[np.repeat(whole, xmin.lengths)][is_reversed]] = True
    return rows


def _normalize_areas(columns: Columns) -> Columns:
    """Convert areas from pixels to fractions of the image; rounding to 32 bits may leave slightly more than 1."""
    areas = columns.lists[AREA_KEY]
    pixels = columns.scalars["image/width"] * columns.scalars["image/height"]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = areas.values / pixels[areas.owners]
    values[(values > 1) & (values < 1 + _ROUNDING)] = 1
    return replace(columns, lists={**columns.lists, AREA_KEY: Ragged(values, areas.lengths)})


def _rows_out_of_bounds(columns: Columns) -> Rows:
    conf, label = columns.scalars["image/class/conf"], columns.scalars["image/class/label"]
    wrong: list[Rows] = [~np.isfinite(conf) | (label < 0)]
    lists = columns.lists
    # Both comparisons are false for NaN, hence the negation.
    wrong += [lists[key].rows_with(~((lists[key].values >= 0) & (lists[key].values <= 1))) for key in _WITHIN]
    wrong += [lists[key].rows_with(~np.isfinite(lists[key].values)) for key in _FINITE]
    wrong.append(_rows_beyond(lists[f"{_BBOX}label"], np.iinfo(np.int64).max))
    wrong.append(_rows_beyond(lists[f"{_PARTS}v"], 2))
    if "image/object/is_crowd" in lists:
        wrong.append(_rows_beyond(lists["image/object/is_crowd"], 1))
    return reduce(or_, wrong)


def _rows_beyond(column: Ragged, most: int) -> Rows:
    return column.rows_with((column.values < 0) | (column.values > most))


def _rows_not_utf8(columns: Columns) -> Rows:
    wrong = [_is_not_utf8(columns.scalars[key]) for key in ("image/id", "image/class/text")]
    wrong += [columns.lists[key].rows_with(_is_not_utf8(columns.lists[key].values)) for key in _TEXTS]
    return reduce(or_, wrong)


def _is_not_utf8(values: NDArray[Any]) -> NDArray[np.bool_]:
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


def _tell(record: ImageRecord, place: Location, policy: AnnotationPolicy, log: Findings) -> None:
    lengths = list(length_problems(record.object))
    others = [text for text in value_problems(record, 0, 0) if text not in lengths]
    faults = [("lists_disagree", lengths), ("value_invalid", others), ("out_of_range", range_problems(record.object))]
    if policy.degenerate_boxes is not DegenerateBoxes.keep:
        faults.append(("box_reversed", _reversed(record.object.bbox)))
    for kind, texts in faults:
        if texts:
            log.add(kind, place, _in_keys("; ".join(texts)))


def _reversed(boxes: Boxes) -> list[str]:
    edges = zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=False)
    return [
        f"$.object.bbox.{low}[{index}]: expected at most {high}, but got {box[first]} and {box[first + 1]}"
        for index, box in enumerate(edges)
        for first, low, high in ((0, "xmin", "xmax"), (2, "ymin", "ymax"))
        if box[first] > box[first + 1]
    ]


def _in_keys(text: str) -> str:
    """Translate paths of manifests to keys of records: `$.object.bbox.xmin[0]` → `image/object/bbox/xmin[0]`."""
    return re.sub(r"\$\.[a-z_.]+", lambda path: f"image/{path[0][2:].replace('.', '/')}", text)


def _record(columns: Columns, row: int) -> ImageRecord:
    """Return the stored record in the form of a manifest."""

    def values(key: str) -> list[Any]:
        return columns.lists[key].row(row) if key in columns.lists else []

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
