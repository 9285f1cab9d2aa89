"""One shard: records → file, and the account of what was written.

The unit of work of every engine: a task says where to read, the result says little; no record travels.
"""

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.ordered_map import OrderedMap
from tfrec_stage.shards.catalogue import split_digests
from tfrec_stage.shards.encoder import Encoder, FailedRecord
from tfrec_stage.shards.fingerprint import ShardFingerprint
from tfrec_stage.shards.shard_file import ShardFile, WrittenFile
from tfrec_stage.shards.statistics import Statistics


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Everything needed to write one shard."""

    path: Path
    """File to make; it must not exist."""
    source: RecordSource = field(repr=False)
    """Where the records are."""
    positions: "array[int]" = field(repr=False)
    """Which of them, in the order of writing."""
    digests: bytes = field(repr=False)
    """Digests of their content, one after the other in the same order."""
    encoder: Encoder = field(repr=False)
    """How each becomes an Example."""


class Failure(NamedTuple):
    """One image that is in no shard."""

    position: int
    """Where the source finds its record."""
    reason: str
    """One of `errors.REASONS`."""
    message: str
    """Why, for people."""


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """What became of one task."""

    name: str
    """Name of the file."""
    file: WrittenFile
    """Its size and checksum."""
    fingerprint: str
    """Digest of everything that decided its bytes."""
    statistics: Statistics
    """What was counted."""
    failures: tuple[Failure, ...]
    """Records that are not in the file."""


def write_shard(task: ShardTask, encode_all: OrderedMap = map) -> WrittenShard:
    """Encode the records of a task and write them in their order.

    Raises:
        OutputError: the file cannot be written.
    """
    outcomes = encode_all(task.encoder, task.source.read(task.positions))
    fingerprint, statistics, failures = ShardFingerprint(task.encoder.identity), Statistics(), []
    with ShardFile(task.path) as file:
        for position, digest, outcome in zip(task.positions, split_digests(task.digests), outcomes, strict=True):
            fingerprint.add(digest, outcome)
            statistics.add(outcome)
            if isinstance(outcome, FailedRecord):
                failures.append(Failure(position, *outcome))
            else:
                file.append(outcome.payload)
        return WrittenShard(task.path.name, file.finish(), fingerprint.hexdigest(), statistics, tuple(failures))
