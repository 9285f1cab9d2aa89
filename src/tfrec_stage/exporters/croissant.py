"""Croissant: `metadata.json`, a JSON-LD file that describes a dataset to any tool.

It lists the files with their checksums, and these record sets:

    records   every key of a record with its kind and meaning; rows in the shards
    shards    name, number of records, size and CRC32C of each shard; rows in index.json
    splits    the split and its number of images; rows in metadata.json itself
    classes   number and name of each class; rows in metadata.json itself
    boxes     one row per box, with the profile `csv` only; rows in <name>.csv

`mlcroissant` reads the rows of all of them but `records`, because it has no reader for TFRecord.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and mlcroissant 1.1.1.
"""

import json
from collections.abc import Mapping, Sequence
from glob import escape
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from tfrec_stage.dataset_info import Label
from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.exporters.class_names import complete_labels
from tfrec_stage.files import write_file
from tfrec_stage.schema.fields import IMAGE_KEY, Field
from tfrec_stage.schema.options import fields_of
from tfrec_stage.shards.metadata_files import INDEX_NAME
from tfrec_stage.tfrecord.example import Kind

SHARD_FILES: Final = "shard-files"
"""@id of the set of all shards."""
BOXES_FILE: Final = "boxes-file"
"""@id of the table of boxes."""

_TEXT: Final = "sc:Text"
_INT64: Final = "cr:Int64"
_TYPES: Final = {Kind.BYTES: _TEXT, Kind.FLOAT: "cr:Float32", Kind.INT64: _INT64}
_SPLITS: Final = {
    "train": "cr:TrainingSplit",
    "val": "cr:ValidationSplit",
    "validation": "cr:ValidationSplit",
    "test": "cr:TestSplit",
}
_SHARD_COLUMNS: Final = {
    "name": (_TEXT, "name of the file"),
    "records": (_INT64, "number of records"),
    "size_bytes": (_INT64, "length of the file"),
    "crc32c": (_TEXT, "CRC32C of the file, eight hexadecimal digits"),
}
"""Type and meaning of the columns of `index.json`, by their keys there."""
_BOX_COLUMNS: Final = {
    "filename": (_TEXT, "path of the image file"),
    "width": (_INT64, "of the image, in pixels"),
    "height": (_INT64, "of the image, in pixels"),
    "class": (_TEXT, "name of the box's class"),
    "xmin": ("cr:Float64", "left edge, in pixels"),
    "ymin": ("cr:Float64", "top edge, in pixels"),
    "xmax": ("cr:Float64", "right edge, in pixels"),
    "ymax": ("cr:Float64", "bottom edge, in pixels"),
}
"""Type and meaning of the columns of the table of boxes."""
_LABEL_KEYS: Final = ("image/class/label", "image/object/bbox/label", "objects/label")
"""Keys whose values are numbers of classes, from 0."""
Json = dict[str, Any]

_TFRECORD: Final = "application/x-tfrecord"
"""Media type of shards. It is not registered; Google Cloud's catalogue of data uses it."""
_CROISSANT_TERMS: Final = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty"),
    *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("separator", "source", "subField", "transform"),
)
# The specification recommends this `@context` for every file, and its checker compares with it.
_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _CROISSANT_TERMS},
}
"""What the short names in a Croissant file stand for."""


def write_croissant(dataset: FinishedDataset) -> None:
    """Write `metadata.json`. Every shard is read once, because the format requires the SHA-256 of each file.

    Raises:
        ConfigError: labels are too large to list all classes.
        OutputError: the file cannot be written.
    """
    boxes = dataset.directory / f"{dataset.name}.csv"
    record_sets = describe_record_sets(dataset, complete_labels(dataset), has_boxes_file=boxes.is_file())
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        **_stated(dataset),
        "distribution": _distribution(dataset, boxes),
        "recordSet": record_sets,
    }
    text = json.dumps(described, indent=2, ensure_ascii=False)
    write_file(dataset.directory / "metadata.json", f"{text}\n".encode())


def _stated(dataset: FinishedDataset) -> Json:
    """What the owner states about the dataset, under Croissant's keys."""
    about = dataset.about
    values = {
        "name": about.name or dataset.name,
        "description": about.description,
        "license": about.license,
        "url": about.url,
        "citeAs": about.citation,
        "creator": about.creator and {"@type": "sc:Organization", "name": about.creator},
        "datePublished": about.published,
        "version": about.version,
    }
    return {key: value for key, value in values.items() if value}


def _distribution(dataset: FinishedDataset, boxes: Path) -> list[Json]:
    """The files: all shards as one set, each shard, the index, and the table of boxes if there is one."""
    # The pattern ends as the names of shards do, so that it does not match files beside them with longer names.
    after_number = dataset.shards[0].name.removeprefix(f"{dataset.name}-00000")
    all_shards = {
        "@type": "cr:FileSet",
        "@id": SHARD_FILES,
        "name": SHARD_FILES,
        "description": "All shards.",
        "encodingFormat": _TFRECORD,
        "includes": f"{escape(dataset.name)}-*{after_number}",
    }
    shards = [
        _file_object(f"shard-{number:05d}", dataset.directory / shard.name, _TFRECORD)
        for number, shard in enumerate(dataset.shards)
    ]
    files = [all_shards, *shards, _file_object(INDEX_NAME, dataset.directory / INDEX_NAME, "application/json")]
    if boxes.is_file():
        files.append(_file_object(BOXES_FILE, boxes, "text/csv"))
    return files


def _file_object(name: str, path: Path, encoding_format: str) -> Json:
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": encoding_format,
        "sha256": digest,
    }


def describe_record_sets(dataset: FinishedDataset, labels: Sequence[Label], *, has_boxes_file: bool) -> list[Json]:
    """All record sets of a split.

    Args:
        dataset: the split.
        labels: all classes. Without any there is no set `classes`: the checker of the format refuses an empty one.
        has_boxes_file: whether the table of boxes was written.
    """
    record_sets = [_records(fields_of(dataset.schema_options), bool(labels)), _shards(), _splits(dataset)]
    if labels:
        record_sets.append(_classes(labels))
    if has_boxes_file:
        record_sets.append(_boxes())
    return record_sets


def _records(fields: Sequence[Field], has_classes: bool) -> Json:
    described = [_record_field(field) for field in fields]
    if has_classes:  # else there is no record set to refer to
        for field in described:
            if field["name"] in _LABEL_KEYS:
                field["references"] = {"field": {"@id": "classes/label"}}
    meaning = "One image and its annotations: the features of a tf.train.Example, by their keys."
    return _record_set("records", meaning, described, key="image/id")


def _record_field(field: Field) -> Json:
    data_type = "sc:ImageObject" if field.key == IMAGE_KEY else _TYPES[field.kind]
    source = {"fileSet": {"@id": SHARD_FILES}, "extract": {"column": field.key}}
    described = _field("records", field.key, data_type, field.meaning) | {"source": source}
    return described if field.is_scalar else described | {"isArray": True, "arrayShape": "-1"}


def _shards() -> Json:
    fields = [
        _field("shards", name, data_type, meaning)
        | {"source": {"fileObject": {"@id": INDEX_NAME}, "extract": {"jsonPath": f"$.shards[*].{name}"}}}
        for name, (data_type, meaning) in _SHARD_COLUMNS.items()
    ]
    return _record_set("shards", "The shards, as the index of the build counts them.", fields, key="name")


def _splits(dataset: FinishedDataset) -> Json:
    fields = [
        _field("splits", "name", _TEXT, "name of the split"),
        _field("splits", "images", _INT64, "number of its images"),
    ]
    row: Json = {"name": dataset.name, "images": dataset.statistics.images}
    if url := _SPLITS.get(dataset.name):
        fields.append(_field("splits", "url", "sc:URL", "what the split is for"))
        row["url"] = url
    described = _record_set("splits", "The split that lies here.", fields, key="name")
    return described | {"dataType": "cr:Split", "data": [_inline("splits", row)]}


def _classes(labels: Sequence[Label]) -> Json:
    fields = [
        _field("classes", "label", _INT64, "number of the class, from 0"),
        _field("classes", "name", "sc:Text", "name of the class"),
    ]
    rows = [_inline("classes", {"label": label.label, "name": label.text}) for label in labels]
    described = _record_set("classes", "What the numbers of classes mean.", fields, key="label")
    return described | {"dataType": "sc:Enumeration", "data": rows}


def _boxes() -> Json:
    fields = [
        _field("boxes", name, data_type, meaning)
        | {"source": {"fileObject": {"@id": BOXES_FILE}, "extract": {"column": name}}}
        for name, (data_type, meaning) in _BOX_COLUMNS.items()
    ]
    return _record_set("boxes", "One bounding box.", fields)


def _record_set(name: str, meaning: str, fields: list[Json], key: str | None = None) -> Json:
    described: Json = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": meaning, "field": fields}
    return described if key is None else described | {"key": {"@id": f"{name}/{key}"}}


def _field(record_set: str, name: str, data_type: str, meaning: str) -> Json:
    named = {"@type": "cr:Field", "@id": f"{record_set}/{name}", "name": name}
    return named | {"description": meaning, "dataType": data_type}


def _inline(record_set: str, row: Mapping[str, Any]) -> Json:
    """A row that stands in the file itself; its keys are the ids of fields."""
    return {f"{record_set}/{name}": value for name, value in row.items()}
