"""One walk through all shards: files → records → columns and images → faults, counts, ids."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from tfrec_stage.errors import ShardError
from tfrec_stage.reading.columns import Rows
from tfrec_stage.stats.dataset_statistics import Census
from tfrec_stage.tfrecord.example import Kind, decode_example
from tfrec_stage.verify.annotations import check_values
from tfrec_stage.verify.contents import ContentsCheck
from tfrec_stage.verify.expectations import Promise
from tfrec_stage.verify.findings import FaultLog, Place
from tfrec_stage.verify.images import JudgedBatch, check_formats, check_images, check_sizes, image_judge
from tfrec_stage.verify.iteration import Walker
from tfrec_stage.verify.metadata_files import ShardCount, Totals
from tfrec_stage.verify.parsing import Parsed, Parser, Raw
from tfrec_stage.verify.record_index import Ledger
from tfrec_stage.verify.shards import ShardSet


@dataclass(slots=True)
class ReadBack:
    """What the shards hold."""

    counts: list[ShardCount]
    """Each shard."""
    totals: Totals
    """All records that TensorFlow parses."""
    ledger: Ledger
    """All records whose id can be read."""
    census: Census
    """Statistics over those that TensorFlow parses."""
    refused: int = 0
    """Records that TensorFlow does not parse."""
    unnamed: int = 0
    """Those of them whose id cannot be read."""

    @property
    def lost(self) -> int | None:
        """Records that the index has and whose id cannot be read; None if their number cannot be known."""
        lost = [count.lost if count.is_broken else count.absent for count in self.counts]
        return None if None in lost else sum(number or 0 for number in lost) + self.unnamed

    @property
    def is_whole(self) -> bool:
        """Whether every record was read and parsed."""
        return not self.refused and not any(count.is_broken for count in self.counts)


def read_back(
    found: ShardSet,
    promise: Promise,
    census: Census,
    log: FaultLog,
    tick: Callable[[int], None],
    *,
    contents: ContentsCheck | None,
    num_threads: int,
    with_digests: bool,
) -> ReadBack:
    """Read, parse, decode and judge every record.

    Args:
        found: the shards.
        promise: what each record has to be.
        census: where statistics go.
        log: where faults go.
        tick: told how many records are finished.
        contents: compares records with the manifest; None if there is none to compare with.
        num_threads: images decoded at the same time.
        with_digests: whether the SHA-256 of each image is wanted.
    """
    walker = Walker(found.shards, log)
    read = ReadBack(walker.counts, Totals(), Ledger({shard.name: shard.path for shard in found.shards}), census)
    parser = Parser(promise.fields, log)

    def take(batches: Iterable[JudgedBatch]) -> None:
        for batch in batches:
            if batch.images:
                check_images(batch, log)
            _note(batch, read)
            tick(len(read.ledger) + read.unnamed)

    with image_judge(num_threads, with_digests=with_digests) as judge:
        for raws in walker.batches():
            parsed = parser.parse(raws)
            _check_records(parsed, promise, log, contents.check(parsed, raws) if contents else None)
            read.totals.add(parsed.columns)
            read.census.add(parsed.columns)
            take(judge.judge(parsed) if promise.stores_images else [JudgedBatch(parsed, [])])
        take(judge.finish())
    return read


def _check_records(parsed: Parsed, promise: Promise, log: FaultLog, compared: Rows | None) -> None:
    # What the manifest gives obeys the rules already.
    by_rule = parsed if compared is None else parsed.select(~compared)
    check_values(by_rule, promise.policy, promise.area, log)
    check_formats(parsed, log, are_stored=promise.stores_images)
    if not promise.stores_images:
        check_sizes(parsed, log)


def _note(batch: JudgedBatch, read: ReadBack) -> None:
    parsed = batch.parsed
    digests = [facts.digest for facts in batch.images] or [None] * len(parsed.places)
    ids = parsed.columns.scalars["image/id"]
    entries: list[tuple[Place, bytes | None, bytes | None]] = list(zip(parsed.places, ids, digests, strict=True))
    if parsed.refused:
        entries += [(raw.place, *_salvage(raw)) for raw in parsed.refused]
        entries.sort(key=lambda entry: read.ledger.order(entry[0]))
    for place, image_id, digest in entries:
        if image_id is None:
            read.unnamed += 1
        else:
            read.ledger.add(place, image_id, digest)
    read.refused += len(parsed.refused)


def _salvage(raw: Raw) -> tuple[bytes | None, bytes | None]:
    """The id of a record that TensorFlow does not parse, so that it is not missed as well; its image is not judged."""
    try:
        feature = decode_example(raw.payload).get("image/id")
    except ShardError:
        return None, None
    if feature is None or feature.kind is not Kind.BYTES or len(feature.values) != 1:
        return None, None
    return cast("bytes", feature.values[0]), None
