"""Verification on one page: find the shards, read them back, compare with the metadata files and the manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from tfrec_stage.dataset_info import Label
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.progress import Progress, ProgressListener, silence
from tfrec_stage.stats.dataset_statistics import DatasetStatistics
from tfrec_stage.verify.contents import find_contents_check
from tfrec_stage.verify.cross_checks import CrossChecks
from tfrec_stage.verify.expectations import find_expected_schema
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
    """Directory of the shards, one shard, or a pattern."""
    manifest: RecordSource | None = None
    """The manifest they were built from; None skips the checks that need it."""
    labels: tuple[Label, ...] = ()
    """Classes, for names that are not in the records."""
    num_threads: int = 4
    """Images decoded at the same time."""


def verify_shards(request: VerifyRequest, listener: ProgressListener = silence) -> Report:
    """Read everything and report every finding; nothing stops the rest of the checks.

    Memory grows by 56 bytes per record, since all ids have to be compared, and by 32 more for fingerprints.

    Raises:
        ShardError: there is nothing to verify.
        ManifestError: the manifest has malformed records.
    """
    report = Report(request.name)
    found = find_shard_set(request.shards, report.log)
    expected = find_expected_schema(found)
    # A pattern may match only some of the shards, which cannot be compared with the manifest of all.
    pins = read_pins(request.manifest) if request.manifest and found.directory else None
    contents = find_contents_check(found, request.manifest, pins, request.labels, report.log)
    if isinstance(contents, str):
        report.skipped["contents"] = contents
    has_sha256 = any(field.key == "image/key/sha256" for field in expected.fields)
    read = read_back(
        found,
        expected,
        DatasetStatistics(request.labels),
        report.log,
        _progress_reporter(request.name, found, listener),
        contents=None if isinstance(contents, str) else contents,
        num_threads=request.num_threads,
        with_digests=has_sha256 or bool(pins and pins.count),
    )
    if not expected.stores_images:
        report.skipped["images"] = "images are not stored"
    if found.output_options and (profiles := found.output_options.encode.active_profiles):
        files = f"files of {', '.join(profile.name for profile in profiles)} beside the shards are not read"
        report.skipped["profiles"] = f"{files}; their keys in records are"
    check_duplicates(read.index_of_records, report.log)
    CrossChecks(found, read, report, request.labels).check(request.manifest, pins, are_stored=expected.stores_images)
    report.counts = {
        "shards": len(read.counts),
        "records": sum(count.records for count in read.counts),
        "bytes": sum(count.size_bytes for count in read.counts),
    }
    report.warnings += read.dataset_statistics.warnings()
    report.statistics = read.dataset_statistics.as_dict()
    return report


def _progress_reporter(name: str, found: ShardSet, listener: ProgressListener) -> Callable[[int], None]:
    """Return a function that turns a count of records into a progress event, if the total is known."""
    begin_s: list[float] = []

    def tick(done: int) -> None:
        now_s = monotonic()
        if not begin_s:  # started here, so that importing TensorFlow does not count
            begin_s.append(now_s)
        if found.index is not None and done <= found.index.records:
            listener(Progress(name, done, found.index.records, now_s - begin_s[0]))

    return tick
