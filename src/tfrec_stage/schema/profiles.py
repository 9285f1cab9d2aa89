"""Profiles: what shards can be prepared for, besides plain TFRecord readers."""

from enum import Enum


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
