"""TensorFlow Datasets: `features.json`, `dataset_info.json` and names of classes, written without importing it.

    builder = tfds.builder_from_directory("data/shards/train")
    builder = tfds.builder_from_directories(["data/shards/train", "data/shards/val", "data/shards/test"])

Both read the shards under their own names. The files equal those of TFDS's own writer, byte for byte.

Source: core/{dataset_info,naming}.py and core/proto/dataset_info.proto of tensorflow-datasets 4.9.10.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from tfrec_stage.dataset_info import About
from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.exporters.class_names import complete_labels
from tfrec_stage.exporters.tfds_features import IMAGE_LABEL, OBJECTS, describe_features
from tfrec_stage.files import write_file
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.schema.options import fields_of

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
