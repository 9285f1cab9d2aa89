"""Repair annotations as the policy says, and count what was done."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from operator import ne
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from tfrec_stage.annotations.rules import zero_absent
from tfrec_stage.records import Boxes, Objects, Parts

T = TypeVar("T")
Snap = Callable[[list[float]], list[float]]

ROUNDING_PX: Final = 0.05
"""How far outside the image, in pixels, a coordinate may be by rounding alone: COCO writes two decimals."""

REPAIRS: Final = frozenset(
    {
        "rounding_snapped",  # coordinates outside by no more than rounding, moved to the edge
        "boxes_clipped",  # boxes clipped to the image
        "areas_clipped",  # areas larger than the image, set to that of the image
        "parts_hidden",  # keypoints outside the image, made invisible
        "parts_clipped",  # keypoints outside the image that have no visibility, moved to the edge
        "boxes_dropped",  # objects whose box had no area or was reversed, removed
        "duplicates_dropped",  # objects that repeated an earlier one of the image, removed
    }
)
"""Names of all repairs, as keys of counts."""

PER_OBJECT_LISTS: Final = ("difficult", "truncated", "pose")
"""Lists in `extra` with one entry per object, as the VOC importer writes them."""


def snap_rounding(objects: Objects, width: int, height: int, repaired: Counter[str]) -> Objects:
    """Move coordinates that are outside by no more than rounding to the edge."""
    snap_x, snap_y = (partial(_snap, ROUNDING_PX / size, repaired) for size in (width, height))
    boxes, parts = objects.bbox, objects.parts
    return replace(
        objects,
        bbox=replace(
            boxes, xmin=snap_x(boxes.xmin), xmax=snap_x(boxes.xmax), ymin=snap_y(boxes.ymin), ymax=snap_y(boxes.ymax)
        ),
        parts=replace(parts, x=_snap_visible(parts, parts.x, snap_x), y=_snap_visible(parts, parts.y, snap_y)),
        # An area is off by as much as both its sides: (1 + a)(1 + b) is about 1 + a + b.
        area=_snap(ROUNDING_PX / width + ROUNDING_PX / height, repaired, objects.area),
    )


def clip_objects(objects: Objects, repaired: Counter[str]) -> Objects:
    """Clip boxes to the image, hide keypoints outside it, and limit areas to that of the image."""
    boxes = objects.bbox
    edges = [boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax]
    clipped = [[_clip(value) for value in edge] for edge in edges]
    # Boxes are compared, not edges: a box that is clipped on two sides counts once.
    repaired["boxes_clipped"] += sum(map(ne, zip(*edges, strict=True), zip(*clipped, strict=True)))
    repaired["areas_clipped"] += sum(area > 1 for area in objects.area)
    xmin, xmax, ymin, ymax = clipped
    return replace(
        objects,
        bbox=replace(boxes, xmin=xmin, xmax=xmax, ymin=ymin, ymax=ymax),
        parts=_clip_parts(objects.parts, repaired),
        # The area of a clipped box is kept otherwise: nothing says how much of the object was outside.
        area=[min(area, 1.0) for area in objects.area],
    )


def drop_degenerate(objects: Objects, extra: Any, repaired: Counter[str]) -> tuple[Objects, Any]:
    """Remove objects whose box has no area or is reversed, with all their values, also in `extra`."""
    boxes = objects.bbox
    edges = zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=True)
    keep = [xmin < xmax and ymin < ymax for xmin, xmax, ymin, ymax in edges]
    if all(keep):
        return objects, extra
    repaired["boxes_dropped"] += keep.count(False)
    return _select_objects(keep, objects, extra)


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
    # Labels may be missing: then only texts distinguish classes. Empty lists would end `zip` at once.
    lists = [values for values in (boxes.label, boxes.text, objects.is_crowd) if values]
    return _find_repeated(zip(edges, *lists, _parts_of_each(objects.parts, len(edges)), strict=True))


def drop_duplicates(
    objects: Objects, extra: Any, duplicates: Collection[int], repaired: Counter[str]
) -> tuple[Objects, Any]:
    """Remove the objects at these indices, with all their values, also in `extra`."""
    repaired["duplicates_dropped"] += len(duplicates)
    return _select_objects([index not in duplicates for index in range(objects.size)], objects, extra)


def _parts_of_each(parts: Parts, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield x, y and v of the keypoints of each object, in a form that can be hashed."""
    each = len(parts.x) // count
    for start in range(0, each * count, each) if each else repeat(0, count):
        yield tuple(tuple(values[start : start + each]) for values in (parts.x, parts.y, parts.v))


def _find_repeated(keys: Iterable[Any]) -> list[int]:
    """Return the indices of all keys that occurred before."""
    seen: set[Any] = set()
    repeated = []
    for index, key in enumerate(keys):
        if key in seen:
            repeated.append(index)
        seen.add(key)
    return repeated


def _select_objects(keep: Sequence[bool], objects: Objects, extra: Any) -> tuple[Objects, Any]:
    return _keep_objects(objects, partial(_select, keep)), _select_lists(extra, keep)


def _select_lists(extra: Any, keep: Sequence[bool]) -> Any:
    """Remove the entries of removed objects from the lists in `extra`."""
    if not isinstance(extra, dict):
        return extra
    # `extra` belongs to the user: under these names it may contain anything, which is then left unchanged.
    lists = {name: extra[name] for name in PER_OBJECT_LISTS if isinstance(extra.get(name), list)}
    return extra | {name: _select(keep, values) for name, values in lists.items() if len(values) == len(keep)}


def _keep_objects(objects: Objects, kept: Callable[[list[Any]], list[Any]]) -> Objects:
    return Objects(
        count=len(kept(objects.bbox.xmin)),
        area=kept(objects.area),
        id=kept(objects.id),
        is_crowd=kept(objects.is_crowd),
        bbox=Boxes(**{name: kept(getattr(objects.bbox, name)) for name in Boxes.__struct_fields__}),
        parts=Parts(**{name: kept(getattr(objects.parts, name)) for name in Parts.__struct_fields__}),
    )


def _snap(tolerance: float, repaired: Counter[str], values: list[float]) -> list[float]:
    # `_clip` keeps what is inside, also the sign of -0.0, so that only coordinates outside change.
    snapped = [_clip(value) if -tolerance <= value <= 1 + tolerance else value for value in values]
    repaired["rounding_snapped"] += sum(map(ne, values, snapped))
    return snapped


def _snap_visible(parts: Parts, values: list[float], snap: Snap) -> list[float]:
    """Snap the positions of keypoints, except of those not in the image (v = 0): they have no meaning."""
    snapped = snap(zero_absent(parts, values))
    return [new if v else old for new, old, v in zip(snapped, values, parts.v, strict=False)] if parts.v else snapped


def _clip_parts(parts: Parts, repaired: Counter[str]) -> Parts:
    """Hide keypoints outside the image: v = 0 and position (0, 0), as in COCO.

    Without visibilities a keypoint cannot be hidden: it is moved to the edge.
    """
    outside = [not (0 <= x <= 1 and 0 <= y <= 1) for x, y in zip(parts.x, parts.y, strict=True)]
    if not parts.v:
        repaired["parts_clipped"] += sum(outside)
        return replace(parts, x=[_clip(x) for x in parts.x], y=[_clip(y) for y in parts.y])
    hidden = [v != 0 and is_outside for v, is_outside in zip(parts.v, outside, strict=True)]
    repaired["parts_hidden"] += sum(hidden)
    return replace(
        parts,
        x=[0.0 if is_hidden else x for x, is_hidden in zip(parts.x, hidden, strict=True)],
        y=[0.0 if is_hidden else y for y, is_hidden in zip(parts.y, hidden, strict=True)],
        v=[0 if is_hidden else v for v, is_hidden in zip(parts.v, hidden, strict=True)],
    )


def _select(keep: Sequence[bool], values: list[T]) -> list[T]:
    """Select the entries of kept objects from a list with one or several (keypoints) entries per object."""
    each = len(values) // len(keep)
    return [value for index, value in enumerate(values) if keep[index // each]] if each else []


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)
