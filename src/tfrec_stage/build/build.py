"""From a manifest to a directory of shards: the whole build on one page.

manifest ──plan.py──▶ index ──placement.py──▶ shard plans ──cache/reuse.py──▶ linked shards
└───────shard_task.py────▶ written shards
shards ──▶ failures.jsonl, classes.json, index.json, stats.json, exports ──▶ the output directory, replaced as a whole
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any

from tfrec_stage.build.failures import FailureSummary, reason_to_reject
from tfrec_stage.build.fingerprint import KeyMaker, compressor_version, options_as_dict, options_digest
from tfrec_stage.build.placement import place_records
from tfrec_stage.build.plan import ShardPlan, plan_shards, read_manifest_index
from tfrec_stage.build.request import BuildRequest
from tfrec_stage.build.run import BuildRun, FinishedShard, FinishedShards, find_foreign, refuse_foreign
from tfrec_stage.build.shard_task import ShardTask, write_shard
from tfrec_stage.cache.disk_cache import open_cache
from tfrec_stage.cache.reuse import Reuse
from tfrec_stage.cache.shard_cache import CachedShard
from tfrec_stage.directories import replaced_directory, scratch_directory
from tfrec_stage.engine import prepare
from tfrec_stage.errors import TooManyFailuresError
from tfrec_stage.exporters import FinishedDataset, write_exports
from tfrec_stage.exporters.class_names import count_classes, learn_class_texts
from tfrec_stage.files import move_file
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.manifest.source import RecordReader, RecordSource
from tfrec_stage.progress import ProgressListener, silence
from tfrec_stage.shards.directory import shard_name
from tfrec_stage.shards.metadata_files import (
    FAILURES_NAME,
    ShardEntry,
    shard_entry,
    write_classes,
    write_failures,
    write_index,
    write_stats,
)
from tfrec_stage.shards.statistics import Statistics

__all__ = ["BuildReport", "BuildRequest", "build"]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built."""

    shards: tuple[ShardEntry, ...]
    """Shards in the order of their numbers."""
    statistics: Statistics
    """Counts over all of them."""
    failures: FailureSummary
    """A summary of the records that failed; `failures.jsonl` has them all."""
    built: tuple[str, ...]
    """Names of the shards that were written; the others were linked from the cache."""
    copied_records: int
    """Number of records in these shards that were copied from earlier shards."""
    reused_images: int
    """Number of their other records whose image was copied from an earlier shard."""


def ignore_failure(_: Mapping[str, Any]) -> None:
    """Do nothing with a failed record."""


def build(
    source: RecordSource,
    request: BuildRequest,
    listener: ProgressListener = silence,
    on_failure: Callable[[dict[str, Any]], None] = ignore_failure,
) -> BuildReport:
    """Turn image records into a directory of shards.

    Nothing appears in the output directory before everything is written; the previous build stays readable until then.
    Shards that are in the cache are linked, and the others copy the records they can from earlier shards.

    Args:
        source: the records.
        request: what to build, and where.
        listener: called with the progress.
        on_failure: called with a copy of each failed record, with `error_msg` and `reason`, in the manifest's order.

    Raises:
        ConfigError: an option is out of its range.
        ManifestError: the records as a whole are wrong, or changed while they were read; nothing is kept.
        OutputError: the output directory cannot be written, or holds foreign files.
        TooManyFailuresError: more images failed than allowed; the previous output and its cached shards stay.
    """
    request.check_paths()
    refuse_foreign(request)
    digest = request_digest(source, request)
    with open_cache(request.store_directory, request.output_directory) as cache:
        with replaced_directory(request.output_directory, partial(find_foreign, request)) as directory:
            with scratch_directory(directory) as scratch:
                run = BuildRun(source, request, cache, directory, scratch, listener)
                finished = _link_unchanged_build(run, digest) or _make_shards(run)
                failures = _write_failures(run, finished, on_failure)
            statistics = _sum_statistics(finished.shards)
            if reason := reason_to_reject(request.failure_limit, statistics, request.output_directory, cache):
                cache.reject(finished.as_cached_build(None, {}))
                raise _rejected(reason, request, failures, directory)
            names = learn_class_texts(statistics, request.labels, source, finished.class_names)
            write_classes(directory, count_classes(statistics, request.labels, names))
            report = _write_metadata_files(run, finished.shards, statistics, failures)
            refuse_foreign(request)  # again, as hours may have passed since the first check
        # Only after the swap: a build that failed to replace the directory must not become the latest one.
        cache.commit(finished.as_cached_build(digest, names))
    with suppress(OSError):  # left by an earlier, rejected build; the name may be too long to have ever existed
        request.rejected_failures_path.unlink(missing_ok=True)
    return report


def _link_unchanged_build(run: BuildRun, digest: str | None) -> FinishedShards | None:
    """Link all shards from the cache if the latest build had the same request; no record is read."""
    linked = Reuse(run.cache, run.shard_path).link_build(digest)
    if linked is None:
        return None
    shards = [FinishedShard(number, shard.metadata) for number, shard in enumerate(linked)]
    names = run.cache.latest_build().class_names
    return FinishedShards(shards, all_pinned=True, failures=run.new_failure_log(), class_names=names)


def _make_shards(run: BuildRun) -> FinishedShards:
    """Plan all shards, link those that are in the cache and write the others."""
    prepare(write_shard, run.request.engine)  # worker processes import what they need while the manifest is read
    source = run.source_for_tasks()
    plans, all_pinned = _plan(run, source)
    reuse = Reuse(run.cache, run.shard_path)
    reuse.lease(fingerprint for plan in plans for fingerprint in plan.fingerprints)
    found = {plan.number: reuse.link_shard(plan.number, plan.fingerprints) for plan in plans}
    linked = {number: shard for number, shard in found.items() if shard is not None}
    tasks = _tasks(run, source, [plan for plan in plans if plan.number not in linked], reuse, linked.values())
    failures = run.new_failure_log()
    written = run.write_shards(tasks, sum(len(plan.positions) for plan in plans), failures)
    unchanged = [FinishedShard(number, shard.metadata) for number, shard in linked.items()]
    shards = sorted([*unchanged, *written], key=attrgetter("number"))
    return FinishedShards(shards, all_pinned=all_pinned, failures=failures)


def _plan(run: BuildRun, source: RecordReader) -> tuple[list[ShardPlan], bool]:
    """Index the manifest and plan all shards; return also whether every record pins its image."""
    request, options = run.request, run.request.output_options
    is_first = not run.cache.has_earlier_build()
    index = read_manifest_index(source, options, request.keypoint_names, with_image_keys=not is_first)
    placement = place_records(index.id_hashes, request.num_shards, options.encode)
    full_keys = run.hash_unpinned_images(source, index)
    plans = list(plan_shards(index, placement, full_keys, compressor_version(options.encode.compression)))
    return plans, not index.unpinned


def _tasks(
    run: BuildRun,
    source: RecordReader,
    plans: Iterable[ShardPlan],
    reuse: Reuse,
    linked: Iterable[CachedShard],
) -> list[ShardTask]:
    """Return the tasks that write the planned shards."""
    # The index of earlier records takes as much memory as the plans. It ends here, before the first task runs.
    earlier = reuse.earlier_records(linked, run.request.output_options.encode.image_use)
    return [run.shard_task(plan, source, earlier) for plan in plans]


def request_digest(source: RecordSource, request: BuildRequest) -> str | None:
    """Digest everything that decides all shards; None if that takes reading the records."""
    if (digest := source.digest()) is None:
        return None
    encode = request.output_options.encode
    order = [encode.seed, encode.shuffle, request.num_shards]
    options = options_digest(request.output_options, request.keypoint_names).hex()
    libraries = [pixel_codec(), compressor_version(encode.compression)]
    return sha256(json.dumps([digest, options, order, *libraries]).encode()).hexdigest()


def _write_failures(
    run: BuildRun, finished: FinishedShards, on_failure: Callable[[dict[str, Any]], None]
) -> FailureSummary:
    """Write `failures.jsonl`, with one failure in memory at a time."""
    summary = FailureSummary()
    keys = KeyMaker(run.request.output_options, run.request.keypoint_names)

    def counted() -> Iterator[dict[str, Any]]:
        for record in finished.failures.records(run.source, keys):
            summary.add(record)
            yield record
            on_failure(record)

    write_failures(run.directory, counted())
    return summary


def _sum_statistics(shards: Sequence[FinishedShard]) -> Statistics:
    statistics = Statistics()
    for shard in shards:
        statistics += Statistics.from_dict(shard.metadata.statistics)
    return statistics


def _rejected(reason: str, request: BuildRequest, failures: FailureSummary, directory: Path) -> TooManyFailuresError:
    """Keep the failures beside the output directory, and return the error to raise."""
    output, kept = request.output_directory, request.rejected_failures_path
    move_file(directory / FAILURES_NAME, kept)
    state = "is left as it was" if output.exists() else "was not made"
    message = f"{request.name}: {reason}; {output} {state}, and the records that failed are in {kept}"
    return TooManyFailuresError(message, kept, failures.by_reason, failures.examples)


def _write_metadata_files(
    run: BuildRun, finished: Sequence[FinishedShard], statistics: Statistics, failures: FailureSummary
) -> BuildReport:
    """Write index.json, stats.json and what the profiles export beside the shards."""
    request, directory = run.request, run.directory
    names = [shard_name(request.name, shard.number, request.num_shards) for shard in finished]
    shards = tuple(shard_entry(name, shard.metadata) for name, shard in zip(names, finished, strict=True))
    write_index(directory, request.name, options_as_dict(request.output_options), shards)
    write_stats(directory, statistics)
    encode, labels, about = request.output_options.encode, request.labels, request.about
    dataset = FinishedDataset(directory, request.name, shards, encode, labels, statistics, about)
    write_exports(dataset, encode.active_profiles)
    built = tuple(name for name, shard in zip(names, finished, strict=True) if shard.is_built)
    copied, reused_images = sum(shard.copied for shard in finished), sum(shard.reused_images for shard in finished)
    return BuildReport(shards, statistics, failures, built, copied, reused_images)
