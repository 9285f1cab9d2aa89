"""A directory of shards on disk: names of files, metadata files beside the shards, and reading without TensorFlow."""
