"""Fast validation: a few comparisons that run in C, so that valid records cost next to nothing.

It has to agree with the rules exactly: a record passes if and only if `rules` finds no problem (tests/annotations).
"""

import math
from collections.abc import Sequence
from operator import lt
from typing import cast

from tfrec_stage.annotations.rules import zero_absent
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, Objects, Parts


def passes_fast_path(record: ImageRecord) -> bool:
    """Return whether the annotations are valid and need no repair; if not, they are checked value by value."""
    objects, boxes = record.object, record.object.bbox
    return (
        _is_valid_class(record.class_)
        and _have_valid_lengths(objects)
        and _are_valid_boxes(boxes)
        and _are_valid_parts(objects.parts)
        and _are_within(objects.area)
        and {*objects.is_crowd} <= {0, 1}
        and _are_utf8([cast("str", record.id), record.class_.text, *cast("list[str]", objects.id), *boxes.text])
    )


def _is_valid_class(image_class: ImageClass) -> bool:
    return cast("int", image_class.label) >= 0 and math.isfinite(image_class.conf)


def _have_valid_lengths(objects: Objects) -> bool:
    count, boxes, parts = objects.size, objects.bbox, objects.parts
    edges, none_or_all, places = len(boxes.xmin), (0, count), len(parts.x)
    return (
        count >= 0
        and edges in none_or_all
        and edges == len(boxes.xmax) == len(boxes.ymin) == len(boxes.ymax)
        and len(boxes.label) in none_or_all
        and len(boxes.text) in none_or_all
        and len(boxes.score) in none_or_all
        and len(boxes.conf) in none_or_all
        and len(objects.area) in none_or_all
        and len(objects.id) in none_or_all
        and len(objects.is_crowd) in none_or_all
        and places == len(parts.y)
        and len(parts.v) in (0, places)
        and len(parts.score) in (0, places)
        and (places == 0 or (count > 0 and places % count == 0))
    )


def _are_valid_boxes(boxes: Boxes) -> bool:
    # `lt` is false for NaN. If min < max, only xmin can be below 0 and only xmax above 1.
    return (
        not boxes.xmin
        or (
            all(map(lt, boxes.xmin, boxes.xmax))
            and all(map(lt, boxes.ymin, boxes.ymax))
            and min(boxes.xmin) >= 0
            and max(boxes.xmax) <= 1
            and min(boxes.ymin) >= 0
            and max(boxes.ymax) <= 1
        )
    ) and _are_valid_labels(boxes)


def _are_valid_labels(boxes: Boxes) -> bool:
    labels = cast("list[int]", boxes.label)
    return (
        (not labels or min(labels) >= 0)
        and all(map(math.isfinite, boxes.score))
        and all(map(math.isfinite, boxes.conf))
    )


def _are_valid_parts(parts: Parts) -> bool:
    return not parts.x or (
        {*parts.v} <= {0, 1, 2}
        and _are_valid_positions(parts, parts.x)
        and _are_valid_positions(parts, parts.y)
        and all(map(math.isfinite, parts.score))
    )


def _are_valid_positions(parts: Parts, values: list[float]) -> bool:
    # The positions of keypoints that are not in the image have no meaning, but have to be numbers: they are stored.
    return _are_within(values) or (all(map(math.isfinite, values)) and _are_within(zero_absent(parts, values)))


def _are_within(values: Sequence[float]) -> bool:
    # The sum is NaN if any value is, while min and max may skip a NaN.
    return not values or (min(values) >= 0 and max(values) <= 1 and math.isfinite(sum(values)))


def _are_utf8(texts: list[str]) -> bool:
    try:
        "".join(texts).encode()  # a joined text is encoded by one call, and two lone surrogates never form a character
    except UnicodeEncodeError:
        return False
    return True
