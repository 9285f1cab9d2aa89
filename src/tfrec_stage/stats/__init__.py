"""Statistics of a dataset: counts over the records of its shards."""
