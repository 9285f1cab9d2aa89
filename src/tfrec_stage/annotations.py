"""What the numbers of a record say: checked against each other and against the image.

Judged per image, so that one bent annotation fails one image, not the build; every fault of a record is told at once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from tfrec_stage.errors import RecordError
from tfrec_stage.records import Boxes, ImageRecord, Objects, Parts

T = TypeVar("T")


def check_annotations(record: ImageRecord) -> None:
    """Refuse annotations that contradict themselves.

    Raises:
        RecordError: any do; the message names every fault with its path.
    """
    faults = list(chain(_class_faults(record), _object_faults(record.object)))
    if faults:
        raise RecordError("annotation_invalid", "; ".join(faults))


def _class_faults(record: ImageRecord) -> Iterator[str]:
    if int(record.class_.label) < 0:
        yield f"$.class.label: expected 0 or more, but got {record.class_.label}"
    if not math.isfinite(record.class_.conf):
        yield f"$.class.conf: expected a finite number, but got {record.class_.conf}"


def _object_faults(objects: Objects) -> Iterator[str]:
    yield from _length_faults(objects)
    yield from _each("$.object.area", objects.area, _not_finite, "a finite number")
    yield from _each("$.object.is_crowd", objects.is_crowd, lambda value: value not in (0, 1), "0 or 1")
    yield from _box_faults(objects.bbox)
    yield from _part_faults(objects.parts)


def _length_faults(objects: Objects) -> Iterator[str]:
    count = objects.size
    if count < 0:
        yield f"$.object.count: expected 0 or more, but got {count}"
        return
    boxes = objects.bbox
    for name in ("xmin", "xmax", "ymin", "ymax"):
        if len(getattr(boxes, name)) != len(boxes.xmin) or len(getattr(boxes, name)) not in (0, count):
            yield f"$.object.bbox.{name}: expected {count} entries, one an object, but got {len(getattr(boxes, name))}"
    optional: dict[str, Sequence[object]] = {
        "$.object.area": objects.area,
        "$.object.id": objects.id,
        "$.object.is_crowd": objects.is_crowd,
    }
    optional |= {f"$.object.bbox.{name}": getattr(boxes, name) for name in ("label", "text", "score", "conf")}
    for path, values in optional.items():
        if len(values) not in (0, count):
            yield f"{path}: expected {count} entries, one an object, or none, but got {len(values)}"
    yield from _part_length_faults(objects.parts, count)


def _part_length_faults(parts: Parts, count: int) -> Iterator[str]:
    length = len(parts.x)
    if length and (count == 0 or length % count):
        yield f"$.object.parts.x: expected a multiple of the {count} objects, but got {length} parts"
    if len(parts.y) != length:
        yield f"$.object.parts.y: expected {length} entries, as in x, but got {len(parts.y)}"
    for name in ("v", "score"):
        got = len(getattr(parts, name))
        if got not in (0, length):
            yield f"$.object.parts.{name}: expected {length} entries, as in x, or none, but got {got}"


def _box_faults(boxes: Boxes) -> Iterator[str]:
    for name in ("xmin", "xmax", "ymin", "ymax", "score", "conf"):
        yield from _each(f"$.object.bbox.{name}", getattr(boxes, name), _not_finite, "a finite number")
    yield from _each("$.object.bbox.label", boxes.label, lambda label: int(label) < 0, "0 or more")


def _part_faults(parts: Parts) -> Iterator[str]:
    for name in ("x", "y", "score"):
        yield from _each(f"$.object.parts.{name}", getattr(parts, name), _not_finite, "a finite number")
    yield from _each("$.object.parts.v", parts.v, lambda value: value not in (0, 1, 2), "0, 1 or 2")


def _each(path: str, values: Sequence[T], is_fault: Callable[[T], bool], expected: str) -> Iterator[str]:
    for index, value in enumerate(values):
        if is_fault(value):
            yield f"{path}[{index}]: expected {expected}, but got {value}"


def _not_finite(value: float) -> bool:
    return not math.isfinite(value)
