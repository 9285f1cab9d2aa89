"""A directory of shards as it lies on disk: names, the files beside them, records read back without TensorFlow."""
