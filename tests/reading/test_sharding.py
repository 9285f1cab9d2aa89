"""Which records each reader gets: every record belongs to exactly one reader."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.errors import ConfigError
from tfrec_stage.reading.sharding import assign_shards


def divide(sizes: list[int], count: int) -> list[list[tuple[str, int]]]:
    """Shard and number of each reader's records, for shards of these sizes."""
    shards = [Path(str(number)) for number in range(len(sizes))]
    return [
        [
            (assignment.path.name, record)
            for assignment in assign_shards(shards, (index, count))
            for record in range(sizes[int(assignment.path.name)])
            if assignment.includes(record)
        ]
        for index in range(count)
    ]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 30))
def test_every_record_has_one_reader(sizes: list[int], count: int) -> None:
    """All readers together get every record once, for any number of shards, records and readers."""
    assigned = Counter(record for part in divide(sizes, count) for record in part)
    assert assigned == Counter((str(shard), record) for shard, size in enumerate(sizes) for record in range(size))


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 40))
def test_equal_shards_are_divided_evenly(num_shards: int, count: int, size: int) -> None:
    """With equal shards, the number of a reader's records differs from the mean by less than one."""
    mean = num_shards * size / count
    assert all(abs(len(part) - mean) < 1 for part in divide([size] * num_shards, count))


@given(st.integers(1, 8), st.integers(1, 8))
def test_readers_get_whole_files_if_possible(files_each: int, count: int) -> None:
    """If the number of shards is a multiple of the number of readers, each reader gets whole files."""
    shards = [Path(str(number)) for number in range(files_each * count)]
    for index in range(count):
        assignments = assign_shards(shards, (index, count))
        assert len(assignments) == files_each
        assert all(assignment.is_whole for assignment in assignments)


@given(st.integers(1, 12), st.integers(1, 30))
def test_few_files_are_opened_by_several_readers(num_shards: int, count: int) -> None:
    """A reader shares at most two files with others, and opens no file without a record for it."""
    shards = [Path(str(number)) for number in range(num_shards)]
    for index in range(count):
        assignments = assign_shards(shards, (index, count))
        assert sum(not assignment.is_whole for assignment in assignments) <= 2
        assert all(any(assignment.mask) for assignment in assignments)


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0), (0,), (0, 1, 2), 0, "01", (0.0, 1), None])
def test_other_values_are_refused(shard) -> None:
    """A value that is not (index, count) is a ConfigError that shows the value."""
    with pytest.raises(ConfigError, match=r"shard: expected \(index, count\) with 0 <= index < count, but got"):
        assign_shards([Path("a")], shard)
