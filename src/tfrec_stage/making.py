"""Catalogue → plan → drafts → shards: those in the store are linked, the others written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from time import monotonic

from tfrec_stage.engine import EngineName, prepare, run_tasks
from tfrec_stage.manifest.source import RecordReader, RecordSource
from tfrec_stage.progress import Progress, ProgressListener
from tfrec_stage.request import BuildRequest
from tfrec_stage.shards.account import ShardAccount
from tfrec_stage.shards.catalogue import Catalogue, read_catalogue
from tfrec_stage.shards.compression import compressor
from tfrec_stage.shards.draft import ShardDraft, complete_keys, draft_shards
from tfrec_stage.shards.encoder import Encoder
from tfrec_stage.shards.failures import FailureLog
from tfrec_stage.shards.fingerprint import KeyMaker, identity_digest, pixel_codec
from tfrec_stage.shards.image_digests import DigestNote, digest_images, digest_tasks
from tfrec_stage.shards.index import shard_name
from tfrec_stage.shards.plan import make_plan
from tfrec_stage.shards.previous import StoredShard
from tfrec_stage.shards.shelf import Build, Shelf
from tfrec_stage.shards.store import previous_of
from tfrec_stage.shards.writer import ShardTask, write_shard


@dataclass(frozen=True, slots=True)
class MadeShard:
    """One shard in the new directory."""

    number: int
    account: ShardAccount
    is_built: bool = False
    copied: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """All of them, in the order of their numbers."""

    shards: list[MadeShard]
    all_pinned: bool
    failures: FailureLog
    notes: Sequence[DigestNote] = ()
    class_texts: Mapping[int, str] = field(default_factory=dict)
    """Names of classes that the newest build learnt from the same records."""

    def as_build(self, known_as: str | None, class_texts: Mapping[int, str]) -> Build:
        """What the store notes; with the request's digest, where this alone decides the shards."""
        fingerprints = [shard.account.fingerprint for shard in self.shards]
        is_repeatable = self.all_pinned and not len(self.failures)
        return Build(fingerprints, known_as if is_repeatable else None, class_texts=dict(class_texts))


@dataclass(frozen=True, slots=True)
class Making:
    """From records to shards in a new directory."""

    source: RecordSource
    request: BuildRequest
    shelf: Shelf
    directory: Path
    scratch: Path
    """Directory for files that are gone when the build ends."""
    listener: ProgressListener

    def link_unchanged(self, known_as: str | None) -> Made | None:
        """All shards from the store, if the newest build had the same request; no record is read."""
        newest = self.shelf.newest()
        if newest.request is None or newest.request != known_as:
            return None
        self.shelf.promise(newest.fingerprints)
        placed = [self._place(number, [fingerprint]) for number, fingerprint in enumerate(newest.fingerprints)]
        shards = [shard for shard in placed if shard is not None]
        if len(shards) < len(placed):
            return None
        return Made(shards, all_pinned=True, failures=self._new_log(), class_texts=newest.class_texts)

    def make(self) -> Made:
        """Shards that are in the store are linked, the others written."""
        prepare(write_shard, self.request.engine)
        source = self._source_of_tasks()
        catalogue = read_catalogue(source, self.request.identity, self.request.keypoint_names)
        plan = make_plan(catalogue.id_hashes, self.request.num_shards, self.request.identity.encode)
        notes, full_keys = self._digest_unpinned(source, catalogue)
        compressed_by = compressor(self.request.identity.encode.compression)
        drafts = list(draft_shards(catalogue, plan, full_keys, compressed_by))
        newest, refused = self.shelf.newest().fingerprints, self.shelf.refused().fingerprints
        self.shelf.promise([*newest, *refused, *(name for draft in drafts for name in draft.fingerprints)])
        placed = {draft.number: self._place(draft.number, draft.fingerprints) for draft in drafts}
        tasks = [draft for draft in drafts if placed[draft.number] is None]
        unchanged = [shard for shard in placed.values() if shard is not None]
        names = {shard.account.fingerprint for shard in unchanged}
        earlier = [[None if name in names else self.shelf.find(name) for name in build] for build in (newest, refused)]
        failures = self._new_log()
        written = self._write([self._task(draft, source, earlier) for draft in tasks], len(plan), failures)
        shards = sorted([*unchanged, *written], key=attrgetter("number"))
        return Made(shards, all_pinned=not catalogue.unpinned, failures=failures, notes=notes)

    def _source_of_tasks(self) -> RecordReader:
        """The records as tasks read them; worker processes get a file in place of this process's memory."""
        if self.request.engine.engine is EngineName.threads:
            return self.source
        return self.source.for_workers(self.scratch / "records")

    def _new_log(self) -> FailureLog:
        return FailureLog(self.scratch / "failures")

    def _digest_unpinned(self, source: RecordReader, catalogue: Catalogue) -> tuple[list[DigestNote], bytearray]:
        """Only where there is something to find again; a first build reads every image anyway."""
        if not self.shelf.was_begun():
            return [], catalogue.keys
        noted = self.shelf.read_notes()
        keys = KeyMaker(self.request.identity, self.request.keypoint_names)
        tasks = list(digest_tasks(source, catalogue, keys, self.request.images_root, noted))
        # In threads, for each process would need all notes.
        digested = list(run_tasks(digest_images, tasks, replace(self.request.engine, engine=EngineName.threads)))
        notes = [note for found in digested for note in found.notes if note is not None]
        return notes, complete_keys(catalogue.keys, digested)

    def _place(self, number: int, fingerprints: Iterable[str]) -> MadeShard | None:
        """The shard from the store, in its place, where it has one of these fingerprints."""
        target = self._target(number)
        found = (self.shelf.place(fingerprint, target) for fingerprint in fingerprints)
        return next((MadeShard(number, shard.account) for shard in found if shard is not None), None)

    def _write(self, tasks: Sequence[ShardTask], total: int, failures: FailureLog) -> list[MadeShard]:
        made = []
        tick = _Clock(self.request.name, total, total - sum(len(task.positions) for task in tasks), self.listener)
        with closing(run_tasks(write_shard, tasks, self.request.engine, tick)) as written:
            for shard in written:
                self.shelf.keep(shard)
                failures.take(shard.failures_path)
                made.append(MadeShard(shard.number, shard.account, is_built=True, copied=shard.copied))
        return made

    def _task(
        self, draft: ShardDraft, source: RecordReader, earlier: Sequence[Sequence[StoredShard | None]]
    ) -> ShardTask:
        return ShardTask(
            number=draft.number,
            path=self._target(draft.number),
            failures_path=self.scratch / f"failures-{draft.number:05d}",
            source=source,
            positions=draft.positions,
            keys=draft.keys,
            full_keys=draft.full_keys,
            encoder=Encoder(self.request.identity, self.request.images_root, self.request.keypoint_names),
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
    encode = request.identity.encode
    order = [encode.seed, encode.shuffle, request.num_shards]
    identity = identity_digest(request.identity, request.keypoint_names)
    made_by = [pixel_codec(), compressor(encode.compression)]
    decided_by = [digest, identity.hex(), order, *made_by]
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
