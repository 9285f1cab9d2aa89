"""Is anything amiss? A few comparisons that run in C, so that good records cost next to nothing."""

import math
from operator import lt

from tfrec_stage.records import Boxes, ImageRecord, Objects, Parts


def is_plain(record: ImageRecord) -> bool:
    """Whether the annotations are certainly in order; where they may not be, they are walked value by value."""
    objects = record.object
    return (
        int(record.class_.label) >= 0
        and math.isfinite(record.class_.conf)
        and objects.size >= 0
        and _plain_lengths(objects)
        and _plain_boxes(objects.bbox)
        and _plain_parts(objects.parts)
        and _all_within(objects.area)
        and all(value in (0, 1) for value in objects.is_crowd)
    )


def _plain_lengths(objects: Objects) -> bool:
    count, boxes, parts = objects.size, objects.bbox, objects.parts
    edges = {len(boxes.xmin), len(boxes.xmax), len(boxes.ymin), len(boxes.ymax)}
    lists = {len(boxes.label), len(boxes.text), len(boxes.score), len(boxes.conf)}
    lists |= {len(objects.area), len(objects.id), len(objects.is_crowd)}
    part_lists = {len(parts.x), len(parts.v), len(parts.score)}
    return (
        len(edges) == 1
        and edges <= {0, count}
        and lists <= {0, count}
        and len(parts.y) == len(parts.x)
        and part_lists <= {0, len(parts.x)}
        and (not parts.x or (count > 0 and len(parts.x) % count == 0))
    )


def _plain_boxes(boxes: Boxes) -> bool:
    return (
        all(map(_all_within, (boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax)))
        and all(map(lt, boxes.xmin, boxes.xmax))
        and all(map(lt, boxes.ymin, boxes.ymax))
        and all(map(math.isfinite, boxes.score))
        and all(map(math.isfinite, boxes.conf))
        and (not boxes.label or min(map(int, boxes.label)) >= 0)
    )


def _plain_parts(parts: Parts) -> bool:
    return (
        _all_within(parts.x)
        and _all_within(parts.y)
        and all(map(math.isfinite, parts.score))
        and all(value in (0, 1, 2) for value in parts.v)
    )


def _all_within(values: list[float]) -> bool:
    # The sum tells NaN, which comparisons do not.
    return not values or (min(values) >= 0 and max(values) <= 1 and math.isfinite(sum(values)))
