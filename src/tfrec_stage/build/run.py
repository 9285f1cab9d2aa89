"""One run of a build: its inputs, its directories, and the steps that `build.build` calls."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from tfrec_stage.build.failures import FailureLog
from tfrec_stage.build.fingerprint import KeyMaker, split_keys
from tfrec_stage.build.image_hashes import HashedImages, add_image_hashes, hash_images, hash_tasks
from tfrec_stage.build.plan import ManifestIndex, ShardPlan
from tfrec_stage.build.record_encoder import RecordEncoder
from tfrec_stage.build.request import BuildRequest
from tfrec_stage.build.shard_task import ShardTask, write_shard
from tfrec_stage.cache.hash_cache import encode_image_hashes
from tfrec_stage.cache.reuse import EarlierRecords
from tfrec_stage.cache.shard_cache import CachedBuild, ShardCache
from tfrec_stage.engine import EngineName, run_tasks
from tfrec_stage.exporters import export_names
from tfrec_stage.manifest.source import RecordReader, RecordSource
from tfrec_stage.progress import Progress, ProgressListener
from tfrec_stage.shards.directory import find_foreign_files, refuse_foreign_files
from tfrec_stage.shards.metadata import ShardMetadata, WrittenShard
from tfrec_stage.shards.metadata_files import indexed_profiles


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """One shard in the new directory."""

    number: int
    """Number of the shard, from 0."""
    metadata: ShardMetadata
    """What is known of it."""
    is_built: bool = False
    """Whether it was written in this run; otherwise it was linked from the cache."""
    copied: int = 0
    """Number of its records that were copied from earlier shards."""
    reused_images: int = 0
    """Number of its other records whose image was copied from an earlier shard."""

    @classmethod
    def of(cls, shard: WrittenShard) -> "FinishedShard":
        """Return what is kept of a shard that a task wrote."""
        return cls(shard.number, shard.metadata, True, shard.copied, shard.reused_images)


@dataclass(frozen=True, slots=True)
class FinishedShards:
    """All shards in the new directory."""

    shards: list[FinishedShard]
    """In the order of their numbers."""
    all_pinned: bool
    """Whether the manifest alone decides all images."""
    failures: FailureLog
    """The records that failed."""
    class_names: Mapping[int, str] = field(default_factory=dict)
    """Names by label that the latest build collected from the same records."""

    def as_cached_build(self, request_digest: str | None, class_names: Mapping[int, str]) -> CachedBuild:
        """Return what the cache remembers; with the request digest only where that alone decides the shards."""
        fingerprints = [shard.metadata.fingerprint for shard in self.shards]
        # Images may come back or change without a change of the request where one failed or is not pinned.
        is_repeatable = self.all_pinned and not len(self.failures)
        return CachedBuild(fingerprints, request_digest if is_repeatable else None, class_names=dict(class_names))


@dataclass(frozen=True, slots=True)
class BuildRun:
    """The inputs and the directories of one run."""

    source: RecordSource
    request: BuildRequest
    cache: ShardCache
    directory: Path
    """The new directory, which replaces the output directory at the end."""
    scratch: Path
    """Directory for temporary files, removed at the end."""
    listener: ProgressListener

    def shard_path(self, number: int) -> Path:
        """Return the path of a shard in the new directory."""
        return self.request.shard_path(self.directory, number)

    def new_failure_log(self) -> FailureLog:
        """Create an empty log of failures."""
        return FailureLog(self.scratch / "failures")

    def source_for_tasks(self) -> RecordReader:
        """Return the records in the form in which tasks read them."""
        if self.request.engine.engine is EngineName.threads:
            return self.source
        # Worker processes do not share this process's memory: records held in it are written to a file once.
        return self.source.for_workers(self.scratch / "records")

    def hash_unpinned_images(self, source: RecordReader, index: ManifestIndex) -> bytearray:
        """Hash the images that no record pins; return the keys of all records, which cover these images."""
        if not index.image_keys:
            return index.keys  # a first build finds nothing by key, and reads every image anyway
        known = self.cache.read_image_hashes()
        key_maker = KeyMaker(self.request.output_options, self.request.keypoint_names)
        tasks = list(hash_tasks(source, index, key_maker, self.request.images_root, known))
        # In threads even if the engine is another: each process would need a copy of all known hashes.
        engine = replace(self.request.engine, engine=EngineName.threads)
        return add_image_hashes(index, self._kept(run_tasks(hash_images, tasks, engine)))

    def _kept(self, hashed: Iterable[HashedImages]) -> Iterator[HashedImages]:
        for images in hashed:
            self.cache.add_image_hashes(encode_image_hashes(images.hashes))
            yield images

    def shard_task(self, plan: ShardPlan, source: RecordReader, earlier: EarlierRecords) -> ShardTask:
        """Return the task that writes a planned shard."""
        request = self.request
        return ShardTask(
            number=plan.number,
            path=self.shard_path(plan.number),
            failures_path=self.scratch / f"failures-{plan.number:05d}",
            source=source,
            positions=plan.positions,
            keys=plan.keys,
            full_keys=plan.full_keys,
            encoder=RecordEncoder(request.output_options, request.images_root, request.keypoint_names),
            image_keys=plan.image_keys,
            found=earlier.find(split_keys(plan.full_keys), split_keys(plan.image_keys)) if plan.image_keys else None,
        )

    def write_shards(self, tasks: Sequence[ShardTask], total: int, failures: FailureLog) -> list[FinishedShard]:
        """Run tasks; every finished shard goes into the cache at once, so that a killed build loses little.

        Args:
            tasks: the shards to write.
            total: number of records in all shards, for progress.
            failures: log that collects the failures.
        """
        finished = []
        unchanged = total - sum(len(task.positions) for task in tasks)
        report = self._progress_reporter(total, unchanged)
        with closing(run_tasks(write_shard, tasks, self.request.engine, report)) as written:
            for shard in written:
                self.cache.add(shard)
                self.cache.add_image_hashes(shard.image_hashes)
                failures.collect(shard.failures_path)
                finished.append(FinishedShard.of(shard))
        return finished

    def _progress_reporter(self, total: int, unchanged: int) -> Callable[[int], None]:
        begin_s = monotonic()

        def report(done: int) -> None:
            self.listener(Progress(self.request.name, unchanged + done, total, monotonic() - begin_s))

        return report


def refuse_foreign(request: BuildRequest) -> None:
    """Check that the output directory holds nothing but an earlier build of the same name.

    Raises:
        OutputError: it holds other files, is no directory, or cannot be read.
    """
    directory = request.output_directory
    refuse_foreign_files(directory, request.name, _export_names(request, directory))


def find_foreign(request: BuildRequest, directory: Path) -> list[str]:
    """Return the names in a directory that belong to no build of this name."""
    return find_foreign_files(directory, request.name, _export_names(request, directory))


def _export_names(request: BuildRequest, directory: Path) -> list[str]:
    """Return regular expressions for the files that the profiles of a directory's build wrote beside its shards."""
    return export_names(request.name, indexed_profiles(directory))
