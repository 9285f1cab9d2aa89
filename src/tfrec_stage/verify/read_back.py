"""Read all shards once: files → records → columns and images → findings, counts, ids."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from tfrec_stage.errors import ShardError
from tfrec_stage.reading.columns import Rows
from tfrec_stage.shards.reader import open_shard
from tfrec_stage.stats.dataset_statistics import DatasetStatistics
from tfrec_stage.tfrecord.example import Kind, decode_example
from tfrec_stage.verify.annotations import check_values
from tfrec_stage.verify.contents import ContentsCheck
from tfrec_stage.verify.expectations import ExpectedSchema
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.frames import UNREADABLE, BrokenFrame, read_frames
from tfrec_stage.verify.images import VerifiedBatch, check_formats, check_images, check_sizes, image_verifier
from tfrec_stage.verify.metadata_files import ShardCount, Totals, checksum
from tfrec_stage.verify.parsing import Parsed, Parser, Raw
from tfrec_stage.verify.record_index import RecordIndex
from tfrec_stage.verify.shards import Shard, ShardSet

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


@dataclass(slots=True)
class ReadBack:
    """What the shards contain."""

    counts: list[ShardCount]
    """Counts of each shard."""
    totals: Totals
    """All records that TensorFlow parses."""
    index_of_records: RecordIndex
    """All records whose id can be read."""
    dataset_statistics: DatasetStatistics
    """Statistics over those that TensorFlow parses."""
    refused: int = 0
    """Number of records that TensorFlow cannot parse."""
    unnamed: int = 0
    """Number of these whose id cannot be read either."""

    @property
    def lost(self) -> int | None:
        """Number of records in the index whose id cannot be read; None if it cannot be known."""
        lost = [count.lost if count.is_broken else count.absent for count in self.counts]
        return None if None in lost else sum(number or 0 for number in lost) + self.unnamed

    @property
    def is_whole(self) -> bool:
        """Whether every record was read and parsed."""
        return not self.refused and not any(count.is_broken for count in self.counts)


def read_back(
    found: ShardSet,
    expected: ExpectedSchema,
    dataset_statistics: DatasetStatistics,
    log: Findings,
    tick: Callable[[int], None],
    *,
    contents: ContentsCheck | None,
    num_threads: int,
    with_digests: bool,
) -> ReadBack:
    """Read, parse, decode and check every record.

    Args:
        found: the shards.
        expected: the schema that every record has to have.
        dataset_statistics: where statistics go.
        log: collects findings.
        tick: called with the number of finished records.
        contents: compares records with the manifest; None if there is none to compare with.
        num_threads: images decoded at the same time.
        with_digests: whether to compute the SHA-256 of each image.
    """
    shards_iterator = ShardIterator(found.shards, log)
    read = ReadBack(
        shards_iterator.counts,
        Totals(),
        RecordIndex({shard.name: shard.path for shard in found.shards}),
        dataset_statistics,
    )
    parser = Parser(expected.fields, log)

    def collect(batches: Iterable[VerifiedBatch]) -> None:
        for batch in batches:
            if batch.images:
                check_images(batch, log)
            _note(batch, read)
            tick(len(read.index_of_records) + read.unnamed)

    with image_verifier(num_threads, with_digests=with_digests) as verifier:
        for raws in shards_iterator.batches():
            parsed = parser.parse(raws)
            _check_records(parsed, expected, log, contents.check(parsed, raws) if contents else None)
            read.totals.add(parsed.columns)
            read.dataset_statistics.add(parsed.columns)
            collect(verifier.verifier(parsed) if expected.stores_images else [VerifiedBatch(parsed, [])])
        collect(verifier.finish())
    return read


def _check_records(parsed: Parsed, expected: ExpectedSchema, log: Findings, compared: Rows | None) -> None:
    # Records that equal their record in the manifest need no check by rules.
    by_rule = parsed if compared is None else parsed.select(~compared)
    check_values(by_rule, expected.policy, expected.area, log)
    check_formats(parsed, log, are_stored=expected.stores_images)
    if not expected.stores_images:
        check_sizes(parsed, log)


def _note(batch: VerifiedBatch, read: ReadBack) -> None:
    parsed = batch.parsed
    digests = [facts.digest for facts in batch.images] or [None] * len(parsed.places)
    ids = parsed.columns.scalars["image/id"]
    entries: list[tuple[Location, bytes | None, bytes | None]] = list(zip(parsed.places, ids, digests, strict=True))
    if parsed.refused:
        entries += [(raw.place, *_read_id(raw)) for raw in parsed.refused]
        entries.sort(key=lambda entry: read.index_of_records.order(entry[0]))
    for place, image_id, digest in entries:
        if image_id is None:
            read.unnamed += 1
        else:
            read.index_of_records.add(place, image_id, digest)
    read.refused += len(parsed.refused)


def _read_id(raw: Raw) -> tuple[bytes | None, bytes | None]:
    """Read the id of a record that TensorFlow cannot parse, so that it is not reported as missing too."""
    try:
        feature = decode_example(raw.payload).get("image/id")
    except ShardError:
        return None, None
    if feature is None or feature.kind is not Kind.BYTES or len(feature.values) != 1:
        return None, None
    return cast("bytes", feature.values[0]), None
