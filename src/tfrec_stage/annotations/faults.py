"""What is wrong with annotations, value by value, each with its path."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeVar

from tfrec_stage.records import Boxes, ImageRecord, Objects, Parts

T = TypeVar("T")

PIXELS_FROM: Final = 2.0
"""A coordinate from here on can only be one in pixels."""
_EDGES: Final = ("xmin", "xmax", "ymin", "ymax")


def value_faults(record: ImageRecord) -> list[str]:
    """Lists of the wrong length, and values that mean nothing whatever the policy."""
    objects = record.object
    return list(
        chain(
            _each("$.class.label", [int(record.class_.label)], lambda label: label < 0, "0 or more", indexed=False),
            _each("$.class.conf", [record.class_.conf], _is_not_finite, "a finite number", indexed=False),
            _length_faults(objects),
            _object_faults(objects),
            _box_faults(objects.bbox),
            _part_faults(objects.parts),
        )
    )


def range_faults(objects: Objects) -> list[str]:
    """Coordinates and areas outside [0, 1]."""
    columns = {f"$.object.bbox.{edge}": getattr(objects.bbox, edge) for edge in _EDGES}
    columns |= {"$.object.parts.x": _in_image(objects.parts, objects.parts.x)}
    columns |= {"$.object.parts.y": _in_image(objects.parts, objects.parts.y), "$.object.area": objects.area}
    faults = [
        fault for path, values in columns.items() for fault in _each(path, values, _is_outside, "a number in [0, 1]")
    ]
    if any(value >= PIXELS_FROM for values in columns.values() for value in values):
        faults.append(
            "these look like pixels: divide x by the image's width, y by its height and area by width times height"
        )
    return faults


def degenerate_faults(boxes: Boxes) -> list[str]:
    """Boxes that are reversed or have no area."""
    return list(
        chain(
            _order_faults("xmin", boxes.xmin, "xmax", boxes.xmax),
            _order_faults("ymin", boxes.ymin, "ymax", boxes.ymax),
        )
    )


def _order_faults(low_name: str, low: Sequence[float], high_name: str, high: Sequence[float]) -> Iterator[str]:
    for index, (least, most) in enumerate(zip(low, high, strict=True)):
        if least >= most:
            what = "is reversed" if least > most else "has no area"
            yield f"$.object.bbox: box {index} {what}: {low_name} is {least}, {high_name} is {most}"


def _length_faults(objects: Objects) -> Iterator[str]:
    count, boxes = objects.size, objects.bbox
    if count < 0:
        yield f"$.object.count: expected 0 or more, but got {count}"
        return
    edges = {f"$.object.bbox.{edge}": len(getattr(boxes, edge)) for edge in _EDGES}
    lists = {f"$.object.bbox.{name}": len(getattr(boxes, name)) for name in ("label", "text", "score", "conf")}
    lists |= {f"$.object.{name}": len(getattr(objects, name)) for name in ("area", "id", "is_crowd")}
    has_boxes = any(edges.values())
    for path, length in edges.items():
        if length != (count if has_boxes else 0):
            yield f"{path}: expected {count} entries, one an object, but got {length}"
    for path, length in lists.items():
        if length not in (0, count):
            yield f"{path}: expected {count} entries, one an object, or none, but got {length}"
    yield from _part_length_faults(objects.parts, count)


def _part_length_faults(parts: Parts, count: int) -> Iterator[str]:
    length = len(parts.x)
    if length and (count == 0 or length % count):
        yield f"$.object.parts.x: expected as many parts for each of {count} objects, but got {length} in all"
    if len(parts.y) != length:
        yield f"$.object.parts.y: expected {length} entries, as in x, but got {len(parts.y)}"
    for name in ("v", "score"):
        got = len(getattr(parts, name))
        if got not in (0, length):
            yield f"$.object.parts.{name}: expected {length} entries, as in x, or none, but got {got}"


def _object_faults(objects: Objects) -> Iterator[str]:
    yield from _each("$.object.area", objects.area, lambda area: not 0 <= area < math.inf, "a finite number from 0")
    yield from _each("$.object.is_crowd", objects.is_crowd, lambda value: value not in (0, 1), "0 or 1")


def _box_faults(boxes: Boxes) -> Iterator[str]:
    for name in (*_EDGES, "score", "conf"):
        yield from _each(f"$.object.bbox.{name}", getattr(boxes, name), _is_not_finite, "a finite number")
    yield from _each("$.object.bbox.label", [int(label) for label in boxes.label], lambda label: label < 0, "0 or more")


def _part_faults(parts: Parts) -> Iterator[str]:
    for name in ("x", "y", "score"):
        yield from _each(f"$.object.parts.{name}", getattr(parts, name), _is_not_finite, "a finite number")
    yield from _each("$.object.parts.v", parts.v, lambda value: value not in (0, 1, 2), "0, 1 or 2")


def _each(
    path: str, values: Sequence[T], is_fault: Callable[[T], bool], expected: str, *, indexed: bool = True
) -> Iterator[str]:
    for index, value in enumerate(values):
        if is_fault(value):
            yield f"{path}{f'[{index}]' if indexed else ''}: expected {expected}, but got {value}"


def _in_image(parts: Parts, values: list[float]) -> list[float]:
    """Positions with 0 for parts that are not in the image (v = 0), as theirs mean nothing."""
    return [value if v else 0.0 for value, v in zip(values, parts.v, strict=True)] if parts.v else values


def _is_not_finite(value: float) -> bool:
    return not math.isfinite(value)


def _is_outside(value: float) -> bool:
    return not 0 <= value <= 1
