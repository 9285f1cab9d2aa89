"""One key of every record: its name, its kind, and where its values come from."""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.records import ImageRecord
from tfrec_stage.tfrecord.example import Kind, Values


class Profile(Enum):
    """One reader or tool. A profile adds keys to records or files beside shards, and never changes anything else."""

    od_api = "od_api"
    """TensorFlow Object Detection API and Model Garden: additional keys, and `label_map.pbtxt`."""
    tfds = "tfds"
    """TensorFlow Datasets: additional keys, and `features.json` and `dataset_info.json`."""
    dali = "dali"
    """NVIDIA DALI and PyTorch's `tfrecord`: an index of each shard's records, `.idx`."""
    csv = "csv"
    """A CSV file with one row per box, in pixels."""
    croissant = "croissant"
    """Croissant: `metadata.json`, which describes the dataset to any tool."""


class Field(NamedTuple):
    """One key of every record."""

    key: str
    kind: Kind
    is_scalar: bool
    """Whether it has exactly one value; otherwise it is a list of any length."""
    values: Callable[[ImageRecord, EncodedImage], Values]
    meaning: str
    """Description with unit and range, for the README's table."""


def utf8(value: str) -> list[bytes]:
    """Encode the value of a key that has one text."""
    return [value.encode()]


def utf8_list(values: Iterable[str]) -> list[bytes]:
    """Encode the values of a key that has one text per object."""
    return [value.encode() for value in values]
