"""For TensorFlow Datasets: `features.json`, `dataset_info.json` and names of classes, written without it.

    builder = tfds.builder_from_directory("data/shards/train")
    builder = tfds.builder_from_directories(["data/shards/train", "data/shards/val", "data/shards/test"])

Both read the shards under the names that they have. The files are those that TFDS's own writer makes, byte for byte.

Source: core/{dataset_info,naming}.py and core/proto/dataset_info.proto of tensorflow-datasets 4.9.10.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from tfrec_stage.dataset_info import About
from tfrec_stage.exporters.class_names import complete_labels
from tfrec_stage.exporters.dataset import FinishedDataset
from tfrec_stage.exporters.tfds_features import IMAGE_LABEL, OBJECTS, describe_features
from tfrec_stage.files import write_file
from tfrec_stage.schema.fields import IMAGE_KEY, fields_of

NAMES: Final = r"features\.json|dataset_info\.json|(?:objects-label|image\.class\.label)\.labels\.txt"
"""Files of this profile, as a regular expression."""
NO_NAME: Final = "tfrec_stage"
"""What a data set without a name is called; the same for all splits, for TFDS joins no others."""

_TEMPLATE: Final = "{SPLIT}-{SHARD_X_OF_Y}"
"""Of a shard's name: `train-00000-of-00010`."""


def write_tfds(dataset: FinishedDataset) -> None:
    """Write what TFDS reads beside the shards.

    Raises:
        OutputError: it cannot be written.
    """
    encode = dataset.output_options.encode
    names = _single_lines(label.text for label in complete_labels(dataset))
    has_image_labels = bool(dataset.statistics.image_labels)
    features = describe_features(
        fields_of(encode), len(names), has_images=encode.store_images, has_image_labels=has_image_labels
    )
    target = IMAGE_LABEL if has_image_labels else OBJECTS
    info = _info(dataset, (IMAGE_KEY, target) if encode.store_images else ())
    write_file(dataset.directory / "features.json", _as_tfds_writes(features, indent=4))
    write_file(dataset.directory / "dataset_info.json", _as_tfds_writes(info, indent=2))
    if names:
        write_file(dataset.directory / f"{OBJECTS}-label.labels.txt", _lines(names))
    if has_image_labels:
        write_file(dataset.directory / f"{IMAGE_LABEL.replace('/', '.')}.labels.txt", _lines(names))


def _info(dataset: FinishedDataset, supervised: Iterable[str]) -> dict[str, Any]:
    split = {
        "filepathTemplate": _TEMPLATE,
        "name": dataset.name,
        "numBytes": str(sum(shard.size_bytes for shard in dataset.shards)),
        "shardLengths": [str(shard.records) for shard in dataset.shards],
    }
    info = _in_words(dataset.about) | {"fileFormat": "tfrecord", "splits": [split]}
    if keys := [{"featureKey": key} for key in supervised]:
        info["supervisedKeys"] = {"tuple": {"items": keys}}
    return info


def _in_words(about: About) -> dict[str, Any]:
    stated = {
        "name": about.name or NO_NAME,
        "version": about.version,
        "description": about.description,
        "citation": about.citation,
        "location": about.url and {"urls": [about.url]},
        "redistributionInfo": about.license and {"license": about.license},
    }
    return {key: value for key, value in stated.items() if value}


def _single_lines(texts: Iterable[str]) -> list[str]:
    """Names as TFDS reads them back, a line each without spaces around; those that this makes equal get a number.

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


def _as_tfds_writes(content: Any, indent: int) -> bytes:
    return json.dumps(content, indent=indent, sort_keys=True).encode()
