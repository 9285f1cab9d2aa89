"""Shards → values: a `tf.data.Dataset` for TensorFlow, and dicts for everything else.

dataset    load_dataset: shards → tf.data.Dataset
options    its options, checked before TensorFlow is imported
pipeline   its steps: read, shuffle, parse, batch, pad
images     its images: decode, resize, load from files
records    read_records: shards → dicts, without TensorFlow
fields     the keys that can be requested, and feature_spec
sharding   which records each of several readers gets
columns    records → arrays by key, for verification and statistics
"""

from tfrec_stage.reading.dataset import load_dataset
from tfrec_stage.reading.fields import feature_spec
from tfrec_stage.reading.records import read_records

__all__ = ["feature_spec", "load_dataset", "read_records"]
