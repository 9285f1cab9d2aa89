"""Laws of the placement."""

from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_stage.build.placement import Placement, PlacementOptions, hash64, place_records, shard_cap

names = st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=200)
shard_counts = st.integers(1, 30)


def plan_of(ids: list[str], num_shards: int, **options: object) -> list[list[str]]:
    """Return the placement as ids."""
    hashes = array("Q", [hash64(name.encode()) for name in ids])
    plan = place_records(hashes, num_shards, PlacementOptions(**options))
    return [[ids[record] for record in shard] for shard in plan.shards]


def numbered(count: int) -> list[str]:
    return [f"image-{number}" for number in range(count)]


@given(names, shard_counts, st.booleans())
def test_each_id_stands_once(ids: list[str], num_shards: int, shuffle: bool) -> None:
    """Every record is in exactly one shard, and there are as many shards as asked for."""
    shards = plan_of(ids, num_shards, shuffle=shuffle)
    assert len(shards) == num_shards
    assert Counter(name for shard in shards for name in shard) == Counter(ids)


@given(names, shard_counts)
def test_no_shard_is_over_the_cap(ids: list[str], num_shards: int) -> None:
    """No shard holds more than the mean plus its slack."""
    assert max(map(len, plan_of(ids, num_shards))) <= shard_cap(len(ids), num_shards)


@given(names, shard_counts, st.randoms(use_true_random=False))
def test_the_order_of_the_manifest_does_not_matter(ids: list[str], num_shards: int, random) -> None:
    """A shuffled manifest has the same placement."""
    shuffled = random.sample(ids, len(ids))
    assert plan_of(shuffled, num_shards) == plan_of(ids, num_shards)


@given(names, shard_counts, st.integers(0, 2**63 - 1))
def test_the_seed_moves_no_record_to_another_shard(ids: list[str], num_shards: int, seed: int) -> None:
    """Another seed changes only the order inside each shard."""
    sets = [set(shard) for shard in plan_of(ids, num_shards)]
    assert [set(shard) for shard in plan_of(ids, num_shards, seed=seed)] == sets


def test_the_seed_changes_the_order() -> None:
    """Two seeds give two orders."""
    assert plan_of(numbered(50), 1, seed=0) != plan_of(numbered(50), 1, seed=1)


@pytest.mark.parametrize(
    ("records", "num_shards", "sizes"),
    [
        pytest.param(4, 2, [2, 2], id="4 in 2"),
        pytest.param(20, 4, [5, 5, 5, 5], id="20 in 4"),
        pytest.param(3, 5, [1, 1, 1], id="fewer records than shards"),
        pytest.param(7, 1, [7], id="one shard"),
    ],
)
def test_small_sets_come_out_even(records: int, num_shards: int, sizes: list[int]) -> None:
    """A small set is split evenly."""
    got = sorted((len(shard) for shard in plan_of(numbered(records), num_shards) if shard), reverse=True)
    assert got == sizes


@pytest.mark.parametrize(
    ("records", "num_shards", "cap"),
    [
        pytest.param(0, 3, 0, id="nothing"),
        pytest.param(20, 4, 5, id="too few for a slack"),
        pytest.param(7, 3, 3, id="an even share is rounded up"),
        pytest.param(100, 10, 11, id="the mean and a tenth"),
        pytest.param(10_000, 10, 1_100, id="10,000 in 10"),
        pytest.param(1_000_009, 100, 11_000, id="the slack is rounded down"),
    ],
)
def test_the_cap(records: int, num_shards: int, cap: int) -> None:
    """A shard takes the mean plus a tenth of it, rounded down, but at least an even share."""
    assert shard_cap(records, num_shards) == cap


@pytest.mark.parametrize("prefix", ["", "a", "image-", "train/00"])
def test_a_hundred_in_ten_are_within_the_cap(prefix: str) -> None:
    """100 records in 10 shards: none holds more than 11."""
    sizes = [len(shard) for shard in plan_of([f"{prefix}{number}" for number in range(100)], 10)]
    assert sum(sizes) == 100
    assert max(sizes) <= 11


@pytest.mark.parametrize("number", range(20))
def test_one_new_record_among_ten_thousand_touches_one_shard(number: int) -> None:
    """10,000 records in 10 shards: a new one changes only the shard it goes to."""
    ids = [f"{number}-{name}" for name in numbered(10_000)]
    before, after = plan_of(ids, 10), plan_of([*ids, "new"], 10)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


@settings(max_examples=200)
@given(st.lists(st.text(max_size=8), unique=True, min_size=2, max_size=100), st.integers(2, 10))
def test_a_new_record_drives_at_most_its_overflow_on(ids: list[str], num_shards: int) -> None:
    """If the cap stays the same, a record leaves its home only if the new one has the same home."""
    *old, new = ids
    if shard_cap(len(old), num_shards) != shard_cap(len(ids), num_shards):
        return
    home = {name: hash64(name.encode()) * num_shards >> 64 for name in ids}
    before, after = (
        {name: number for number, shard in enumerate(plan_of(some, num_shards)) for name in shard}
        for some in (old, ids)
    )
    left_home = [name for name in old if before[name] == home[name] != after[name]]
    assert all(home[name] == home[new] for name in left_home)
    assert len(left_home) <= 1


def test_what_a_full_shard_passes_on_goes_to_the_next_with_room() -> None:
    """The largest hashes leave, in their order, for the next shards with room; after the last shard comes the first."""
    all_at_home_in_2 = array("Q", [(2 << 62) + rank for rank in range(8)])
    shards = place_records(all_at_home_in_2, 4, PlacementOptions()).shards
    assert [set(shard) for shard in shards] == [{4, 5}, {6, 7}, {0, 1}, {2, 3}]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_placement_can_be_read_again(shuffle: bool) -> None:
    """A placement is a value: it has a length, and reading it does not use it up."""
    plan = place_records(
        array("Q", [hash64(name.encode()) for name in numbered(9)]), 2, PlacementOptions(shuffle=shuffle)
    )
    assert (len(plan), len(plan), len(plan.shards)) == (9, 9, 2)


def test_without_shuffle_the_order_is_kept() -> None:
    """`shuffle: false` cuts the manifest into contiguous shards of equal size."""
    assert plan_of(list("abcdefg"), 3, shuffle=False) == [["a", "b"], ["c", "d"], ["e", "f", "g"]]


def test_the_placement_never_changes() -> None:
    """Placement and order are part of the format: these literals must never change."""
    assert plan_of(list("abcdefgh"), 3) == [["c", "f", "e"], ["b", "a", "g"], ["h", "d"]]
    assert plan_of(list("abcdefgh"), 2, seed=7) == [["c", "f", "e", "a"], ["b", "d", "g", "h"]]


def test_length_counts_records() -> None:
    """The length of a placement is its number of records."""
    assert len(Placement((array("Q", [1, 2]), array("Q", [0])))) == 3
