"""Verification on one page: find the shards, read them back, compare them with the metadata files and the manifest."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

import numpy as np

from tfrec_stage.build.options import keypoint_names_by_label
from tfrec_stage.build.plan import read_manifest_index
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.progress import Progress, ProgressListener, silence
from tfrec_stage.shards.metadata_files import CLASSES_NAME, FAILURES_NAME, INDEX_NAME, STATS_NAME, ShardEntry
from tfrec_stage.stats.dataset_statistics import DatasetStatistics
from tfrec_stage.verify.contents import find_contents_check
from tfrec_stage.verify.expectations import find_expected_schema
from tfrec_stage.verify.manifest import Pins, check_ids, check_pins, differing_fingerprints, read_pins
from tfrec_stage.verify.metadata_files import (
    check_against_index,
    check_classes,
    check_failures,
    check_stats,
    read_classes,
    read_failures,
    read_stats,
)
from tfrec_stage.verify.read_back import ReadBack, read_back
from tfrec_stage.verify.record_index import check_duplicates
from tfrec_stage.verify.report import Report
from tfrec_stage.verify.shards import NEEDS_DIRECTORY, ShardSet, find_shard_set

_METADATA_CHECKS: Final = ("index", "stats", "classes", "failures")
_MANIFEST_CHECKS: Final = ("manifest", "pins", "fingerprints")


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


class CrossChecks:
    """Compares what was read back with each metadata file and with the manifest, where that is possible.

    The comparisons themselves are in `metadata_files` and `manifest`; those that are not possible are skipped.
    """

    def __init__(self, shard_set: ShardSet, read: ReadBack, report: Report, labels: tuple[Label, ...]) -> None:
        self._shard_set = shard_set
        self._read = read
        self._report = report
        self._labels = labels
        self._findings = report.findings
        directory = shard_set.directory
        self._stats = read_stats(directory, self._findings) if directory else None
        self._classes = read_classes(directory, self._findings) if directory else None
        self._failures = read_failures(directory, self._findings) if directory else None

    def check(self, manifest: RecordSource | None, pins: Pins | None, *, stores_images: bool) -> None:
        """Make all checks that are possible, and record why the others are skipped.

        Args:
            manifest: what the shards were built from, if it exists.
            pins: its ids and pins.
            stores_images: whether the records contain their images.

        Raises:
            ManifestError: the manifest changed in the meantime.
        """
        if self._shard_set.directory is None:
            self._skip((*_METADATA_CHECKS, *_MANIFEST_CHECKS), NEEDS_DIRECTORY)
            return
        matches_index = self._check_index()
        self._check_counts(matches_index=matches_index)
        self._check_failures()
        if manifest is None or pins is None:
            self._skip(_MANIFEST_CHECKS, "there is no manifest")
            return
        if self._is_of_other_shards(pins):
            self._skip(_MANIFEST_CHECKS, f"there is no {INDEX_NAME}, and the manifest has none of these ids")
            return
        # Records of missing shards are not counted, so they may explain any number of missing ids.
        lost = None if self._findings.by_kind["shard_missing"] else self._read.lost
        self._report.lost_ids = check_ids(
            manifest, pins, self._read.record_index, self._failures, lost=lost, findings=self._findings
        )
        self._check_pins(pins, stores_images=stores_images)
        self._check_fingerprints(manifest)

    def _skip(self, checks: Iterable[str], reason: str) -> None:
        self._report.skipped |= dict.fromkeys(checks, reason)

    def _is_of_other_shards(self, pins: Pins) -> bool:
        """Return whether the manifest has none of the ids, and no index shows that it should have them."""
        ids = self._read.record_index.ids()
        return self._shard_set.index is None and bool(len(ids)) and not np.isin(ids, pins.id_hashes).any()

    def _check_index(self) -> bool:
        """Return whether the shards are those that the index describes; also if there is no index."""
        if self._shard_set.index is None:
            is_damaged = self._findings.by_kind["index_invalid"]
            self._skip(["index"], f"{INDEX_NAME} is damaged" if is_damaged else f"there is no {INDEX_NAME}")
            return True
        return check_against_index(self._read.counts, self._findings)

    def _check_counts(self, *, matches_index: bool) -> None:
        # If records are unreadable, or not those of the build, the counts differ for that reason, which is reported.
        reason = None
        if not self._is_complete:
            reason = "some records cannot be read, so that they cannot be counted"
        elif not matches_index:
            reason = f"the shards are not those that {INDEX_NAME} describes"
        if self._stats is None:
            self._skip(["stats"], self._why_unusable(STATS_NAME))
        elif reason:
            self._skip(["stats"], reason)
        else:
            check_stats(self._stats, self._read.totals, self._findings)
        if self._classes is None:
            self._skip(["classes"], self._why_unusable(CLASSES_NAME))
        elif reason:
            self._skip(["classes"], reason)
        else:
            check_classes(self._classes, self._read.totals, self._findings)

    def _check_failures(self) -> None:
        if self._failures is None:
            self._skip(["failures"], self._why_unusable(FAILURES_NAME))
        elif self._stats is None:
            self._skip(["failures"], f"there is no {STATS_NAME} to compare them with")
        else:
            check_failures(self._stats, self._failures, self._findings)

    def _check_pins(self, pins: Pins, *, stores_images: bool) -> None:
        transforms = self._stats.get("notes") if self._stats else None  # `notes`: the key of transforms on disk
        if not stores_images:
            self._skip(["pins"], "images are not stored")
        elif not pins.count:
            self._skip(["pins"], "the manifest pins no image by its sha256")
        elif not isinstance(transforms, dict):
            self._skip(["pins"], f"no {STATS_NAME} tells how many images were altered")
        else:
            check_pins(pins, self._read.record_index, transforms, self._findings, is_complete=self._is_complete)

    def _check_fingerprints(self, manifest: RecordSource) -> None:
        index, output_options = self._shard_set.index, self._shard_set.output_options
        if index is None or output_options is None or self._findings.by_kind["index_invalid"]:
            self._skip(["fingerprints"], f"there is no sound {INDEX_NAME}")
            return
        # A failed record has another key in the fingerprint of its shard, so the failures have to be known.
        if self._failures is None:
            self._skip(["fingerprints"], f"there is no sound {FAILURES_NAME}")
            return
        try:
            manifest_index = read_manifest_index(
                manifest, output_options, keypoint_names_by_label(self._labels, output_options.encode)
            )
        except ManifestError as error:
            self._skip(["fingerprints"], str(error).partition("\n")[0])
            return
        # The key of an unpinned record needs the hash of its image file, and no image file is read here.
        if unpinned := len(manifest_index.unpinned):
            self._skip(["fingerprints"], f"{unpinned:,} records of the manifest do not pin their image")
            return
        self._report_fingerprints(differing_fingerprints(manifest_index, output_options, index.shards, self._failures))

    def _report_fingerprints(self, differing: Sequence[ShardEntry]) -> None:
        for entry in differing:
            message = (
                f"{INDEX_NAME} has the fingerprint {entry.fingerprint[:12]}…, which is not that of the manifest and "
                "the options in it: one of them was changed after the build; build again"
            )
            self._findings.add("fingerprint_mismatch", entry.name, message)

    @property
    def _is_complete(self) -> bool:
        return self._read.is_complete and not self._findings.by_kind["shard_missing"]

    def _why_unusable(self, name: str) -> str:
        exists = self._shard_set.directory is not None and (self._shard_set.directory / name).exists()
        return f"{name} is damaged" if exists else f"there is no {name}"
