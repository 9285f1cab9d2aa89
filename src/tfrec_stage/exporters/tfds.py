"""TensorFlow Datasets: `features.json`, `dataset_info.json` and names of classes, written without importing it.

    builder = tfds.builder_from_directory("data/shards/train")
    builder = tfds.builder_from_directories(["data/shards/train", "data/shards/val", "data/shards/test"])

Both read the shards under their own names. The files equal those of TFDS's own writer, byte for byte.

A key of the record is a feature of the same name, slashes included, like `image/filename` in TFDS's own COCO. Objects
are nested under `objects`.

Source: core/{dataset_info,naming}.py, core/proto/{dataset_info,feature}.proto and core/features/*.py of
tensorflow-datasets 4.9.10.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tfrec_stage.dataset_info import About
from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.exporters.class_names import complete_labels
from tfrec_stage.files import write_file
from tfrec_stage.schema.fields import IMAGE_KEY, Field
from tfrec_stage.schema.options import fields_of
from tfrec_stage.tfrecord.example import Kind

OBJECTS: Final = "objects"
IMAGE_LABEL: Final = "image/class/label"

_MODULES: Final = "tensorflow_datasets.core.features"
_DTYPES: Final = {Kind.FLOAT: "float32", Kind.INT64: "int64"}
_VARYING: Final = "-1"
"""A size that differs between images. Numbers of 64 bits are strings in the JSON of protocol buffers."""

Json = dict[str, Any]
NO_NAME: Final = "tfrec_stage"
"""Name of a dataset without one. It is the same for all splits, because TFDS only joins splits of one name."""

_TEMPLATE: Final = "{SPLIT}-{SHARD_X_OF_Y}"
"""Template of the names of shards, such as `train-00000-of-00010`."""


def write_tfds(dataset: FinishedDataset) -> None:
    """Write the files that TFDS reads beside the shards.

    Raises:
        ConfigError: labels are too large to list all classes.
        OutputError: a file cannot be written.
    """
    options = dataset.schema_options
    names = _single_lines(label.text for label in complete_labels(dataset))
    has_image_labels = bool(dataset.statistics.image_labels)
    features = describe_features(
        fields_of(options), len(names), has_images=options.store_images, has_image_labels=has_image_labels
    )
    target = IMAGE_LABEL if has_image_labels else OBJECTS
    info = _info(dataset, (IMAGE_KEY, target) if options.store_images else ())
    write_file(dataset.directory / "features.json", _to_json(features, indent=4))
    write_file(dataset.directory / "dataset_info.json", _to_json(info, indent=2))
    if names:
        write_file(dataset.directory / f"{OBJECTS}-label.labels.txt", _lines(names))
    if has_image_labels:
        write_file(dataset.directory / f"{IMAGE_LABEL.replace('/', '.')}.labels.txt", _lines(names))


def _info(dataset: FinishedDataset, supervised: Iterable[str]) -> dict[str, Any]:
    """The content of `dataset_info.json`.

    Args:
        dataset: the split.
        supervised: keys of input and target for `as_supervised`; empty if there is no input.
    """
    split = {
        "filepathTemplate": _TEMPLATE,
        "name": dataset.name,
        # Numbers of 64 bits are strings in the JSON of protocol buffers.
        "numBytes": str(sum(shard.size_bytes for shard in dataset.shards)),
        "shardLengths": [str(shard.records) for shard in dataset.shards],
    }
    info = _stated(dataset.about) | {"fileFormat": "tfrecord", "splits": [split]}
    if keys := [{"featureKey": key} for key in supervised]:
        info["supervisedKeys"] = {"tuple": {"items": keys}}
    return info


def _stated(about: About) -> dict[str, Any]:
    """What the owner states about the dataset, under TFDS's keys."""
    values = {
        "name": about.name or NO_NAME,
        "version": about.version,
        "description": about.description,
        "citation": about.citation,
        "location": about.url and {"urls": [about.url]},
        "redistributionInfo": about.license and {"license": about.license},
    }
    return {key: value for key, value in values.items() if value}


def _single_lines(texts: Iterable[str]) -> list[str]:
    """Names as TFDS reads them back: one per line, without surrounding spaces, and no two equal.

    >>> _single_lines(["cat", "a  dog", "cat "])
    ['cat', 'a dog', 'cat (2)']
    """
    names: dict[str, None] = {}
    for number, text in enumerate(texts):
        name = " ".join(text.split())
        while not name or name in names:
            name = f"{name} ({number})".strip()
        names[name] = None
    return list(names)


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _to_json(content: Any, indent: int) -> bytes:
    """JSON as TFDS writes it: sorted keys, no line break at the end."""
    return json.dumps(content, indent=indent, sort_keys=True).encode()


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
