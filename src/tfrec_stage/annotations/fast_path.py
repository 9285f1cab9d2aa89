"""Is anything amiss? A few comparisons that run in C, so that good records cost next to nothing."""

import math
from collections.abc import Sequence
from operator import lt
from typing import cast

from tfrec_stage.annotations.rules import in_image
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, Objects, Parts


def is_plain(record: ImageRecord) -> bool:
    """Whether the annotations have no fault and nothing to mend; if not, they are walked value by value."""
    objects, boxes = record.object, record.object.bbox
    return (
        _is_plain_class(record.class_)
        and _have_plain_lengths(objects)
        and _are_plain_boxes(boxes)
        and _are_plain_parts(objects.parts)
        and _are_within(objects.area)
        and {*objects.is_crowd} <= {0, 1}
        and _are_utf8([cast("str", record.id), record.class_.text, *cast("list[str]", objects.id), *boxes.text])
    )


def _is_plain_class(of_image: ImageClass) -> bool:
    return cast("int", of_image.label) >= 0 and math.isfinite(of_image.conf)


def _have_plain_lengths(objects: Objects) -> bool:
    count, boxes, parts = objects.size, objects.bbox, objects.parts
    edges, one_each, places = len(boxes.xmin), (0, count), len(parts.x)
    return (
        count >= 0
        and edges in one_each
        and edges == len(boxes.xmax) == len(boxes.ymin) == len(boxes.ymax)
        and len(boxes.label) in one_each
        and len(boxes.text) in one_each
        and len(boxes.score) in one_each
        and len(boxes.conf) in one_each
        and len(objects.area) in one_each
        and len(objects.id) in one_each
        and len(objects.is_crowd) in one_each
        and places == len(parts.y)
        and len(parts.v) in (0, places)
        and len(parts.score) in (0, places)
        and (places == 0 or (count > 0 and places % count == 0))
    )


def _are_plain_boxes(boxes: Boxes) -> bool:
    # `lt` tells NaN, too; and between ordered edges only the outer ones can leave the image.
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
    ) and _are_plain_names(boxes)


def _are_plain_names(boxes: Boxes) -> bool:
    labels = cast("list[int]", boxes.label)
    return (
        (not labels or min(labels) >= 0)
        and all(map(math.isfinite, boxes.score))
        and all(map(math.isfinite, boxes.conf))
    )


def _are_plain_parts(parts: Parts) -> bool:
    return not parts.x or (
        {*parts.v} <= {0, 1, 2}
        and _are_plain_positions(parts, parts.x)
        and _are_plain_positions(parts, parts.y)
        and all(map(math.isfinite, parts.score))
    )


def _are_plain_positions(parts: Parts, values: list[float]) -> bool:
    return _are_within(values) or (all(map(math.isfinite, values)) and _are_within(in_image(parts, values)))


def _are_within(values: Sequence[float]) -> bool:
    # The sum tells NaN, which min and max may pass over.
    return not values or (min(values) >= 0 and max(values) <= 1 and math.isfinite(sum(values)))


def _are_utf8(texts: list[str]) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True
