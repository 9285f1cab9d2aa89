"""Shards → statistics, without TensorFlow."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

from tfrec_stage.checks.census import Census
from tfrec_stage.checks.columns import columns_of
from tfrec_stage.codecs.example import Feature
from tfrec_stage.labels import Label
from tfrec_stage.shards.shard_reader import find_shards, read_features

_BATCH: Final = 256


def count_shards(directory_or_glob: str, labels: Sequence[Label] = ()) -> dict[str, Any]:
    """Statistics of a split, as plain values; see `Census`.

    Args:
        directory_or_glob: as `find_shards` takes it.
        labels: classes, for names that the records do not tell.

    Raises:
        ShardError: there is no shard, or one is damaged.
    """
    census = Census(labels)
    records = chain.from_iterable(map(read_features, find_shards(directory_or_glob)))
    features = (record.features for record in records)
    for batch in _batches(features):
        census.add(columns_of(batch))
    return census.as_dict()


def _batches(features: Iterator[dict[str, Feature]]) -> Iterator[list[dict[str, Feature]]]:
    while batch := list(islice(features, _BATCH)):
        yield batch
