"""Check the keys that profiles add: each repeats core keys in the form that its reader needs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.reading.columns import Columns, Ragged, Rows
from tfrec_stage.schema.od_api import FIRST_ID
from tfrec_stage.verify.findings import Findings
from tfrec_stage.verify.parsing import Parsed

_BBOX, _PARTS = "image/object/bbox/", "image/object/parts/"


def check_derived_keys(parsed: Parsed, ignored: Rows, log: Findings) -> None:
    """Report records in which a key that repeats another one has other values.

    Args:
        parsed: a batch.
        ignored: records with mismatched lists, which are reported elsewhere.
        log: collects findings.
    """
    columns = parsed.columns
    for key, (original, derive) in _LISTS.items():
        if key in columns.lists and original in columns.lists:
            for row in _differing_rows(columns.lists[key], derive(columns)):
                if not ignored[row]:
                    log.add("copy_differs", parsed.places[row], f"{key}: expected what follows from {original}")
    stated = columns.scalars.get("image/source_id")
    if stated is not None:
        for row in np.flatnonzero(stated != columns.scalars["image/id"]).tolist():
            log.add("copy_differs", parsed.places[row], "image/source_id: expected the same as image/id")


def _same(key: str) -> tuple[str, Callable[[Columns], Ragged]]:
    return key, lambda columns: columns.lists[key]


def _one_a_box(columns: Columns, key: str, default: Any) -> Ragged:
    """Return the values of a list with one per box, or the default for each box if the list has another length."""
    boxes, values = columns.lists[f"{_BBOX}xmin"].lengths, columns.lists[key]
    if np.array_equal(values.lengths, boxes):
        return values
    rows = [
        values.row(row) if values.lengths[row] == count else [default] * int(count) for row, count in enumerate(boxes)
    ]
    flat: NDArray[Any] = np.empty(int(boxes.sum()), values.values.dtype)
    flat[:] = [value for of_row in rows for value in of_row]
    return Ragged(flat, boxes)


def _class_ids(columns: Columns) -> Ragged:
    labels, boxes = columns.lists[f"{_BBOX}label"], columns.lists[f"{_BBOX}xmin"].lengths
    lengths = np.where(labels.lengths == 0, boxes, labels.lengths)
    ids = np.full(int(lengths.sum()), FIRST_ID, np.int64)  # boxes without labels have the first class
    ids[np.repeat(labels.lengths != 0, lengths)] += labels.values
    return Ragged(ids, lengths)


def _corners(columns: Columns) -> Ragged:
    edges = [columns.lists[_BBOX + edge] for edge in ("ymin", "xmin", "ymax", "xmax")]
    if any(not np.array_equal(edge.lengths, edges[0].lengths) for edge in edges):
        return Ragged(edges[0].values[:0], np.zeros(columns.size, np.int64))  # mismatched lists are reported elsewhere
    return Ragged(np.stack([edge.values for edge in edges], axis=1).ravel(), edges[0].lengths * len(edges))


_LISTS: Final[Mapping[str, tuple[str, Callable[[Columns], Ragged]]]] = {
    "image/object/class/label": (f"{_BBOX}label", _class_ids),
    "image/object/class/text": _same(f"{_BBOX}text"),
    "image/object/group_of": _same("image/object/is_crowd"),
    "image/object/keypoint/x": _same(f"{_PARTS}x"),
    "image/object/keypoint/y": _same(f"{_PARTS}y"),
    "image/object/keypoint/visibility": _same(f"{_PARTS}v"),
    "objects/bbox": (f"{_BBOX}xmin", _corners),
    "objects/label": (f"{_BBOX}label", lambda columns: _one_a_box(columns, f"{_BBOX}label", -1)),
    "objects/id": ("image/object/id", lambda columns: _one_a_box(columns, "image/object/id", b"")),
}
"""By the key that repeats another: that other one, and what follows from it."""


def _differing_rows(copy: Ragged, original: Ragged) -> Sequence[int]:
    if np.array_equal(copy.lengths, original.lengths) and np.array_equal(copy.values, original.values):
        return []
    return [row for row in range(len(copy.lengths)) if copy.row(row) != original.row(row)]
