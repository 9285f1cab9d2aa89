"""Every record belongs to exactly one reader."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.errors import ConfigError
from tfrec_stage.reading.sharding import deal_shards


def deal(sizes: list[int], count: int) -> list[list[tuple[str, int]]]:
    """For each reader the records that it takes, of shards with so many records each."""
    shards = [Path(str(number)) for number in range(len(sizes))]
    return [
        [
            (share.path.name, record)
            for share in deal_shards(shards, (index, count))
            for record in range(sizes[int(share.path.name)])
            if share.takes(record)
        ]
        for index in range(count)
    ]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 30))
def test_every_record_has_one_reader(sizes: list[int], count: int) -> None:
    """Whatever the numbers of shards, records and readers: together all records, none twice."""
    dealt = Counter(record for share in deal(sizes, count) for record in share)
    assert dealt == Counter((str(shard), record) for shard, size in enumerate(sizes) for record in range(size))


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 40))
def test_shares_of_equal_shards_are_equal(num_shards: int, count: int, size: int) -> None:
    """No share is a whole record larger or smaller than the mean."""
    mean = num_shards * size / count
    assert all(abs(len(share) - mean) < 1 for share in deal([size] * num_shards, count))


@given(st.integers(1, 8), st.integers(1, 8))
def test_whole_files_where_they_come_out_even(files_each: int, count: int) -> None:
    """With a multiple of the readers in shards, each reader opens files that are its own alone."""
    shards = [Path(str(number)) for number in range(files_each * count)]
    for index in range(count):
        shares = deal_shards(shards, (index, count))
        assert len(shares) == files_each
        assert all(share.is_whole for share in shares)


@given(st.integers(1, 12), st.integers(1, 30))
def test_few_files_are_opened_by_two(num_shards: int, count: int) -> None:
    """A reader shares at most two files, and opens no file in vain."""
    shards = [Path(str(number)) for number in range(num_shards)]
    for index in range(count):
        shares = deal_shards(shards, (index, count))
        assert sum(not share.is_whole for share in shares) <= 2
        assert all(any(share.turns) for share in shares)


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0), (0,), (0, 1, 2), 0, "01", (0.0, 1), None])
def test_a_wrong_share_is_told(shard) -> None:
    """Whatever is no (index, count) is refused, with what was given."""
    with pytest.raises(ConfigError, match=r"shard: expected \(index, count\) with 0 <= index < count, but got"):
        deal_shards([Path("a")], shard)
