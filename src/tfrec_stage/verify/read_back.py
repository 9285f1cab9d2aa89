"""Read all shards once: files → records → columns and images → findings, counts, ids."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from tfrec_stage.errors import ShardError
from tfrec_stage.reading.columns import Rows
from tfrec_stage.shards.reader import open_shard
from tfrec_stage.stats.dataset_statistics import DatasetStatistics
from tfrec_stage.tfrecord.example import Kind, decode_example
from tfrec_stage.verify.annotations import check_annotations
from tfrec_stage.verify.contents import ContentsCheck
from tfrec_stage.verify.expectations import ExpectedSchema
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.frames import UNREADABLE, BrokenFrame, read_frames
from tfrec_stage.verify.images import DecodedBatch, check_formats, check_images, check_sizes, image_verifier
from tfrec_stage.verify.metadata_files import ShardCount, Totals, checksum
from tfrec_stage.verify.parsing import ParsedBatch, Parser, RawRecord
from tfrec_stage.verify.record_index import RecordIndex
from tfrec_stage.verify.shards import Shard, ShardSet

_BATCH: Final = 128
"""Maximum number of records per batch."""
_BATCH_BYTES: Final = 8 << 20
"""A batch with this many bytes is full. A few are in memory at a time, each three times: read, parsed, decoded."""


class ShardIterator:
    """Reads shards from front to end. After a damaged file it goes on with the next one."""

    def __init__(self, shards: Sequence[Shard], findings: Findings) -> None:
        self._findings = findings
        self.counts = [ShardCount(shard) for shard in shards]
        """Counts of each shard; complete after the last batch."""

    def batches(self) -> Iterator[list[RawRecord]]:
        """Iterate over all records that can be read, in their order."""
        batch: list[RawRecord] = []
        size = 0
        for raw in self._records():
            batch.append(raw)
            size += len(raw.payload)
            if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _records(self) -> Iterator[RawRecord]:
        for count in self.counts:
            try:
                # A pass of its own: the checksum is that of the file, also after a defect and of compressed bytes.
                count.size_bytes, count.crc32c = checksum(count.shard.path)
                yield from self._records_of(count)
            except UNREADABLE as error:
                self._findings.add("unreadable", count.shard.name, f"cannot read it: {error}")
                count.lose_rest()

    def _records_of(self, count: ShardCount) -> Iterator[RawRecord]:
        expected_records = count.shard.entry.records if count.shard.entry else None
        with open_shard(count.shard.path) as stream:
            for frame in read_frames(stream, expected_records):
                location = Location(count.shard.name, frame.record, frame.offset)
                # A frame whose length has a wrong CRC32C may be reported and then read: it comes as both kinds.
                if isinstance(frame, BrokenFrame):
                    self._findings.add(frame.kind, location, frame.message)
                    count.add_defect(frame)
                else:
                    count.records += 1
                    yield RawRecord(location, frame.payload)


@dataclass(slots=True)
class ReadBack:
    """What the shards contain."""

    counts: list[ShardCount]
    """Counts of each shard."""
    totals: Totals
    """Counts over all records that TensorFlow parses, to be compared with the metadata files."""
    record_index: RecordIndex
    """All records whose id can be read."""
    dataset_statistics: DatasetStatistics
    """Statistics over all records that TensorFlow parses, for the report."""
    unparsed: int = 0
    """Number of records that TensorFlow cannot parse."""
    without_id: int = 0
    """Number of these whose id cannot be read either."""

    @property
    def lost(self) -> int | None:
        """Number of records in the index whose id cannot be read; None if it cannot be known."""
        lost = [count.lost if count.is_broken else count.missing for count in self.counts]
        return None if None in lost else sum(number or 0 for number in lost) + self.without_id

    @property
    def is_complete(self) -> bool:
        """Whether every record was read and parsed."""
        return not self.unparsed and not any(count.is_broken for count in self.counts)


def read_back(
    shard_set: ShardSet,
    expected: ExpectedSchema,
    dataset_statistics: DatasetStatistics,
    findings: Findings,
    tick: Callable[[int], None],
    *,
    contents: ContentsCheck | None,
    num_threads: int,
    with_hashes: bool,
) -> ReadBack:
    """Read, parse, decode and check every record.

    Args:
        shard_set: the shards.
        expected: the schema that every record has to have.
        dataset_statistics: counts the records.
        findings: collects findings.
        tick: called with the number of finished records.
        contents: compares records with the manifest; None if there is none to compare with.
        num_threads: images decoded at the same time.
        with_hashes: whether to compute the SHA-256 of each image.
    """
    iterator = ShardIterator(shard_set.shards, findings)
    record_index = RecordIndex({shard.name: shard.path for shard in shard_set.shards})
    read = ReadBack(iterator.counts, Totals(), record_index, dataset_statistics)
    parser = Parser(expected.fields, findings)

    def collect(batches: Iterable[DecodedBatch]) -> None:
        for batch in batches:
            if batch.images:
                check_images(batch, findings)
            _add_records(batch, read)
            tick(len(read.record_index) + read.without_id)

    # Images of a batch are decoded while later batches are parsed, so batches reach `collect` with a delay.
    with image_verifier(num_threads, with_hashes=with_hashes) as verifier:
        for raws in iterator.batches():
            parsed = parser.parse(raws)
            _check_records(parsed, expected, findings, contents.check(parsed, raws) if contents else None)
            read.totals.add(parsed.columns)
            read.dataset_statistics.add(parsed.columns)
            collect(verifier.submit(parsed) if expected.stores_images else [DecodedBatch(parsed, [])])
        collect(verifier.finish())
    return read


def _check_records(parsed: ParsedBatch, expected: ExpectedSchema, findings: Findings, compared: Rows | None) -> None:
    # Records that were compared with the manifest need no check by rules: what differs is reported already.
    by_rules = parsed if compared is None else parsed.select(~compared)
    check_annotations(by_rules, expected.policy, expected.area, findings)
    check_formats(parsed, findings, stores_images=expected.stores_images)
    if not expected.stores_images:
        check_sizes(parsed, findings)


def _add_records(batch: DecodedBatch, read: ReadBack) -> None:
    """Add the records of a batch to the record index, in the order of the shards."""
    parsed = batch.parsed
    hashes = [image.sha256 for image in batch.images] or [None] * len(parsed.locations)
    ids = parsed.columns.scalars["image/id"]
    entries: list[tuple[Location, bytes | None, bytes | None]] = list(zip(parsed.locations, ids, hashes, strict=True))
    if parsed.unparsed:
        entries += [(raw.location, _read_id(raw), None) for raw in parsed.unparsed]
        entries.sort(key=lambda entry: read.record_index.sort_key(entry[0]))
    for location, image_id, image_hash in entries:
        if image_id is None:
            read.without_id += 1
        else:
            read.record_index.add(location, image_id, image_hash)
    read.unparsed += len(parsed.unparsed)


def _read_id(raw: RawRecord) -> bytes | None:
    """Return the id of a record that TensorFlow cannot parse, so that it is not reported as missing as well."""
    try:
        feature = decode_example(raw.payload).get("image/id")
    except ShardError:
        return None
    if feature is None or feature.kind is not Kind.BYTES or len(feature.values) != 1:
        return None
    return cast("bytes", feature.values[0])
