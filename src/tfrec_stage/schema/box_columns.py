"""Objects as lists that run in parallel without a gap, one entry a box.

TensorFlow Datasets takes the lists of a sequence to be equally long, while those of a record may be left out.
"""

from typing import TypeVar

from tfrec_stage.records import Boxes, Objects

T = TypeVar("T")


def corners(boxes: Boxes) -> list[float]:
    """Boxes → ymin, xmin, ymax, xmax of the first, then of the second, and so on; normalised as they are.

    >>> corners(Boxes(xmin=[0.1], xmax=[0.2], ymin=[0.3], ymax=[0.4]))
    [0.3, 0.1, 0.4, 0.2]
    """
    return [edge for box in zip(boxes.ymin, boxes.xmin, boxes.ymax, boxes.xmax, strict=True) for edge in box]


def one_a_box(objects: Objects, values: list[T], default: T) -> list[T]:
    """`values`, or where they were left out (or there is no box) the default for each box.

    >>> one_a_box(Objects(bbox=Boxes(xmin=[0.1, 0.2])), [], -1)
    [-1, -1]
    """
    boxes = len(objects.bbox.xmin)
    return values if len(values) == boxes else [default] * boxes


def areas_in_pixels(objects: Objects, width: int, height: int) -> list[float]:
    """Area of each box's object in square pixels: as stated, else that of the box; reversed boxes have none.

    Args:
        objects: the image's.
        width: the image's, in pixels.
        height: as well.

    >>> areas_in_pixels(Objects(bbox=Boxes(xmin=[0.0], xmax=[0.5], ymin=[0.0], ymax=[1.0])), 20, 10)
    [100.0]
    """
    boxes, stated = objects.bbox, objects.area
    if len(stated) != len(boxes.xmin):
        edges = zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=True)
        stated = [max(xmax - xmin, 0.0) * max(ymax - ymin, 0.0) for xmin, xmax, ymin, ymax in edges]
    return [area * width * height for area in stated]
