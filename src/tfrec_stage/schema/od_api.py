"""Additional keys that the TensorFlow Object Detection API and the Model Garden read (profile `od_api`).

Source: `data_decoders/tf_example_decoder.py` and `dataset_tools/create_coco_tf_record.py` of the Object Detection API
(research/object_detection in github.com/tensorflow/models), `official/vision/dataloaders/tf_example_decoder.py` of
the Model Garden.
"""

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, cast

from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.records import ImageRecord
from tfrec_stage.schema.fields import Field, utf8, utf8_list
from tfrec_stage.tfrecord.example import Kind

KeypointNames = Mapping[int, tuple[str, ...]]
"""Names of an object's keypoints by its label, in the order of `object.parts`."""

NO_NAMES: Final[KeypointNames] = MappingProxyType({})

FIRST_ID: Final = 1
"""Id of the class with label 0: the API reserves 0 for the background."""


def od_api_fields(names: KeypointNames) -> tuple[Field, ...]:
    """Return the additional keys, in the order of the README's table.

    Args:
        names: names of keypoints, for `image/object/keypoint/text`; without any, that list is empty.
    """
    return (
        Field("image/source_id", Kind.BYTES, True, lambda r, _: utf8(str(r.id)), "the same as `image/id`"),
        Field("image/key/sha256", Kind.BYTES, True, _digest, "digest of `image/encoded`"),
        Field(
            "image/object/class/label",
            Kind.INT64,
            False,
            _class_ids,
            "id of each box's class, from 1: its label + 1, as `label_map.pbtxt` has it; 1 without labels",
        ),
        Field("image/object/class/text", Kind.BYTES, False, lambda r, _: utf8_list(r.object.bbox.text), "as the box's"),
        Field(
            "image/object/is_crowd",
            Kind.INT64,
            False,
            lambda r, _: r.object.is_crowd,
            "1 where a box covers a crowd, else 0",
        ),
        Field("image/object/group_of", Kind.INT64, False, lambda r, _: r.object.is_crowd, "the same as `is_crowd`"),
        Field(
            "image/object/difficult",
            Kind.INT64,
            False,
            _difficult,
            "1 where an object is hard to see, else 0: the list `difficult` in `extra`, as `importer=voc` writes it",
        ),
        Field("image/object/keypoint/x", Kind.FLOAT, False, lambda r, _: r.object.parts.x, "as the part's"),
        Field("image/object/keypoint/y", Kind.FLOAT, False, lambda r, _: r.object.parts.y, "as the part's"),
        Field("image/object/keypoint/visibility", Kind.INT64, False, lambda r, _: r.object.parts.v, "as the part's"),
        Field(
            "image/object/keypoint/num",
            Kind.INT64,
            False,
            _keypoint_counts,
            "number of each object's parts that are in the image (v is not 0)",
        ),
        Field(
            "image/object/keypoint/text",
            Kind.BYTES,
            False,
            partial(_keypoint_texts, names),
            "name of each part, where `labels.json` has names; empty for a part without",
        ),
    )


def _digest(_: ImageRecord, image: EncodedImage) -> list[bytes]:
    return utf8(sha256(image.data).hexdigest() if image.sha256 is None else image.sha256)


def _class_ids(record: ImageRecord, _: EncodedImage) -> list[int]:
    boxes = record.object.bbox
    # Boxes without labels have label 0, as everywhere: the API fails with fewer classes than boxes.
    labels = cast("list[int]", boxes.label) or [0] * len(boxes.xmin)
    return [label + FIRST_ID for label in labels]


def _difficult(record: ImageRecord, _: EncodedImage) -> list[int]:
    # `extra` belongs to the user and may contain anything. Whatever is not one flag per object is not this list, and
    # no error either.
    extra = _parsed(record.extra)
    flags = extra.get("difficult") if isinstance(extra, dict) else None
    if not isinstance(flags, list) or len(flags) != record.object.size:
        return []
    return [int(flag) for flag in flags] if all(flag in (0, 1) for flag in flags) else []


def _parsed(extra: Any) -> Any:
    """Parse JSON text in `extra`: an object and its JSON text are stored the same, so they mean the same."""
    if not (isinstance(extra, str) and extra.startswith("{")):
        return extra
    try:
        return json.loads(extra)
    except ValueError:
        return extra


def _keypoint_counts(record: ImageRecord, _: EncodedImage) -> list[int]:
    each, v = _parts_per_object(record), record.object.parts.v
    if not v:
        return [each] * record.object.size
    return [sum(map(bool, v[start : start + each])) for start in range(0, len(v), each)]


def _keypoint_texts(names: KeypointNames, record: ImageRecord, _: EncodedImage) -> list[bytes]:
    each = _parts_per_object(record)
    if not (each and names):
        return []
    labels = cast("list[int]", record.object.bbox.label) or [0] * record.object.size
    padding = ("",) * each
    # Exactly one name per keypoint: a class may have more or fewer names than the objects have keypoints.
    return utf8_list(name for label in labels for name in (names.get(label, ()) + padding)[:each])


def _parts_per_object(record: ImageRecord) -> int:
    return len(record.object.parts.x) // record.object.size if record.object.size else 0


OD_API_FIELDS: Final = od_api_fields(NO_NAMES)
"""The additional keys if keypoints have no names."""
