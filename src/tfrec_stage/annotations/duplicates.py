"""Find boxes that occur more than once in an image."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from tfrec_stage.records import Objects, Parts


def find_duplicates(objects: Objects) -> list[int]:
    """Return the indices of the objects that repeat an earlier one of the image.

    Objects are equal if they have the same label (number and name), the same four edges, the same crowd flag and the
    same keypoints (x, y and v). Area, id and confidence are ignored. Non-empty lists must have the right lengths.
    """
    boxes = objects.bbox
    # Equal boxes have equal left edges: for most images one small set shows that there are none.
    if len({*boxes.xmin}) == len(boxes.xmin):
        return []
    edges = list(zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=True))
    if len({*edges}) == len(edges):
        return []
    lists = [values for values in (boxes.label, boxes.text, objects.is_crowd) if values]
    return _find_repeated(zip(edges, *lists, _parts_of_each(objects.parts, len(edges)), strict=True))


def _parts_of_each(parts: Parts, count: int) -> Iterator[tuple[Any, ...]]:
    each = len(parts.x) // count
    for start in range(0, each * count, each) if each else repeat(0, count):
        yield tuple(tuple(values[start : start + each]) for values in (parts.x, parts.y, parts.v))


def _find_repeated(keys: Iterable[Any]) -> list[int]:
    seen: set[Any] = set()
    repeated = []
    for index, key in enumerate(keys):
        if key in seen:
            repeated.append(index)
        seen.add(key)
    return repeated
