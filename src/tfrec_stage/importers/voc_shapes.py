"""The upright boxes around polygons and rotated boxes, for VOC objects without `<bndbox>`.

Source: the polygons of Roboflow's exports (`<x1>`, `<y1>`, `<x2>`, …) and of LabelMe (`<pt><x/><y/></pt>`), and the
`<robndbox>` of roLabelImg (https://github.com/cgvict/roLabelImg), whose angle is in radians.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tfrec_stage.importers.interface import AnnotationError
from tfrec_stage.importers.shapes import polygon_area
from tfrec_stage.importers.xml_elements import Element

_POINTS: Final = ("pt", "point")
"""Tags of LabelMe's points."""
_ROUNDING_PX: Final = 0.05
"""By how much edges may stick out of the image and count as inside: tools round the numbers that they write."""
_Edges = tuple[float, float, float, float]
"""xmin, xmax, ymin, ymax in pixels."""


@dataclass(frozen=True, slots=True)
class EnclosingBox:
    """The upright box around a polygon or a rotated box, in pixels."""

    xmin: float
    xmax: float
    ymin: float
    ymax: float
    area: float
    """Area of the polygon or rotated box itself, in square pixels."""
    is_clipped: bool = False
    """Whether the box was clipped at the edges of the image."""


def find_enclosing_box(element: Element, width: int, height: int) -> EnclosingBox | None:
    """Return the box around an object's `<polygon>` elements or its `<robndbox>`; None if it has neither.

    Several polygons are parts of one object: the box encloses all of them.

    Args:
        element: the object.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Raises:
        AnnotationError: a polygon or the rotated box is malformed.
    """
    if polygons := element.find_all("polygon"):
        return _enclose_polygons([list(_read_points(polygon)) for polygon in polygons])
    if rotated := element.find_all("robndbox"):
        return _enclose_rotated(rotated[0], width, height)
    return None


def _enclose_polygons(polygons: list[list[tuple[float, float]]]) -> EnclosingBox:
    xs, ys = zip(*(point for points in polygons for point in points), strict=True)
    area = sum(polygon_area([number for point in points for number in point]) for points in polygons)
    return EnclosingBox(min(xs), max(xs), min(ys), max(ys), area)


def _read_points(polygon: Element) -> Iterator[tuple[float, float]]:
    points = [child for child in polygon.children if child.tag in _POINTS]
    # Counted first: a gap in the numbering is then a missing element, not the end of the polygon.
    numbered = sum(child.tag[:1] == "x" and child.tag[1:].isdecimal() for child in polygon.children)
    if max(len(points), numbered) < 3:
        raise AnnotationError("expected 3 or more points in <polygon>, as <x1>, <y1>, … or as <pt>", polygon.line)
    for point in points:
        yield point.find_number("x"), point.find_number("y")
    for number in range(1, numbered + 1):
        yield polygon.find_number(f"x{number}"), polygon.find_number(f"y{number}")


def _enclose_rotated(rotated: Element, width: int, height: int) -> EnclosingBox:
    """Return the box around the corners of a rotated box.

    The direction of the rotation does not matter: it mirrors the corners, and their upright box stays the same.

    Rotating a box near the edge of the image moves its corners outside, although the object is inside. So the result is
    clipped at the edges of the image if the same box, rotated to the nearest right angle, lies inside. A box that does
    not lie inside even then is left as it is, for the option `annotations.out_of_range` to decide.
    """
    cx, cy, w, h, angle = (rotated.find_number(tag) for tag in ("cx", "cy", "w", "h", "angle"))
    # A larger angle is most likely in degrees.
    if min(w, h) < 0 or abs(angle) > 2 * math.pi:
        message = f"expected w and h of 0 or more and an angle in radians, but got w {w:g}, h {h:g}, angle {angle:g}"
        raise AnnotationError(message, rotated.line)
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    enclosing = _centred(cx, cy, w * cosine + h * sine, w * sine + h * cosine)
    straight = _centred(cx, cy, *((w, h) if cosine >= sine else (h, w)))
    clipped = _clip(enclosing, width, height)
    if clipped == enclosing or not _is_inside(straight, width, height):
        return EnclosingBox(*enclosing, area=w * h)
    return EnclosingBox(*clipped, area=w * h, is_clipped=True)


def _centred(cx: float, cy: float, width: float, height: float) -> _Edges:
    return cx - width / 2, cx + width / 2, cy - height / 2, cy + height / 2


def _clip(edges: _Edges, width: int, height: int) -> _Edges:
    xmin, xmax, ymin, ymax = edges
    return max(xmin, 0.0), min(xmax, float(width)), max(ymin, 0.0), min(ymax, float(height))


def _is_inside(edges: _Edges, width: int, height: int) -> bool:
    return all(
        abs(edge - clipped) <= _ROUNDING_PX for edge, clipped in zip(edges, _clip(edges, width, height), strict=True)
    )
