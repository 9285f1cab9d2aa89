"""Consumers that shards can be prepared for, beyond what every TFRecord reader needs."""

from enum import Enum


class Profile(Enum):
    """One consumer: it adds keys to records or files beside shards, and never changes what is there without it."""

    od_api = "od_api"
    """TensorFlow Object Detection API and Model Garden: further keys, and `label_map.pbtxt`."""
    tfds = "tfds"
    """TensorFlow Datasets: further keys, and `features.json` and `dataset_info.json`."""
    dali = "dali"
    """NVIDIA DALI and PyTorch's `tfrecord`: an index of each shard's records, `.idx`."""
    csv = "csv"
    """One row a box, in pixels."""
    croissant = "croissant"
    """Croissant: `metadata.json`, which describes the dataset to any tool."""
