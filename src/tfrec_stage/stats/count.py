"""Shards → statistics, without TensorFlow."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ShardError
from tfrec_stage.reading.columns import columns_of
from tfrec_stage.shards.directory import find_shards
from tfrec_stage.shards.reader import read_features
from tfrec_stage.stats.dataset_statistics import DatasetStatistics
from tfrec_stage.tfrecord.example import Feature

_BATCH: Final = 256


def count_shards(directory_or_glob: str, labels: Sequence[Label] = ()) -> dict[str, Any]:
    """Statistics of a split, as plain values; see `DatasetStatistics`.

    Args:
        directory_or_glob: as `find_shards` takes it.
        labels: classes, for names that the records do not tell.

    Raises:
        ShardError: there is no shard, or one is damaged.
    """
    dataset_statistics = DatasetStatistics(labels)
    for path in find_shards(directory_or_glob):
        for batch in _batches(record.features for record in read_features(path)):
            try:
                columns = columns_of(batch)
            except ShardError as error:
                raise ShardError(f"{path}: {error}") from None
            dataset_statistics.add(columns)
    return dataset_statistics.as_dict()


def _batches(features: Iterator[dict[str, Feature]]) -> Iterator[list[dict[str, Feature]]]:
    while batch := list(islice(features, _BATCH)):
        yield batch
