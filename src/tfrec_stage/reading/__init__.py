"""Shards → values again: for TensorFlow's input pipelines, and for everyone else."""
