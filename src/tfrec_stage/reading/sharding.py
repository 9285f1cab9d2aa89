"""Which records each of several readers gets. A reader is a host or a worker process.

Imagine all shards end to end, cut into equal parts, one per reader. If the number of shards is a multiple of the number
of readers, each part is a number of whole files. Otherwise a cut may fall inside a file. The readers on both sides then
open that file and alternate between its records, each in proportion to its part of the file:

    3 shards, 2 readers    reader 0: shard 0 whole, records 0, 2, 4 … of shard 1
                           reader 1: records 1, 3, 5 … of shard 1, shard 2 whole

If shards have equal numbers of records, the number of a reader's records differs from the mean by less than one. A
reader opens at most two files that others open too. Only the numbers decide, so readers need not communicate.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tfrec_stage.errors import ConfigError
from tfrec_stage.shards.metadata_files import indexed_shards


class ShardAssignment(NamedTuple):
    """The records of one shard that one reader gets."""

    path: Path
    """The shard."""
    mask: tuple[bool, ...]
    """Record n belongs to the reader if `mask[n % len(mask)]`; `(True,)` for the whole shard."""

    @property
    def is_whole(self) -> bool:
        """Whether every record belongs to the reader."""
        return all(self.mask)

    def count(self, records: int) -> int:
        """How many of the first `records` records belong to the reader."""
        rounds, rest = divmod(records, len(self.mask))
        return rounds * sum(self.mask) + sum(self.mask[:rest])

    def includes(self, number: int) -> bool:
        """Whether the record of this number, from 0, belongs to the reader."""
        return self.mask[number % len(self.mask)]


def assign_shards(shards: Sequence[Path], shard: tuple[int, int]) -> tuple[ShardAssignment, ...]:
    """What reader `index` of `count` reads. All readers together get every record exactly once.

    Args:
        shards: all shards, in the same order for every reader.
        shard: `(index, count)`, index from 0.

    Raises:
        ConfigError: `shard` is not two whole numbers with 0 <= index < count.

    >>> [each.path.name for each in assign_shards([Path("a"), Path("b"), Path("c"), Path("d")], (1, 2))]
    ['c', 'd']
    >>> assign_shards([Path("a")], (1, 2))[0].mask
    (False, True)
    """
    index, count = _check_shard(shard)
    masks = (_mask(number, len(shards), index, count) for number in range(len(shards)))
    return tuple(ShardAssignment(path, mask) for path, mask in zip(shards, masks, strict=True) if any(mask))


def count_records(assignments: Iterable[ShardAssignment]) -> int | None:
    """Number of records that the reader gets; None if the index of a shard is missing or does not list the shard."""
    stated = cache(indexed_shards)
    counts = [(each, stated(each.path.parent).get(each.path.name)) for each in assignments]
    if any(found is None for _, found in counts):
        return None
    return sum(each.count(found[0]) for each, found in counts if found)


def _check_shard(shard: tuple[int, int]) -> tuple[int, int]:
    match shard:
        case (int(index), int(count)) if 0 <= index < count:
            return index, count
    raise ConfigError(f"shard: expected (index, count) with 0 <= index < count, but got {shard!r}")


def _mask(number: int, num_shards: int, index: int, count: int) -> tuple[bool, ...]:
    """The mask of reader `index` of `count` for shard `number` of `num_shards`."""
    # Lengths are in units of 1/count of a shard. In these units shards and readers' parts are both whole numbers: a
    # shard is `count` long, a part `num_shards`.
    begin, end = number * count, (number + 1) * count
    if index * num_shards <= begin and end <= (index + 1) * num_shards:
        return (True,)
    if not _overlap(index, num_shards, begin, end):
        return (False,)
    return tuple(reader == index for reader in _alternate(num_shards, begin, end))


def _alternate(num_shards: int, begin: int, end: int) -> Iterator[int]:
    """The readers of one shard in the order in which they get its records, each spread evenly.

    There is one entry per unit of the shard, so a reader occurs as often as it has units.
    """
    slots = []
    for reader in range(begin // num_shards, -(-end // num_shards)):
        units = _overlap(reader, num_shards, begin, end)
        # Unit n of a reader is at (n + 0.5) / units of the shard. Ties are sorted by reader, so all readers agree.
        slots += [((unit + 0.5) / units, reader) for unit in range(units)]
    return (reader for _, reader in sorted(slots))


def _overlap(reader: int, num_shards: int, begin: int, end: int) -> int:
    """Units that the reader's part and the range from `begin` to `end` (half-open) have in common."""
    return max(0, min(end, (reader + 1) * num_shards) - max(begin, reader * num_shards))
