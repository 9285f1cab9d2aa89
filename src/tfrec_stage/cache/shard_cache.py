"""Where a build finds and keeps finished shards: the one interface, and doing without."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from tfrec_stage.cache.hash_cache import ImageHash, KnownHashes
from tfrec_stage.cache.reuse import CachedShard
from tfrec_stage.shards.metadata import WrittenShard


class Build(msgspec.Struct, frozen=True, omit_defaults=True):
    """A build of one output directory."""

    fingerprints: list[str]
    """Its shards, in the order of their numbers."""
    request: str | None = None
    """Digest of manifest and options, if they alone decide the shards: no failure, and every image pinned."""
    output: str | None = None
    """Where its output directory is, relative to the cache; None where an earlier version did not note it."""
    class_texts: dict[int, str] = {}
    """Names of classes as the records tell them, by number, of those that no labels named."""


class ShardCache(Protocol):
    """Where a build finds and keeps finished shards."""

    def __enter__(self) -> Self:
        """Begin a build."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, however it went."""
        ...

    def newest(self) -> Build:
        """The newest build of this output directory; an empty one if there is none."""
        ...

    def was_begun(self) -> bool:
        """Whether an earlier build of this output directory left shards here, finished or not."""
        ...

    def promise(self, fingerprints: Iterable[str]) -> None:
        """Keep these shards until the build is over, whoever cleans up meanwhile."""
        ...

    def find(self, fingerprint: str) -> CachedShard | None:
        """The shard of that fingerprint, if it is here and whole."""
        ...

    def place(self, fingerprint: str, target: Path) -> CachedShard | None:
        """The same, after it got the name `target` too."""
        ...

    def keep(self, shard: WrittenShard) -> None:
        """Take in a shard that was written."""
        ...

    def read_image_hashes(self) -> KnownHashes:
        """What is known of the images of this output directory."""
        ...

    def finish(self, build: Build, notes: Sequence[ImageHash]) -> None:
        """Make this the newest build of its output directory, and remove what no build needs any more."""
        ...

    def refused(self) -> Build:
        """The build that was refused since the newest; an empty one if there is none."""
        ...

    def refuse(self, build: Build, notes: Sequence[ImageHash]) -> None:
        """Keep the shards of a build that did not replace its output directory; the newest stays the newest."""
        ...


class NoCache:
    """Does without: nothing is found, nothing is kept."""

    def __enter__(self) -> Self:
        """See `ShardCache`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `ShardCache`."""

    def newest(self) -> Build:
        """See `ShardCache`."""
        return Build([])

    def was_begun(self) -> bool:
        """See `ShardCache`."""
        return False

    def promise(self, fingerprints: Iterable[str]) -> None:
        """See `ShardCache`."""

    def find(self, fingerprint: str) -> None:  # noqa: ARG002 - the interface
        """See `ShardCache`."""
        return

    def place(self, fingerprint: str, target: Path) -> None:  # noqa: ARG002 - the interface
        """See `ShardCache`."""
        return

    def keep(self, shard: WrittenShard) -> None:
        """See `ShardCache`."""

    def read_image_hashes(self) -> KnownHashes:
        """See `ShardCache`."""
        return {}

    def finish(self, build: Build, notes: Sequence[ImageHash]) -> None:
        """See `ShardCache`."""

    def refused(self) -> Build:
        """See `ShardCache`."""
        return Build([])

    def refuse(self, build: Build, notes: Sequence[ImageHash]) -> None:
        """See `ShardCache`."""
