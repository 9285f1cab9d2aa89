"""For Croissant, the JSON-LD that describes a dataset to any tool: `metadata.json`.

It names the files with their checksums, and sets of records:

    records   every key of a record with its kind and meaning; the shards hold them
    shards    name, number of records, size and CRC32C of each shard; in index.json
    splits    the split and its number of images; in the file itself
    classes   number and name of each class; in the file itself
    boxes     a row a box, where the profile `csv` is on; in its table

`mlcroissant` gives the rows of all but the first: it has no reader for TFRecord.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and mlcroissant 1.1.1.
"""

import json
from glob import escape
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from tfrec_stage.exporters.class_names import complete_labels
from tfrec_stage.exporters.croissant_context import CONTEXT
from tfrec_stage.exporters.croissant_records import BOXES_FILE, SHARD_FILES, describe_record_sets
from tfrec_stage.exporters.dataset import FinishedDataset
from tfrec_stage.files import write_file
from tfrec_stage.shards.index import INDEX_NAME

NAMES: Final = r"metadata\.json"
"""File of this profile, as a regular expression."""

_TFRECORD: Final = "application/x-tfrecord"
"""Not registered, but what Google Cloud's manifest_index of data calls the format."""

Json = dict[str, Any]


def write_croissant(dataset: FinishedDataset) -> None:
    """Write `metadata.json`; every shard is read once, for the SHA-256 that the format demands of a file.

    Raises:
        OutputError: it cannot be written.
    """
    boxes = dataset.directory / f"{dataset.name}.csv"
    record_sets = describe_record_sets(dataset, complete_labels(dataset), has_boxes_file=boxes.is_file())
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        **_in_words(dataset),
        "distribution": _distribution(dataset, boxes),
        "recordSet": record_sets,
    }
    text = json.dumps(described, indent=2, ensure_ascii=False)
    write_file(dataset.directory / "metadata.json", f"{text}\n".encode())


def _in_words(dataset: FinishedDataset) -> Json:
    about = dataset.about
    stated = {
        "name": about.name or dataset.name,
        "description": about.description,
        "license": about.license,
        "url": about.url,
        "citeAs": about.citation,
        "creator": about.creator and {"@type": "sc:Organization", "name": about.creator},
        "datePublished": about.published,
        "version": about.version,
    }
    return {key: value for key, value in stated.items() if value}


def _distribution(dataset: FinishedDataset, boxes: Path) -> list[Json]:
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
