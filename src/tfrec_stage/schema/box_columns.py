"""Lists with exactly one entry per box.

TensorFlow Datasets requires equally long lists in a sequence, while a record may omit lists.
"""

from typing import TypeVar

from tfrec_stage.records import Boxes, Objects

T = TypeVar("T")


def corners(boxes: Boxes) -> list[float]:
    """Return ymin, xmin, ymax, xmax of the first box, then of the second, and so on, normalised as given.

    >>> corners(Boxes(xmin=[0.1], xmax=[0.2], ymin=[0.3], ymax=[0.4]))
    [0.3, 0.1, 0.4, 0.2]
    """
    return [edge for box in zip(boxes.ymin, boxes.xmin, boxes.ymax, boxes.xmax, strict=True) for edge in box]


def one_per_box(objects: Objects, values: list[T], default: T) -> list[T]:
    """Return `values`, or the default for each box if they are omitted.

    >>> one_per_box(Objects(bbox=Boxes(xmin=[0.1, 0.2])), [], -1)
    [-1, -1]
    """
    boxes = len(objects.bbox.xmin)
    return values if len(values) == boxes else [default] * boxes


def areas_in_pixels(objects: Objects, width: int, height: int) -> list[float]:
    """Return the area of each object in square pixels: as stated, or that of its box; 0 for reversed boxes.

    Args:
        objects: the objects of the image.
        width: width of the image in pixels.
        height: height of the image in pixels.

    >>> areas_in_pixels(Objects(bbox=Boxes(xmin=[0.0], xmax=[0.5], ymin=[0.0], ymax=[1.0])), 20, 10)
    [100.0]
    """
    boxes, stated = objects.bbox, objects.area
    if len(stated) != len(boxes.xmin):
        edges = zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=True)
        stated = [max(xmax - xmin, 0.0) * max(ymax - ymin, 0.0) for xmin, xmax, ymin, ymax in edges]
    return [area * width * height for area in stated]
