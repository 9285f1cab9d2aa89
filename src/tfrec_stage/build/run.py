"""ManifestIndex → plan → drafts → shards: those in the store are linked, the others written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from time import monotonic

from tfrec_stage.build.compression import compressor
from tfrec_stage.build.failures import FailureLog
from tfrec_stage.build.fingerprint import KeyMaker, options_digest
from tfrec_stage.build.image_hashes import digest_images, digest_tasks
from tfrec_stage.build.manifest_index import ManifestIndex, read_manifest_index
from tfrec_stage.build.placement import place_records
from tfrec_stage.build.plan import ShardPlan, complete_keys, plan_shards
from tfrec_stage.build.record_encoder import RecordEncoder
from tfrec_stage.build.request import BuildRequest
from tfrec_stage.build.shard_task import ShardTask, write_shard
from tfrec_stage.cache.disk_cache import previous_of
from tfrec_stage.cache.hash_cache import ImageHash
from tfrec_stage.cache.reuse import CachedShard
from tfrec_stage.cache.shard_cache import Build, ShardCache
from tfrec_stage.engine import EngineName, prepare, run_tasks
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.manifest.source import RecordReader, RecordSource
from tfrec_stage.progress import Progress, ProgressListener
from tfrec_stage.shards.index import shard_name
from tfrec_stage.shards.metadata import ShardMetadata


@dataclass(frozen=True, slots=True)
class MadeShard:
    """One shard in the new directory."""

    number: int
    metadata: ShardMetadata
    is_built: bool = False
    copied: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """All of them, in the order of their numbers."""

    shards: list[MadeShard]
    all_pinned: bool
    failures: FailureLog
    notes: Sequence[ImageHash] = ()
    class_texts: Mapping[int, str] = field(default_factory=dict)
    """Names of classes that the newest build learnt from the same records."""

    def as_build(self, known_as: str | None, class_texts: Mapping[int, str]) -> Build:
        """What the store notes; with the request's digest, where this alone decides the shards."""
        fingerprints = [shard.metadata.fingerprint for shard in self.shards]
        is_repeatable = self.all_pinned and not len(self.failures)
        return Build(fingerprints, known_as if is_repeatable else None, class_texts=dict(class_texts))


@dataclass(frozen=True, slots=True)
class Making:
    """From records to shards in a new directory."""

    source: RecordSource
    request: BuildRequest
    cache: ShardCache
    directory: Path
    scratch: Path
    """Directory for files that are gone when the build ends."""
    listener: ProgressListener

    def link_unchanged(self, known_as: str | None) -> Made | None:
        """All shards from the store, if the newest build had the same request; no record is read."""
        newest = self.cache.newest()
        if newest.request is None or newest.request != known_as:
            return None
        self.cache.promise(newest.fingerprints)
        placed = [self._place(number, [fingerprint]) for number, fingerprint in enumerate(newest.fingerprints)]
        shards = [shard for shard in placed if shard is not None]
        if len(shards) < len(placed):
            return None
        return Made(shards, all_pinned=True, failures=self._new_log(), class_texts=newest.class_texts)

    def make(self) -> Made:
        """Shards that are in the store are linked, the others written."""
        prepare(write_shard, self.request.engine)
        source = self._source_of_tasks()
        manifest_index = read_manifest_index(source, self.request.output_options, self.request.keypoint_names)
        plan = place_records(manifest_index.id_hashes, self.request.num_shards, self.request.output_options.encode)
        notes, full_keys = self._digest_unpinned(source, manifest_index)
        compressed_by = compressor(self.request.output_options.encode.compression)
        drafts = list(plan_shards(manifest_index, plan, full_keys, compressed_by))
        newest, refused = self.cache.newest().fingerprints, self.cache.refused().fingerprints
        self.cache.promise([*newest, *refused, *(name for draft in drafts for name in draft.fingerprints)])
        placed = {draft.number: self._place(draft.number, draft.fingerprints) for draft in drafts}
        tasks = [draft for draft in drafts if placed[draft.number] is None]
        unchanged = [shard for shard in placed.values() if shard is not None]
        names = {shard.metadata.fingerprint for shard in unchanged}
        earlier = [[None if name in names else self.cache.find(name) for name in build] for build in (newest, refused)]
        failures = self._new_log()
        written = self._write([self._task(draft, source, earlier) for draft in tasks], len(plan), failures)
        shards = sorted([*unchanged, *written], key=attrgetter("number"))
        return Made(shards, all_pinned=not manifest_index.unpinned, failures=failures, notes=notes)

    def _source_of_tasks(self) -> RecordReader:
        """The records as tasks read them; worker processes get a file in place of this process's memory."""
        if self.request.engine.engine is EngineName.threads:
            return self.source
        return self.source.for_workers(self.scratch / "records")

    def _new_log(self) -> FailureLog:
        return FailureLog(self.scratch / "failures")

    def _digest_unpinned(
        self, source: RecordReader, manifest_index: ManifestIndex
    ) -> tuple[list[ImageHash], bytearray]:
        """Only where there is something to find again; a first build reads every image anyway."""
        if not self.cache.was_begun():
            return [], manifest_index.keys
        noted = self.cache.read_image_hashes()
        keys = KeyMaker(self.request.output_options, self.request.keypoint_names)
        tasks = list(digest_tasks(source, manifest_index, keys, self.request.images_root, noted))
        # In threads, for each process would need all notes.
        digested = list(run_tasks(digest_images, tasks, replace(self.request.engine, engine=EngineName.threads)))
        notes = [note for found in digested for note in found.notes if note is not None]
        return notes, complete_keys(manifest_index.keys, digested)

    def _place(self, number: int, fingerprints: Iterable[str]) -> MadeShard | None:
        """The shard from the store, in its place, where it has one of these fingerprints."""
        target = self._target(number)
        found = (self.cache.place(fingerprint, target) for fingerprint in fingerprints)
        return next((MadeShard(number, shard.metadata) for shard in found if shard is not None), None)

    def _write(self, tasks: Sequence[ShardTask], total: int, failures: FailureLog) -> list[MadeShard]:
        made = []
        tick = _Clock(self.request.name, total, total - sum(len(task.positions) for task in tasks), self.listener)
        with closing(run_tasks(write_shard, tasks, self.request.engine, tick)) as written:
            for shard in written:
                self.cache.keep(shard)
                failures.take(shard.failures_path)
                made.append(MadeShard(shard.number, shard.metadata, is_built=True, copied=shard.copied))
        return made

    def _task(
        self, draft: ShardPlan, source: RecordReader, earlier: Sequence[Sequence[CachedShard | None]]
    ) -> ShardTask:
        return ShardTask(
            number=draft.number,
            path=self._target(draft.number),
            failures_path=self.scratch / f"failures-{draft.number:05d}",
            source=source,
            positions=draft.positions,
            keys=draft.keys,
            full_keys=draft.full_keys,
            encoder=RecordEncoder(self.request.output_options, self.request.images_root, self.request.keypoint_names),
            previous=tuple(
                shard for build in earlier for shard in previous_of(build, draft.number, self.request.num_shards)
            ),
        )

    def _target(self, number: int) -> Path:
        return self.directory / shard_name(self.request.name, number, self.request.num_shards)


def request_digest(source: RecordSource, request: BuildRequest) -> str | None:
    """Digest of everything that decides all shards, where the source can be known without reading its records."""
    if (digest := source.digest()) is None:
        return None
    encode = request.output_options.encode
    order = [encode.seed, encode.shuffle, request.num_shards]
    digest_of_options = options_digest(request.output_options, request.keypoint_names)
    made_by = [pixel_codec(), compressor(encode.compression)]
    decided_by = [digest, digest_of_options.hex(), order, *made_by]
    return sha256(json.dumps(decided_by).encode()).hexdigest()


class _Clock:
    """Turns a count of images into the event that listeners get."""

    def __init__(self, name: str, total: int, unchanged: int, listener: ProgressListener) -> None:
        self._name = name
        self._total = total
        self._unchanged = unchanged
        self._listener = listener
        self._begin_s = monotonic()

    def __call__(self, done: int) -> None:
        self._listener(Progress(self._name, self._unchanged + done, self._total, monotonic() - self._begin_s))
