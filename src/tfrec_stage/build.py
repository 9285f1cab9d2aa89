"""The story on one page: manifest → catalogue → plan → shards → index, swapped in whole."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from tfrec_stage.engine import EngineOptions, run_tasks
from tfrec_stage.errors import ConfigError
from tfrec_stage.files import replaced_directory
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.progress import Progress, ProgressListener, silence
from tfrec_stage.shards.catalogue import Catalogue, read_catalogue
from tfrec_stage.shards.encoder import Encoder, Identity
from tfrec_stage.shards.fingerprint import plain_identity
from tfrec_stage.shards.index import (
    ShardEntry,
    refuse_foreign_files,
    shard_entry,
    shard_name,
    write_failures,
    write_index,
    write_stats,
)
from tfrec_stage.shards.plan import Plan, make_plan
from tfrec_stage.shards.statistics import Statistics
from tfrec_stage.shards.writer import ShardTask, WrittenShard, write_shard


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build, and where."""

    name: str
    """Name of the split; shards are called `<name>-00000-of-00010`."""
    output_directory: Path
    """Directory of the shards; replaced as a whole."""
    num_shards: int
    """Number of shards, at least 1."""
    identity: Identity = field(default_factory=Identity)
    """Identity options: they decide the bytes."""
    images_root: Path = Path()
    """Where relative file names start from."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """Runtime options: they decide how fast."""

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/\\\0"):
            raise ConfigError(
                f"name: expected a name without slashes, as shards are called by it, but got {self.name!r}"
            )
        if not isinstance(self.num_shards, int) or self.num_shards < 1:
            raise ConfigError(f"num_shards: expected a whole number of at least 1, but got {self.num_shards!r}")


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built."""

    shards: tuple[ShardEntry, ...]
    """Shards in the order of their numbers."""
    statistics: Statistics
    """Counts over all of them."""
    failures: tuple[dict[str, Any], ...]
    """Records that failed, each a copy with `error_msg` and `reason`, in the order of the manifest."""


def build(source: RecordSource, request: BuildRequest, listener: ProgressListener = silence) -> BuildReport:
    """Turn image records into a directory of shards.

    Nothing is visible under the output directory's name before everything is written; the previous build stays
    readable until then.

    Raises:
        ConfigError: an option is out of its range.
        ManifestError: the records as a whole are wrong; nothing is written.
        OutputError: the output directory cannot be written, or holds files that are not ours.
    """
    refuse_foreign_files(request.output_directory, request.name)
    catalogue = read_catalogue(source)
    plan = make_plan(catalogue.id_hashes, request.num_shards, request.identity.encode)
    with replaced_directory(request.output_directory) as directory:
        tasks = list(_tasks(source, catalogue, plan, request, directory))
        tick = _Clock(request.name, len(plan), listener)
        written = sorted(run_tasks(write_shard, tasks, request.engine, tick), key=attrgetter("name"))
        return _write_account(directory, source, request, written)


def create(  # noqa: PLR0917 - the order people know from the format's first writer
    dataset: Iterable[Mapping[str, Any]],
    dataset_name: str,
    output_directory: str | Path,
    num_shards: int,
    num_threads: int,
    shuffle: bool = True,
    store_images: bool = True,
    *,
    images_root: str | Path = "",
    progress: ProgressListener = silence,
    **options: Any,
) -> list[dict[str, Any]]:
    """Write image records as sharded TFRecord files and return those that failed.

    Args:
        dataset: image records as nested dicts; never changed. Only `filename` and `id` are required.
        dataset_name: shards are called `<dataset_name>-00000-of-00010`.
        output_directory: made if it is missing; an earlier build of the same name in it is replaced as a whole.
        num_shards: number of shards, at least 1.
        num_threads: images encoded at the same time, at least 1. Never changes a byte.
        shuffle: False keeps the order of `dataset`.
        store_images: False leaves `image/encoded` empty; readers then load `image/filename`.
        images_root: where relative file names start from; the working directory by default.
        progress: told how far the work has come.
        **options: the other identity options, for example `seed=1`, `verify="structure"`, `out_of_range="clip"`.

    Returns:
        A copy of each record that failed, with `error_msg` and `reason`.

    Raises:
        ConfigError: an option is unknown or out of its range.
        ManifestError: a record has unknown keys or wrong types, two have one id, or there are none.
        OutputError: the output directory cannot be written, or holds files that are not ours.
    """
    request = BuildRequest(
        name=dataset_name,
        output_directory=Path(output_directory),
        num_shards=num_shards,
        identity=_parse_identity(shuffle=shuffle, store_images=store_images, **options),
        images_root=Path(images_root),
        engine=EngineOptions(num_threads=num_threads),
    )
    return list(build(RecordList(dataset), request, progress).failures)


def _tasks(
    source: RecordSource, catalogue: Catalogue, plan: Plan, request: BuildRequest, directory: Path
) -> Iterator[ShardTask]:
    encoder = Encoder(request.identity, request.images_root)
    for number, records in enumerate(plan.shards):
        yield ShardTask(
            path=directory / shard_name(request.name, number, request.num_shards),
            source=source,
            positions=catalogue.positions_of(records),
            digests=catalogue.digests_of(records),
            encoder=encoder,
        )


def _write_account(
    directory: Path, source: RecordSource, request: BuildRequest, written: Sequence[WrittenShard]
) -> BuildReport:
    shards = tuple(map(shard_entry, written))
    statistics = Statistics()
    for shard in written:
        statistics += shard.statistics
    failures = tuple(_failed_records(source, written))
    write_index(directory, request.name, plain_identity(request.identity), shards)
    write_stats(directory, statistics, shards)
    write_failures(directory, failures)
    return BuildReport(shards, statistics, failures)


def _failed_records(source: RecordSource, written: Sequence[WrittenShard]) -> Iterator[dict[str, Any]]:
    for failure in sorted(failure for shard in written for failure in shard.failures):
        yield {**source.original(failure.position), "error_msg": failure.message, "reason": failure.reason}


class _Clock:
    """Turns a count of images into the event that listeners get."""

    def __init__(self, name: str, total: int, listener: ProgressListener) -> None:
        self._event = partial(Progress, name, total=total)
        self._listener = listener
        self._begin_s = monotonic()

    def __call__(self, done: int) -> None:
        self._listener(self._event(done=done, elapsed_s=monotonic() - self._begin_s))


def _parse_identity(**options: Any) -> Identity:
    groups = {group: [option.name for option in fields(default)] for group, default in vars(Identity()).items()}
    known = [name for names in groups.values() for name in names]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown option {name!r}: {hint}")
    plain = msgspec.to_builtins(options)
    nested = {group: {name: plain[name] for name in names if name in plain} for group, names in groups.items()}
    try:
        return msgspec.convert(nested, Identity)
    except msgspec.ValidationError as error:
        raise ConfigError(f"options: {error}") from error
