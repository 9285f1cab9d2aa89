"""The proof on one page: find the shards, read all of them back, compare with every metadata of them."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from tfrec_stage.dataset_info import Label
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.progress import Progress, ProgressListener, silence
from tfrec_stage.stats.dataset_statistics import Census
from tfrec_stage.verify.contents import find_contents_check
from tfrec_stage.verify.cross_checks import Accounting
from tfrec_stage.verify.expectations import find_promise
from tfrec_stage.verify.manifest import read_pins
from tfrec_stage.verify.read_back import read_back
from tfrec_stage.verify.record_index import check_duplicates
from tfrec_stage.verify.report import Report
from tfrec_stage.verify.shards import ShardSet, find_shard_set


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to verify."""

    name: str
    """Name of the split, for the report."""
    shards: str
    """Directory of the shards, one of them, or a pattern."""
    manifest: RecordSource | None = None
    """What they were made from; None leaves out what needs it."""
    labels: tuple[Label, ...] = ()
    """Classes, for names that the records do not tell."""
    num_threads: int = 4
    """Images decoded at the same time."""


def verify_shards(request: VerifyRequest, listener: ProgressListener = silence) -> Report:
    """Read everything, tell every fault, finish the rest.

    Memory grows by 56 bytes for each record, for the ids of all have to be compared, and by 32 more for fingerprints.

    Raises:
        ShardError: there is nothing to verify.
        ManifestError: the manifest has records of the wrong shape.
    """
    report = Report(request.name)
    found = find_shard_set(request.shards, report.log)
    promise = find_promise(found)
    # A pattern may name some of the shards, and these cannot be compared with the manifest of all.
    pins = read_pins(request.manifest) if request.manifest and found.directory else None
    contents = find_contents_check(found, request.manifest, pins, request.labels, report.log)
    if isinstance(contents, str):
        report.left_out["contents"] = contents
    has_sha256 = any(field.key == "image/key/sha256" for field in promise.fields)
    read = read_back(
        found,
        promise,
        Census(request.labels),
        report.log,
        _clock(request.name, found, listener),
        contents=None if isinstance(contents, str) else contents,
        num_threads=request.num_threads,
        with_digests=has_sha256 or bool(pins and pins.count),
    )
    if not promise.stores_images:
        report.left_out["images"] = "images are not stored"
    if found.output_options and (consumers := found.output_options.encode.active_profiles):
        files = f"files of {', '.join(profile.name for profile in consumers)} beside the shards are not read"
        report.left_out["profiles"] = f"{files}; their keys in records are"
    check_duplicates(read.ledger, report.log)
    Accounting(found, read, report, request.labels).check(request.manifest, pins, are_stored=promise.stores_images)
    report.counts = {
        "shards": len(read.counts),
        "records": sum(count.records for count in read.counts),
        "bytes": sum(count.size_bytes for count in read.counts),
    }
    report.warnings += read.census.warnings()
    report.statistics = read.census.as_dict()
    return report


def _clock(name: str, found: ShardSet, listener: ProgressListener) -> Callable[[int], None]:
    """Turns a count of records into the event that listeners get, where their number is known beforehand."""
    begin_s: list[float] = []

    def tick(done: int) -> None:
        now_s = monotonic()
        if not begin_s:  # TensorFlow's import is over by now
            begin_s.append(now_s)
        if found.index is not None and done <= found.index.records:
            listener(Progress(name, done, found.index.records, now_s - begin_s[0]))

    return tick
