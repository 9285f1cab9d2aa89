"""Rules for annotations: every problem of a record, value by value, with its path."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeVar

from tfrec_stage.records import Boxes, ImageRecord, Objects, Parts
from tfrec_stage.text_files import is_utf8

T = TypeVar("T")

PIXELS_FROM: Final = 2.0
"""Coordinates from here on can only be pixels."""
SHOWN: Final = 5
"""How many problems of one list are listed; the others are counted."""
_EDGES: Final = ("xmin", "xmax", "ymin", "ymax")


def value_problems(record: ImageRecord, width: int, height: int) -> list[str]:
    """Return problems that no policy allows: sizes, lengths, numbers and texts. Width and height are the image's."""
    objects, image_class = record.object, record.class_
    return list(
        chain(
            _check("$.width", record.width, lambda value: value not in (None, width), f"{width}, the image's"),
            _check("$.height", record.height, lambda value: value not in (None, height), f"{height}, the image's"),
            _check("$.id", str(record.id), _is_not_utf8, "text in UTF-8"),
            _check("$.class.label", int(image_class.label), _is_negative, "0 or more"),
            _check("$.class.text", image_class.text, _is_not_utf8, "text in UTF-8"),
            _check("$.class.conf", image_class.conf, _is_not_finite, "a finite number"),
            length_problems(objects),
            _object_problems(objects),
            _box_problems(objects.bbox),
            _part_problems(objects.parts),
        )
    )


def range_problems(objects: Objects) -> list[str]:
    """Return coordinates and areas outside [0, 1]."""
    boxes, parts = objects.bbox, objects.parts
    columns = {f"$.object.bbox.{edge}": getattr(boxes, edge) for edge in _EDGES}
    columns |= {"$.object.parts.x": zero_absent(parts, parts.x), "$.object.parts.y": zero_absent(parts, parts.y)}
    # Negative areas are reported by `value_problems` already.
    columns |= {"$.object.area": [max(area, 0.0) for area in objects.area]}
    problems = [
        problem
        for path, values in columns.items()
        for problem in _check_all(path, values, _is_outside, "a number in [0, 1]")
    ]
    if any(math.isfinite(value) and value >= PIXELS_FROM for values in columns.values() for value in values):
        problems.append(
            "these look like pixels: divide x by the image's width, y by its height and area by width times height"
        )
    return problems


def degenerate_problems(boxes: Boxes) -> list[str]:
    """Return boxes that are reversed or have no area."""
    return [*_order_problems(boxes, "xmin", "xmax"), *_order_problems(boxes, "ymin", "ymax")]


def length_problems(objects: Objects) -> Iterator[str]:
    """Iterate over lists whose length does not fit the number of objects or another list."""
    count, boxes = objects.size, objects.bbox
    if count < 0:
        yield f"$.object.count: expected 0 or more, but got {count}"
        return  # every list would have a wrong length
    edges = {f"$.object.bbox.{edge}": len(getattr(boxes, edge)) for edge in _EDGES}
    lists = {f"$.object.bbox.{name}": len(getattr(boxes, name)) for name in ("label", "text", "score", "conf")}
    lists |= {f"$.object.{name}": len(getattr(objects, name)) for name in ("area", "id", "is_crowd")}
    has_boxes = any(edges.values())
    for path, length in edges.items():
        if length != (count if has_boxes else 0):
            yield f"{path}: expected {count} entries, one per object, but got {length}"
    for path, length in lists.items():
        if length not in (0, count):
            yield f"{path}: expected {count} entries, one per object, or none, but got {length}"
    yield from _part_length_problems(objects.parts, count)


def zero_absent(parts: Parts, values: list[float]) -> list[float]:
    """Replace the positions of keypoints that are not in the image (v = 0) by 0, as they have no meaning."""
    # The lists may differ in length, which `length_problems` reports.
    return [value if v else 0.0 for value, v in zip(values, parts.v, strict=False)] if parts.v else values


def _order_problems(boxes: Boxes, low: str, high: str) -> Iterator[str]:
    edges = list(zip(getattr(boxes, low), getattr(boxes, high), strict=False))  # lengths are checked elsewhere
    return _check_all(
        f"$.object.bbox.{low}", edges, lambda pair: pair[0] >= pair[1], f"less than {high}", _show_degenerate
    )


def _show_degenerate(edges: tuple[float, float]) -> str:
    low, high = edges
    return f"{low} and {high}: the box is reversed" if low > high else f"{low} and {high}: the box has no area"


def _part_length_problems(parts: Parts, count: int) -> Iterator[str]:
    length = len(parts.x)
    if length and (count == 0 or length % count):
        yield f"$.object.parts.x: expected as many parts for each of {count} objects, but got {length} in all"
    if len(parts.y) != length:
        yield f"$.object.parts.y: expected {length} entries, as in x, but got {len(parts.y)}"
    for name in ("v", "score"):
        got = len(getattr(parts, name))
        if got not in (0, length):
            yield f"$.object.parts.{name}: expected {length} entries, as in x, or none, but got {got}"


def _object_problems(objects: Objects) -> Iterator[str]:
    yield from _check_all(
        "$.object.area", objects.area, lambda area: not 0 <= area < math.inf, "a finite number from 0"
    )
    yield from _check_all("$.object.id", [str(name) for name in objects.id], _is_not_utf8, "text in UTF-8")
    yield from _check_all("$.object.is_crowd", objects.is_crowd, lambda value: value not in (0, 1), "0 or 1")


def _box_problems(boxes: Boxes) -> Iterator[str]:
    for name in (*_EDGES, "score", "conf"):
        yield from _check_all(f"$.object.bbox.{name}", getattr(boxes, name), _is_not_finite, "a finite number")
    yield from _check_all("$.object.bbox.label", [int(label) for label in boxes.label], _is_negative, "0 or more")
    yield from _check_all("$.object.bbox.text", boxes.text, _is_not_utf8, "text in UTF-8")


def _part_problems(parts: Parts) -> Iterator[str]:
    for name in ("x", "y", "score"):
        yield from _check_all(f"$.object.parts.{name}", getattr(parts, name), _is_not_finite, "a finite number")
    yield from _check_all("$.object.parts.v", parts.v, lambda value: value not in (0, 1, 2), "0, 1 or 2")


def _check(path: str, value: T, is_problem: Callable[[T], bool], expected: str) -> Iterator[str]:
    if is_problem(value):
        yield f"{path}: expected {expected}, but got {value!r}"


def _check_all(
    path: str,
    values: Sequence[T],
    is_problem: Callable[[T], bool],
    expected: str,
    show: Callable[[T], str] = repr,
) -> Iterator[str]:
    wrong = [index for index, value in enumerate(values) if is_problem(value)]
    for index in wrong[:SHOWN]:
        yield f"{path}[{index}]: expected {expected}, but got {show(values[index])}"
    if len(wrong) > SHOWN:
        yield f"{path}: {len(wrong) - SHOWN} more like these"


def _is_not_finite(value: float) -> bool:
    return not math.isfinite(value)


def _is_outside(value: float) -> bool:
    # NaN and infinities are reported by `value_problems` already.
    return math.isfinite(value) and not 0 <= value <= 1


def _is_negative(value: int) -> bool:
    return value < 0


def _is_not_utf8(text: str) -> bool:
    return not is_utf8(text)
