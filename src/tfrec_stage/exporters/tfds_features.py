"""The content of `features.json`: the keys of a record as features of TensorFlow Datasets.

A key of the record is a feature of the same name, slashes included, like `image/filename` in TFDS's own COCO. Objects
are nested under `objects`. The JSON equals that of `FeatureConnector.save_config`, byte for byte.

Source: tensorflow_datasets/core/proto/feature.proto and core/features/*.py of tensorflow-datasets 4.9.10.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tfrec_stage.schema.fields import IMAGE_KEY, Field
from tfrec_stage.tfrecord.example import Kind

OBJECTS: Final = "objects"
IMAGE_LABEL: Final = "image/class/label"

_MODULES: Final = "tensorflow_datasets.core.features"
_DTYPES: Final = {Kind.FLOAT: "float32", Kind.INT64: "int64"}
_VARYING: Final = "-1"
"""A size that differs between images. Numbers of 64 bits are strings in the JSON of protocol buffers."""

Json = dict[str, Any]


def describe_features(fields: Iterable[Field], num_classes: int, *, has_images: bool, has_image_labels: bool) -> Json:
    """The content of `features.json` for these fields.

    Args:
        fields: all keys of the record.
        num_classes: number of classes, more than the largest label; 0 without labels.
        has_images: False if `image/encoded` is empty. It is then not a feature, because it could not be decoded.
        has_image_labels: whether any record states the class of its image. If none does, every label is the default 0,
            which is not a class, so the feature is a number.
    """
    special: dict[str, Json] = {IMAGE_KEY: _image()}
    if has_image_labels:
        special[IMAGE_LABEL] = _class_label(num_classes)
    features: dict[str, Json] = {}
    objects: dict[str, Json] = {}
    for field in fields:
        group, _, name = field.key.partition("/")
        if group == OBJECTS:
            objects[name] = _with_description(_object(field, num_classes), field)
        elif field.key != IMAGE_KEY or has_images:
            features[field.key] = _with_description(special.get(field.key) or _from_kind(field), field)
    if objects:
        features[OBJECTS] = _sequence(_features_dict(objects))
    return _features_dict(features)


def _from_kind(field: Field) -> Json:
    """The feature that follows from the kind of a field alone."""
    value = _text() if field.kind is Kind.BYTES else _tensor(_DTYPES[field.kind])
    return value if field.is_scalar else _sequence(value)


def _object(field: Field, num_classes: int) -> Json:
    """One column of `objects`, with the kinds of TFDS's own builders, except for areas (fractions) and ids (texts)."""
    special: Mapping[str, Json] = {
        "objects/bbox": _box(),
        "objects/label": _class_label(num_classes),
        "objects/is_crowd": _tensor("bool"),
    }
    # Within a sequence of objects every column holds one value per object.
    return special.get(field.key) or _from_kind(field._replace(is_scalar=True))


def _with_description(feature: Json, field: Field) -> Json:
    return feature | {"description": field.meaning}


def _features_dict(features: Json) -> Json:
    return _feature("features_dict.FeaturesDict", "featuresDict", {"features": features})


def _sequence(feature: Json) -> Json:
    return _feature("sequence_feature.Sequence", "sequence", {"feature": feature, "length": _VARYING})


def _image() -> Json:
    shape = {"dimensions": [_VARYING, _VARYING, "3"]}
    return _feature("image_feature.Image", "image", {"dtype": "uint8", "encodingFormat": "jpeg", "shape": shape})


def _class_label(num_classes: int) -> Json:
    if not num_classes:  # no label in the whole split
        return _tensor("int64")
    return _feature("class_label_feature.ClassLabel", "classLabel", {"numClasses": str(num_classes)})


def _box() -> Json:
    content = {"bboxFormat": "REL_YXYX", "dtype": "float32", "shape": {"dimensions": ["4"]}}
    return _feature("bounding_boxes.BBoxFeature", "boundingBox", content)


def _tensor(dtype: str) -> Json:
    return _feature("tensor_feature.Tensor", "tensor", {"dtype": dtype, "encoding": "none", "shape": {}})


def _text() -> Json:
    return _feature("text_feature.Text", "text", {})


def _feature(python_class: str, kind: str, content: Json) -> Json:
    return {"pythonClassName": f"{_MODULES}.{python_class}", kind: content}
