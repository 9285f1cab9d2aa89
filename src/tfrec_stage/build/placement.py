"""Which record goes into which shard, in which order: decided before any byte is written.

Placement is consistent hashing with bounded loads. A record's home shard is `hash64(id) * num_shards >> 64`. A shard
takes records up to a cap, the mean plus a small slack; what it cannot take goes to the next shard with room. Small sets
are therefore split evenly, and in large ones a new record changes only its own shard. Inside a shard, records are
ordered by a second, seeded hash. Neither hash depends on the order of the manifest.

Source: V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016, arXiv:1608.01350.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, pairwise
from typing import Final

from tfrec_stage.options import LARGEST_SEED, check_types, check_within

SLACK_PERCENT: Final = 10
"""How far above the mean a shard may be filled. At 10 %, nearly all of 10,000 records in 10 shards are at home."""


@dataclass
class PlacementOptions:
    """The order of records. Output options: they change the bytes of shards."""

    seed: int = 0
    """Decides the order inside each shard, and nothing else."""
    shuffle: bool = True
    """False keeps the manifest's order, in contiguous shards of equal size."""

    def __post_init__(self) -> None:
        check_types(self, "encode")
        check_within("encode.seed", self.seed, 0, LARGEST_SEED)


@dataclass(frozen=True, slots=True)
class Placement:
    """The records of each shard."""

    shards: "tuple[array[int], ...]"
    """For each shard the numbers of its records (from 0, in the manifest's order), in the order of writing."""

    def __len__(self) -> int:
        return sum(map(len, self.shards))


def place_records(id_hashes: "array[int]", num_shards: int, options: PlacementOptions) -> Placement:
    """Place and order records, given by the `hash64` of their ids in the manifest's order.

    >>> ids = array("Q", [hash64(name) for name in (b"a", b"b", b"c", b"d")])
    >>> [list(shard) for shard in place_records(ids, 2, PlacementOptions(shuffle=False)).shards]
    [[0, 1], [2, 3]]
    """
    if not options.shuffle:
        return Placement(_contiguous(len(id_hashes), num_shards))
    shards = _place(id_hashes, num_shards)
    return Placement(tuple(_order(shard, id_hashes, options.seed) for shard in shards))


def hash64(data: bytes) -> int:
    """Return the first 64 bits of a digest. Unlike `hash()`, it is the same on every machine."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def shard_cap(records: int, num_shards: int) -> int:
    """Return the most records that a shard takes: the mean with its slack, and never less than an even share.

    >>> shard_cap(20, 4), shard_cap(100, 10), shard_cap(10_000, 10)
    (5, 11, 1100)
    """
    even_share = -(-records // num_shards)
    return max(even_share, records * (100 + SLACK_PERCENT) // (100 * num_shards))


def _contiguous(records: int, num_shards: int) -> "tuple[array[int], ...]":
    borders = [records * shard // num_shards for shard in range(num_shards + 1)]
    return tuple(array("Q", range(first, end)) for first, end in pairwise(borders))


def _place(id_hashes: "array[int]", num_shards: int) -> "tuple[array[int], ...]":
    cap = shard_cap(len(id_hashes), num_shards)
    shards = tuple(array("Q") for _ in range(num_shards))
    for record, id_hash in enumerate(id_hashes):
        # Multiply and shift, not modulo: with another number of shards, neighbouring hashes stay together.
        shards[id_hash * num_shards >> 64].append(record)
    # First every shard gets the records whose home it is, then the surplus is passed on: a record never loses its place
    # at home to one from elsewhere. The surplus is chosen by hash, so that the manifest's order makes no difference.
    surplus = []
    for home, shard in enumerate(shards):
        if len(shard) > cap:
            ranked = sorted(shard, key=id_hashes.__getitem__)
            shard[:] = array("Q", ranked[:cap])
            surplus += [(home, record) for record in ranked[cap:]]
    for home, record in surplus:
        _next_with_room(shards, home, cap).append(record)
    return shards


def _next_with_room(shards: "Sequence[array[int]]", home: int, cap: int) -> "array[int]":
    ring = chain(range(home + 1, len(shards)), range(home))
    return next(shards[shard] for shard in ring if len(shards[shard]) < cap)


def _order(shard: "array[int]", id_hashes: "array[int]", seed: int) -> "array[int]":
    prefix = b"%d:" % seed

    def sort_key(record: int) -> bytes:  # equally long big-endian bytes sort like the numbers they encode
        return blake2b(prefix + id_hashes[record].to_bytes(8, "big"), digest_size=8).digest()

    return array("Q", sorted(shard, key=sort_key))
