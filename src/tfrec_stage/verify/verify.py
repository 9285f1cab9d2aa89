"""Verification on one page: find the shards, read them back, compare them with the metadata files and the manifest."""

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
    """Read everything and report every finding; no finding stops the other checks.

    Memory grows by 56 bytes per record, since all ids have to be compared, and by 32 more for fingerprints.

    Raises:
        ShardError: there is nothing to verify.
        ManifestError: the manifest has malformed records, or changed in the meantime.
    """
    report = Report(request.name)
    shard_set = find_shard_set(request.shards, report.findings)
    expected = find_expected_schema(shard_set)
    # A pattern may match only some of the shards, which cannot be compared with the manifest of all.
    pins = read_pins(request.manifest) if request.manifest and shard_set.directory else None
    contents = find_contents_check(shard_set, request.manifest, pins, request.labels, report.findings)
    if isinstance(contents, str):
        report.skipped["contents"] = contents
    # Images are hashed only if there is something to compare the hashes with.
    states_hashes = any(field.key == "image/key/sha256" for field in expected.fields)
    read = read_back(
        shard_set,
        expected,
        DatasetStatistics(request.labels),
        report.findings,
        _progress_callback(request.name, shard_set, listener),
        contents=None if isinstance(contents, str) else contents,
        num_threads=request.num_threads,
        with_hashes=states_hashes or bool(pins and pins.count),
    )
    if not expected.stores_images:
        report.skipped["images"] = "images are not stored"
    if shard_set.output_options and (profiles := shard_set.output_options.encode.active_profiles):
        files = f"files of {', '.join(profile.name for profile in profiles)} beside the shards are not read"
        report.skipped["profiles"] = f"{files}; their keys in records are"
    check_duplicates(read.record_index, report.findings)
    cross_checks = CrossChecks(shard_set, read, report, request.labels)
    cross_checks.check(request.manifest, pins, stores_images=expected.stores_images)
    report.counts = {
        "shards": len(read.counts),
        "records": sum(count.records for count in read.counts),
        "bytes": sum(count.size_bytes for count in read.counts),
    }
    report.warnings += read.dataset_statistics.warnings()
    report.statistics = read.dataset_statistics.as_dict()
    return report


def _progress_callback(name: str, shard_set: ShardSet, listener: ProgressListener) -> Callable[[int], None]:
    """Return a function that takes the number of finished records and calls the listener, if the total is known."""
    begin_s: list[float] = []

    def tick(done: int) -> None:
        now_s = monotonic()
        if not begin_s:  # the clock starts with the first batch, so that importing TensorFlow does not count
            begin_s.append(now_s)
        # There may be more records than the index states, but progress never exceeds its total.
        if shard_set.index is not None and done <= shard_set.index.records:
            listener(Progress(name, done, shard_set.index.records, now_s - begin_s[0]))

    return tick
