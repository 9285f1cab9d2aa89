"""Compare what was read back with the metadata files and the manifest; skip what cannot be checked, with the reason."""

from collections.abc import Sequence

import numpy as np

from tfrec_stage.build.options import keypoint_names_by_label
from tfrec_stage.build.plan import read_manifest_index
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.shards.metadata_files import CLASSES_NAME, FAILURES_NAME, INDEX_NAME, STATS_NAME, ShardEntry
from tfrec_stage.verify.manifest import Pins, check_ids, check_pins, differing_fingerprints
from tfrec_stage.verify.metadata_files import (
    check_against_index,
    check_classes,
    check_failures,
    check_stats,
    read_classes,
    read_failures,
    read_stats,
)
from tfrec_stage.verify.read_back import ReadBack
from tfrec_stage.verify.report import Report
from tfrec_stage.verify.shards import MAY_BE_SOME, ShardSet


class CrossChecks:
    """Compares what was read back with each metadata file and the manifest."""

    def __init__(self, found: ShardSet, read: ReadBack, report: Report, labels: tuple[Label, ...]) -> None:
        self._found = found
        self._read = read
        self._report = report
        self._labels = labels
        self._log = report.log
        directory = found.directory
        self._stats = read_stats(directory, self._log) if directory else None
        self._classes = read_classes(directory, self._log) if directory else None
        self._failures = read_failures(directory, self._log) if directory else None

    def check(self, manifest: RecordSource | None, pins: Pins | None, *, are_stored: bool) -> None:
        """Make all checks that are possible, and record why the others are skipped.

        Args:
            manifest: what the shards were built from, if it exists.
            pins: its ids and pinned hashes.
            are_stored: whether the records contain their images.

        Raises:
            ManifestError: the manifest changed in the meantime.
        """
        if self._found.directory is None:
            for name in ("index", "stats", "classes", "failures", "manifest", "pins", "fingerprints"):
                self._report.skipped[name] = MAY_BE_SOME
            return
        is_as_built = self._check_index()
        self._check_counts(is_as_built)
        self._check_failures()
        if manifest is None or pins is None:
            for name in ("manifest", "pins", "fingerprints"):
                self._report.skipped[name] = "there is no manifest"
            return
        if self._is_foreign(pins):
            for name in ("manifest", "pins", "fingerprints"):
                self._leave_out(name, f"there is no {INDEX_NAME}, and the manifest has none of these ids")
            return
        lost = None if self._log.by_kind["shard_missing"] else self._read.lost
        self._report.lost_ids = check_ids(
            manifest, pins, self._read.index_of_records, self._failures, lost=lost, log=self._log
        )
        self._check_pins(pins, are_stored=are_stored)
        self._check_fingerprints(manifest)

    def _is_foreign(self, pins: Pins) -> bool:
        """Return whether the manifest belongs to other shards: it has none of their ids."""
        ids = self._read.index_of_records.ids()
        return self._found.index is None and bool(len(ids)) and not np.isin(ids, pins.id_hashes).any()

    def _leave_out(self, check: str, reason: str) -> None:
        self._report.skipped[check] = reason

    def _check_index(self) -> bool:
        if self._found.index is None:
            is_there = self._log.by_kind["index_invalid"]
            self._leave_out("index", f"{INDEX_NAME} is damaged" if is_there else f"there is no {INDEX_NAME}")
            return True
        return check_against_index(self._read.counts, self._log)

    def _check_counts(self, is_as_built: bool) -> None:
        reason = None
        if not self._is_whole:
            reason = "some records cannot be read, so that they cannot be counted"
        elif not is_as_built:
            reason = f"the shards are not those that {INDEX_NAME} describes"
        if self._stats is None:
            self._leave_out("stats", self._absence_of(STATS_NAME))
        elif reason:
            self._leave_out("stats", reason)
        else:
            check_stats(self._stats, self._read.totals, self._log)
        if self._classes is None:
            self._leave_out("classes", self._absence_of(CLASSES_NAME))
        elif reason:
            self._leave_out("classes", reason)
        else:
            check_classes(self._classes, self._read.totals, self._log)

    def _check_failures(self) -> None:
        if self._failures is None:
            self._leave_out("failures", self._absence_of(FAILURES_NAME))
        elif self._stats is None:
            self._leave_out("failures", f"there is no {STATS_NAME} to compare them with")
        else:
            check_failures(self._stats, self._failures, self._log)

    def _check_pins(self, pins: Pins, *, are_stored: bool) -> None:
        notes = self._stats.get("notes") if self._stats else None
        if not are_stored:
            self._leave_out("pins", "images are not stored")
        elif not pins.count:
            self._leave_out("pins", "the manifest pins no image by its sha256")
        elif not isinstance(notes, dict):
            self._leave_out("pins", f"no {STATS_NAME} tells how many images were altered")
        else:
            check_pins(pins, self._read.index_of_records, notes, self._log, is_whole=self._is_whole)

    def _check_fingerprints(self, manifest: RecordSource) -> None:
        index, output_options = self._found.index, self._found.output_options
        if index is None or output_options is None or self._log.by_kind["index_invalid"]:
            self._leave_out("fingerprints", f"there is no sound {INDEX_NAME}")
            return
        if self._failures is None:
            self._leave_out("fingerprints", f"there is no sound {FAILURES_NAME}")
            return
        try:
            manifest_index = read_manifest_index(
                manifest, output_options, keypoint_names_by_label(self._labels, output_options.encode)
            )
        except ManifestError as error:
            self._leave_out("fingerprints", str(error).partition("\n")[0])
            return
        if unpinned := len(manifest_index.unpinned):
            self._leave_out("fingerprints", f"{unpinned:,} records of the manifest do not pin their image")
            return
        self._tell_fingerprints(differing_fingerprints(manifest_index, output_options, index.shards, self._failures))

    def _tell_fingerprints(self, differing: Sequence[ShardEntry]) -> None:
        for entry in differing:
            message = (
                f"{INDEX_NAME} has the fingerprint {entry.fingerprint[:12]}…, which is not that of the manifest and "
                "the options in it: one of them was changed after the build; build again"
            )
            self._log.add("fingerprint_mismatch", entry.name, message)

    @property
    def _is_whole(self) -> bool:
        return self._read.is_whole and not self._log.by_kind["shard_missing"]

    def _absence_of(self, name: str) -> str:
        is_there = self._found.directory is not None and (self._found.directory / name).exists()
        return f"{name} is damaged" if is_there else f"there is no {name}"
