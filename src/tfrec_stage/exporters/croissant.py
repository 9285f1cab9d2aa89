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
from glob import escape
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.exporters.class_names import complete_labels
from tfrec_stage.exporters.croissant_record_sets import BOXES_FILE, SHARD_FILES, describe_record_sets
from tfrec_stage.files import write_file
from tfrec_stage.shards.metadata_files import INDEX_NAME

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
Json = dict[str, Any]


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
