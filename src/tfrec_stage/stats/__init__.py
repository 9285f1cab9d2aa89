"""Shards → statistics of a dataset."""
