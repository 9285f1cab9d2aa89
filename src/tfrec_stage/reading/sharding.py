"""Shards → the share of one reader out of many: a host, or a worker process.

Imagine the shards laid end to end and cut into as many equal lengths as there are readers. Where the number of shards
is a multiple of the number of readers, each length is some whole files. Else a cut may fall inside a file, which the
readers on both sides then open; they take its records in turn, each as often as its part of the file is long. With
shards of equal size no share is a whole record larger or smaller than the mean, and a reader opens at most two files
that are not its own alone. Nothing but the numbers decides: readers need not talk to each other.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tfrec_stage.errors import ConfigError
from tfrec_stage.shards.index import stated_shards


class Share(NamedTuple):
    """What one reader takes of one shard."""

    path: Path
    """The shard."""
    turns: tuple[bool, ...]
    """Whether record n is taken, at n modulo their number; `(True,)` for the whole file."""

    @property
    def is_whole(self) -> bool:
        """Whether every record is taken."""
        return all(self.turns)

    def count(self, records: int) -> int:
        """How many of so many records are taken."""
        rounds, rest = divmod(records, len(self.turns))
        return rounds * sum(self.turns) + sum(self.turns[:rest])

    def takes(self, number: int) -> bool:
        """Whether the record of this number, from 0, is taken."""
        return self.turns[number % len(self.turns)]


def deal_shards(shards: Sequence[Path], shard: tuple[int, int]) -> tuple[Share, ...]:
    """The share of reader `index` out of `count`; those of all readers together are every record once.

    Args:
        shards: all shards, in the same order for every reader.
        shard: `(index, count)`, index from 0.

    Raises:
        ConfigError: these are not two whole numbers with 0 <= index < count.

    >>> [share.path.name for share in deal_shards([Path("a"), Path("b"), Path("c"), Path("d")], (1, 2))]
    ['c', 'd']
    >>> deal_shards([Path("a")], (1, 2))[0].turns
    (False, True)
    """
    index, count = check_shard(shard)
    shares = (Share(path, _turns(number, len(shards), index, count)) for number, path in enumerate(shards))
    return tuple(share for share in shares if any(share.turns))


def count_records(shares: Iterable[Share]) -> int | None:
    """Records of all shares, as the indices beside the shards tell; None where one does not."""
    stated = cache(stated_shards)
    counts = [(share, stated(share.path.parent).get(share.path.name)) for share in shares]
    if any(found is None for _, found in counts):
        return None
    return sum(share.count(found[0]) for share, found in counts if found)


def check_shard(shard: tuple[int, int]) -> tuple[int, int]:
    """See `deal_shards`."""
    match shard:
        case (int(index), int(count)) if 0 <= index < count:
            return index, count
    raise ConfigError(f"shard: expected (index, count) with 0 <= index < count, but got {shard!r}")


def _turns(number: int, num_shards: int, index: int, count: int) -> tuple[bool, ...]:
    """Which of `count` records in a row of shard `number` this reader takes.

    Lengths are in units of which a shard has `count`, so that each reader's is a whole number: `num_shards`.
    """
    begin, end = number * count, (number + 1) * count
    if index * num_shards <= begin and end <= (index + 1) * num_shards:
        return (True,)
    if not _overlap(index, num_shards, begin, end):
        return (False,)
    return tuple(reader == index for reader in _readers_in_turn(num_shards, begin, end))


def _readers_in_turn(num_shards: int, begin: int, end: int) -> Iterator[int]:
    """Readers of one shard in the order in which they take its records: the turns of each spread evenly."""
    turns = []
    for reader in range(begin // num_shards, -(-end // num_shards)):
        units = _overlap(reader, num_shards, begin, end)
        turns += [((turn + 0.5) / units, reader) for turn in range(units)]
    return (reader for _, reader in sorted(turns))


def _overlap(reader: int, num_shards: int, begin: int, end: int) -> int:
    return max(0, min(end, (reader + 1) * num_shards) - max(begin, reader * num_shards))
