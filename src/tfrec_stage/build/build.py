"""The story on one page: manifest → shards → index, swapped in whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tfrec_stage.build.failures import FailureSummary
from tfrec_stage.build.fingerprint import KeyMaker, options_as_dict
from tfrec_stage.build.request import BuildRequest
from tfrec_stage.build.run import Made, MadeShard, Making, request_digest
from tfrec_stage.cache.disk_cache import open_cache
from tfrec_stage.cache.shard_cache import ShardCache
from tfrec_stage.directories import replaced_directory, scratch_directory
from tfrec_stage.errors import TooManyFailuresError
from tfrec_stage.exporters import FinishedDataset, export_names, write_exports
from tfrec_stage.exporters.class_names import count_classes, learn_class_texts
from tfrec_stage.files import move_file
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.progress import ProgressListener, silence
from tfrec_stage.shards.index import (
    FAILURES_NAME,
    ShardEntry,
    find_foreign_files,
    refuse_foreign_files,
    shard_entry,
    shard_name,
    stated_profiles,
    stated_shards,
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
    """What is told of the records that failed; `failures.jsonl` has them all."""
    built: tuple[str, ...]
    """Names of the shards that were written; the others came from the store."""
    copied_records: int
    """Records of these that were copied from an earlier version."""


def ignore_failure(_: Mapping[str, Any]) -> None:
    """Take no note of a failed record."""


def build(
    source: RecordSource,
    request: BuildRequest,
    listener: ProgressListener = silence,
    on_failure: Callable[[dict[str, Any]], None] = ignore_failure,
) -> BuildReport:
    """Turn image records into a directory of shards.

    Nothing is visible under the output directory's name before everything is written; the previous build stays
    readable until then. With a store, shards that are in it are linked, and the others copy what records they can
    from their earlier versions.

    Args:
        source: the records.
        request: what to build, and where.
        listener: told how far the work has come.
        on_failure: given a copy of each record that failed, with `error_msg` and `reason`, in the manifest's order.

    Raises:
        ConfigError: an option is out of its range.
        ManifestError: the records as a whole are wrong, or changed while they were read; nothing is kept.
        OutputError: the output directory cannot be written, or holds files that are not ours.
        TooManyFailuresError: more images failed than allowed; the previous output and its shards in the store stay.
    """
    request.refuse_unusable_paths()
    _refuse_foreign(request)
    known_as = request_digest(source, request)
    with open_cache(request.store_directory, request.output_directory) as cache:
        with replaced_directory(request.output_directory, partial(_find_foreign, request)) as directory:
            with scratch_directory(directory) as scratch:
                making = Making(source, request, cache, directory, scratch, listener)
                made = making.link_unchanged(known_as) or making.make()
                failures = _write_failures(directory, source, request, made, on_failure)
            statistics = _add_up(made.shards)
            if verdict := _reason_to_refuse(request, statistics, cache):
                cache.refuse(made.as_build(None, {}), made.notes)
                raise _refused(verdict, request, failures, directory)
            texts = learn_class_texts(statistics, request.labels, source, made.class_texts)
            write_classes(directory, count_classes(statistics, request.labels, texts))
            report = _write_metadata(directory, request, made.shards, statistics, failures)
            _refuse_foreign(request)  # once more: a build may take hours
        cache.finish(made.as_build(known_as, texts), made.notes)
    with suppress(OSError):  # what an earlier build left that was refused; a long name may have no such file
        request.refused_failures_path.unlink(missing_ok=True)
    return report


def _refuse_foreign(request: BuildRequest) -> None:
    directory = request.output_directory
    refuse_foreign_files(directory, request.name, _names_beside(request, directory))


def _find_foreign(request: BuildRequest, directory: Path) -> list[str]:
    return find_foreign_files(directory, request.name, _names_beside(request, directory))


def _names_beside(request: BuildRequest, directory: Path) -> list[str]:
    """Files that the profiles of the build in a directory wrote beside its shards, as regular expressions."""
    return export_names(request.name, stated_profiles(directory))


def _write_failures(
    directory: Path,
    source: RecordSource,
    request: BuildRequest,
    made: Made,
    on_failure: Callable[[dict[str, Any]], None],
) -> FailureSummary:
    """Write `failures.jsonl`, one failure in memory at a time."""
    summary = FailureSummary()
    keys = KeyMaker(request.output_options, request.keypoint_names)

    def counted() -> Iterator[dict[str, Any]]:
        for record in made.failures.records(source, keys):
            summary.add(record)
            yield record
            on_failure(record)

    write_failures(directory, counted())
    return summary


def _add_up(made: Sequence[MadeShard]) -> Statistics:
    statistics = Statistics()
    for shard in made:
        statistics += Statistics.from_dict(shard.metadata.statistics)
    return statistics


def _reason_to_refuse(request: BuildRequest, statistics: Statistics, cache: ShardCache) -> str | None:
    """Why the build must not replace what is there, if anything forbids it."""
    failed, total = statistics.failed, statistics.images + statistics.failed
    counted = f"{failed:,} of {total:,} images failed"
    if request.failure_limit is not None:
        is_allowed = failed <= request.failure_limit.allowed(total)
        return None if is_allowed else f"{counted}, more than max_failures={request.failure_limit.text} allows"
    # Most likely a disk is not mounted, or images_root is another.
    lost = None if statistics.images else _build_with_records(request, cache)
    return f"{counted}, and {lost} has records" if lost else None


def _build_with_records(request: BuildRequest, cache: ShardCache) -> str | None:
    """What has records and would be replaced, if anything does: the output, or only what the store knows of it.

    Whoever builds in a stage of DVC finds the output removed; the store would forget its shards all the same.
    """
    if any(records for records, _ in stated_shards(request.output_directory).values()):
        return "the build that is there"
    newest = map(cache.find, cache.newest().fingerprints)
    is_known = any(shard.metadata.records for shard in newest if shard is not None)
    return "the newest build in the store" if is_known else None


def _refused(verdict: str, request: BuildRequest, failures: FailureSummary, directory: Path) -> TooManyFailuresError:
    """The error to raise; the failures are kept beside the output directory."""
    output, kept = request.output_directory, request.refused_failures_path
    move_file(directory / FAILURES_NAME, kept)
    state = "is left as it was" if output.exists() else "was not made"
    message = f"{request.name}: {verdict}; {output} {state}, and the records that failed are in {kept}"
    return TooManyFailuresError(message, kept, failures.by_reason, failures.examples)


def _write_metadata(
    directory: Path,
    request: BuildRequest,
    made: Sequence[MadeShard],
    statistics: Statistics,
    failures: FailureSummary,
) -> BuildReport:
    names = [shard_name(request.name, shard.number, request.num_shards) for shard in made]
    shards = tuple(shard_entry(name, shard.metadata) for name, shard in zip(names, made, strict=True))
    write_index(directory, request.name, options_as_dict(request.output_options), shards)
    write_stats(directory, statistics)
    output_options, labels, about = request.output_options, request.labels, request.about
    finished = FinishedDataset(directory, request.name, shards, output_options, labels, statistics, about)
    write_exports(finished, request.output_options.encode.consumers)
    built = tuple(name for name, shard in zip(names, made, strict=True) if shard.is_built)
    return BuildReport(shards, statistics, failures, built, sum(shard.copied for shard in made))
