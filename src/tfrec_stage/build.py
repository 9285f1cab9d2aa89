"""The story on one page: manifest → shards → index, swapped in whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrec_stage.files import replaced_directory
from tfrec_stage.handover import FinishedDataset, handover_names, write_handover
from tfrec_stage.making import MadeShard, Making, request_digest
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.progress import ProgressListener, silence
from tfrec_stage.request import BuildRequest
from tfrec_stage.shards.fingerprint import plain_identity
from tfrec_stage.shards.index import (
    ShardEntry,
    refuse_foreign_files,
    shard_entry,
    shard_name,
    stated_profiles,
    write_failures,
    write_index,
    write_stats,
)
from tfrec_stage.shards.statistics import Statistics
from tfrec_stage.shards.store import open_shelf

__all__ = ["BuildReport", "BuildRequest", "build"]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built."""

    shards: tuple[ShardEntry, ...]
    """Shards in the order of their numbers."""
    statistics: Statistics
    """Counts over all of them."""
    failures: tuple[dict[str, Any], ...]
    """Records that failed, each a copy with `error_msg` and `reason`, in the order of the manifest."""
    built: tuple[str, ...]
    """Names of the shards that were written; the others came from the store."""
    copied_records: int
    """Records of these that were copied from an earlier version."""


def build(source: RecordSource, request: BuildRequest, listener: ProgressListener = silence) -> BuildReport:
    """Turn image records into a directory of shards.

    Nothing is visible under the output directory's name before everything is written; the previous build stays
    readable until then. With a store, shards that are in it are linked, and the others copy what records they can
    from their earlier versions.

    Raises:
        ConfigError: an option is out of its range.
        ManifestError: the records as a whole are wrong; nothing is written.
        OutputError: the output directory cannot be written, or holds files that are not ours.
    """
    refuse_foreign_files(
        request.output_directory, request.name, handover_names(request.name, stated_profiles(request.output_directory))
    )
    known_as = request_digest(source, request)
    with open_shelf(request.store_directory, request.output_directory) as shelf:
        with replaced_directory(request.output_directory) as directory:
            making = Making(source, request, shelf, directory, listener)
            made = making.link_unchanged(known_as) or making.make()
            report = _write_account(directory, source, request, made.shards)
        # A manifest that was edited meanwhile must not pass for the one that was built from.
        is_same = known_as == request_digest(source, request)
        shelf.finish(made.as_build(known_as if is_same else None), made.notes)
    return report


def _write_account(
    directory: Path, source: RecordSource, request: BuildRequest, made: Sequence[MadeShard]
) -> BuildReport:
    names = [shard_name(request.name, shard.number, request.num_shards) for shard in made]
    shards = tuple(shard_entry(name, shard.account) for name, shard in zip(names, made, strict=True))
    statistics = Statistics()
    for shard in made:
        statistics += Statistics.from_dict(shard.account.statistics)
    failures = tuple(_failed_records(source, made))
    write_index(directory, request.name, plain_identity(request.identity), shards)
    write_stats(directory, statistics, shards)
    write_failures(directory, failures)
    identity, labels, about = request.identity, request.labels, request.about
    finished = FinishedDataset(directory, request.name, shards, identity, labels, statistics, about)
    write_handover(finished, request.identity.encode.consumers)
    built = tuple(name for name, shard in zip(names, made, strict=True) if shard.is_built)
    return BuildReport(shards, statistics, failures, built, sum(shard.copied for shard in made))


def _failed_records(source: RecordSource, made: Sequence[MadeShard]) -> Iterator[dict[str, Any]]:
    for failure in sorted(failure for shard in made for failure in shard.failures):
        yield {**source.original(failure.position), "error_msg": failure.message, "reason": failure.reason}
