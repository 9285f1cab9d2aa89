"""Iterate over the records of shard files in batches, counting each file on the way."""

from collections.abc import Iterator, Sequence
from typing import Final

from tfrec_stage.shards.reader import open_shard
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.frames import UNREADABLE, BrokenFrame, read_frames
from tfrec_stage.verify.metadata_files import ShardCount, checksum
from tfrec_stage.verify.parsing import Raw
from tfrec_stage.verify.shards import Shard

_BATCH: Final = 128
"""Maximum number of records per batch."""
_BATCH_BYTES: Final = 8 << 20
"""A batch with this many bytes is full. A few are in memory at a time, each three times: read, parsed, decoded."""


class ShardIterator:
    """Reads shards from front to end; after a damaged file it goes on with the next."""

    def __init__(self, shards: Sequence[Shard], log: Findings) -> None:
        self._log = log
        self.counts = [ShardCount(shard) for shard in shards]
        """Counts of each shard; complete after the last batch."""

    def batches(self) -> Iterator[list[Raw]]:
        """Iterate over all records that can be read, in their order."""
        batch: list[Raw] = []
        size = 0
        for raw in self._records():
            batch.append(raw)
            size += len(raw.payload)
            if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _records(self) -> Iterator[Raw]:
        for count in self.counts:
            try:
                count.size_bytes, count.crc32c = checksum(count.shard.path)
                yield from self._records_of(count)
            except UNREADABLE as error:
                self._log.add("unreadable", count.shard.name, f"cannot read it: {error}")
                count.give_up()

    def _records_of(self, count: ShardCount) -> Iterator[Raw]:
        expected = count.shard.entry.records if count.shard.entry else None
        with open_shard(count.shard.path) as stream:
            for frame in read_frames(stream, expected):
                place = Location(count.shard.name, frame.record, frame.offset)
                if isinstance(frame, BrokenFrame):
                    self._log.add(frame.kind, place, frame.message)
                    count.note(frame)
                else:
                    count.records += 1
                    yield Raw(place, frame.payload)
