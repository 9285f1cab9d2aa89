"""The interface between a build and the cache of finished shards, and the implementation without a cache."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import msgspec

from tfrec_stage.cache.hash_cache import KnownHashes
from tfrec_stage.shards.metadata import ShardMetadata, WrittenShard


class CachedBuild(msgspec.Struct, frozen=True, omit_defaults=True):
    """A build of one output directory, as the cache remembers it. The names in JSON are those of earlier versions."""

    fingerprints: list[str]
    """Its shards, in the order of their numbers."""
    request_digest: str | None = msgspec.field(name="request", default=None)
    """Digest of manifest and options; None unless they alone decide the shards: no failure, every image pinned."""
    output: str | None = None
    """Its output directory, relative to the cache; None if an earlier version did not store it."""
    class_names: dict[int, str] = msgspec.field(name="class_texts", default_factory=dict)
    """Names by label of the classes that are named by the records alone."""


class CachedShard(NamedTuple):
    """A finished shard in the cache."""

    path: Path
    """The shard file."""
    metadata: ShardMetadata
    """What is known of it."""
    sidecar: Path
    """File with the metadata and one entry per record."""
    entries_crc32c: int
    """CRC32C of the entries in the sidecar."""


class ShardCache(Protocol):
    """Where a build finds and keeps finished shards. One object serves one build of one output directory."""

    def __enter__(self) -> Self:
        """Begin the build."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the build, whether it succeeded or not."""
        ...

    def latest_build(self) -> CachedBuild:
        """Return the latest finished build of this output directory; an empty one if there is none."""
        ...

    def rejected_build(self) -> CachedBuild:
        """Return the build that was rejected since the latest finished one; an empty one if there is none."""
        ...

    def has_earlier_build(self) -> bool:
        """Return whether an earlier build of this output directory left shards here, finished or not."""
        ...

    def lease(self, fingerprints: Iterable[str]) -> None:
        """Keep these shards until this build is over, even if another build cleans up in the meantime."""
        ...

    def find(self, fingerprint: str) -> CachedShard | None:
        """Return the shard with this fingerprint if it is here and intact."""
        ...

    def link(self, fingerprint: str, target: Path) -> CachedShard | None:
        """Do the same, and link or copy the shard to `target`."""
        ...

    def add(self, shard: WrittenShard) -> None:
        """Take a newly written shard into the cache."""
        ...

    def read_image_hashes(self) -> KnownHashes:
        """Return the hashes of images that earlier builds of this output directory read."""
        ...

    def add_image_hashes(self, lines: bytes) -> None:
        """Keep hashes of images, from `encode_image_hashes`, once the build is over."""
        ...

    def commit(self, build: CachedBuild) -> None:
        """Make this the latest build of its output directory, and remove what no build needs any more."""
        ...

    def reject(self, build: CachedBuild) -> None:
        """Keep the shards of a build that did not replace its output directory; the latest build stays the latest."""
        ...


class NoCache:
    """Builds without a cache: nothing is found, nothing is kept."""

    def __enter__(self) -> Self:
        """See `ShardCache`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `ShardCache`."""

    def latest_build(self) -> CachedBuild:
        """See `ShardCache`."""
        return CachedBuild([])

    def rejected_build(self) -> CachedBuild:
        """See `ShardCache`."""
        return CachedBuild([])

    def has_earlier_build(self) -> bool:
        """See `ShardCache`."""
        return False

    def lease(self, fingerprints: Iterable[str]) -> None:
        """See `ShardCache`."""

    def find(self, fingerprint: str) -> None:  # noqa: ARG002 - the interface
        """See `ShardCache`."""
        return

    def link(self, fingerprint: str, target: Path) -> None:  # noqa: ARG002 - the interface
        """See `ShardCache`."""
        return

    def add(self, shard: WrittenShard) -> None:
        """See `ShardCache`."""

    def read_image_hashes(self) -> KnownHashes:
        """See `ShardCache`."""
        return {}

    def add_image_hashes(self, lines: bytes) -> None:
        """See `ShardCache`."""

    def commit(self, build: CachedBuild) -> None:
        """See `ShardCache`."""

    def reject(self, build: CachedBuild) -> None:
        """See `ShardCache`."""
