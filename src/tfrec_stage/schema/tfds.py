"""Additional keys that TensorFlow Datasets reads (profile `tfds`): objects as in its own builders of COCO and VOC.

Source: object_detection/coco.py and core/features/bounding_boxes.py of tensorflow-datasets 4.9.10.
"""

from typing import Final, cast

from tfrec_stage.schema.box_columns import areas_in_pixels, corners, one_per_box
from tfrec_stage.schema.field import Field, utf8_list
from tfrec_stage.tfrecord.example import Kind

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
