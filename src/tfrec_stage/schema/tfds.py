"""Additional keys that TensorFlow Datasets reads (profile `tfds`): objects as in its own builders of COCO and VOC.

TensorFlow Datasets expects the lists of a sequence to be equally long, while a record may omit some. So omitted lists
are filled with a default for each box.

Source: object_detection/coco.py and core/features/bounding_boxes.py of tensorflow-datasets 4.9.10.
"""

from typing import Final, TypeVar, cast

from tfrec_stage.records import Boxes, Objects
from tfrec_stage.schema.fields import Field, utf8_list
from tfrec_stage.tfrecord.example import Kind

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
    # Areas may be stated for objects without boxes; here the list is as long as there are boxes.
    if len(stated) != len(boxes.xmin):
        edges = zip(boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax, strict=True)
        stated = [max(xmax - xmin, 0.0) * max(ymax - ymin, 0.0) for xmin, xmax, ymin, ymax in edges]
    return [area * width * height for area in stated]


CORNERS_KEY: Final = "objects/bbox"
"""Key with four numbers per box."""
TFDS_FIELDS: Final = (
    Field(
        CORNERS_KEY,
        Kind.FLOAT,
        False,
        lambda r, _: corners(r.object.bbox),
        "ymin, xmin, ymax, xmax of each box, four numbers a box",
    ),
    Field(
        "objects/label",
        Kind.INT64,
        False,
        lambda r, _: one_per_box(r.object, cast("list[int]", r.object.bbox.label), -1),
        "class of each box, from 0; -1 without one",
    ),
    Field(
        "objects/area",
        Kind.FLOAT,
        False,
        lambda r, i: areas_in_pixels(r.object, i.width, i.height),
        "area in square pixels; that of the box where none is stated",
    ),
    Field(
        "objects/is_crowd",
        Kind.INT64,
        False,
        lambda r, _: one_per_box(r.object, r.object.is_crowd, 0),
        "1 where a box covers a crowd, else 0",
    ),
    Field(
        "objects/id",
        Kind.BYTES,
        False,
        lambda r, _: one_per_box(r.object, utf8_list(cast("list[str]", r.object.id)), b""),
        "identifier of each box; empty without one",
    ),
)
"""The additional keys: lists with one entry per box."""
