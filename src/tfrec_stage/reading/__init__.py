"""Shards → values again: for TensorFlow's input pipelines, and for everyone else."""

from tfrec_stage.reading.dataset import load_dataset
from tfrec_stage.reading.records import read_records
from tfrec_stage.reading.spec import feature_spec

__all__ = ["feature_spec", "load_dataset", "read_records"]
