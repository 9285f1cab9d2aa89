"""Finished shards, kept under their fingerprint, so that a build makes only what is new.

    .tfrec_cache/v1/
      shards/<fingerprint>         a shard, and beside it
      shards/<fingerprint>.jsonl   its sidecar: the metadata on the first line, then an entry a record
      builds/<output>.json         the newest build of each output directory, and where that is
      builds/<output>.refused.json a later one that did not replace it, for too many of its images failed
      builds/<output>.<token>.wip  what a running or killed build is making, a fingerprint a line; locked while it runs
      builds/<output>.images       digests of images that the manifest does not pin

Kept are the shards that a file in builds/ names, and nothing else. A build is kept, too, where its output directory is
gone, as DVC removes it before it builds: see cache_cleaning.py. The store may be deleted at any moment, at no cost
but time; several builds may use it at once. Another format has another folder than v1/ and is passed over.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
from google_crc32c import extend, value

from tfrec_stage.cache.builds import (
    BUILD,
    SIDECAR,
    STORE_FORMAT,
    WIP,
    begin_wip,
    is_running,
    output_key,
    read_build,
    relative_output,
    remove_unneeded,
)
from tfrec_stage.cache.hash_cache import ImageHash, KnownHashes, StatSignature, read_image_hashes, write_image_hashes
from tfrec_stage.cache.reuse import CachedShard
from tfrec_stage.cache.shard_cache import Build, NoCache, ShardCache
from tfrec_stage.errors import ManifestError, OutputError
from tfrec_stage.files import (
    PARTIAL,
    link_file,
    lock_or_pass,
    locked_directory,
    make_directories,
    sync_directory,
    write_file,
)
from tfrec_stage.shards.metadata import ShardMetadata, WrittenShard
from tfrec_stage.shards.statistics import Statistics

FEW_RECORDS: Final = 50_000
"""Entries that every task may hold in memory."""
_READ_ONLY: Final = 0o444
_COUNTED: Final = Statistics().as_dict().keys()
_log = logging.getLogger(__name__)


class _Head(msgspec.Struct, frozen=True):
    """First line of a sidecar, after the CRC32C of its JSON."""

    stamp: StatSignature
    metadata: ShardMetadata = msgspec.field(name="account")  # the name in files that earlier versions wrote
    entries_crc32c: int


class DiskCache:
    """A directory of finished shards, as one build of one output directory uses it.

    Everything that could disturb another build happens under a lock on the store's directory. Once the build has
    begun, trouble with the store is told, and costs time; it never ends the build.
    """

    def __init__(self, root: Path, output: Path) -> None:
        self._root = root / STORE_FORMAT
        self._place = relative_output(root, output)
        self._output = output_key(self._place)
        self._builds = self._root / "builds"
        self._shards = self._root / "shards"
        self._build_path = self._builds / f"{self._output}{BUILD}"
        self._refused_path = self._builds / f"{self._output}.refused{BUILD}"
        self._notes_path = self._builds / f"{self._output}.images"
        self._wip_path = self._builds / f"{self._output}.{secrets.token_hex(8)}{WIP}"
        self._wip: BinaryIO | None = None
        self._promised: set[str] = set()
        self._make()

    def __enter__(self) -> Self:
        """See `ShardCache`; from now on nobody takes this output directory's part of the store for abandoned."""
        with self._told(), locked_directory(self._root):
            self._begin_wip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `ShardCache`: what an unfinished build made stays for the next, unless its manifest was in doubt."""
        if self._wip is None:
            return
        is_in_doubt = isinstance(error, ManifestError)
        with self._told(), locked_directory(self._root):
            if is_in_doubt or not self._promised:  # or it has made nothing
                self._wip_path.unlink(missing_ok=True)
            if is_in_doubt:
                remove_unneeded(self._root)
        self._wip.close()

    def newest(self) -> Build:
        """See `ShardCache`."""
        return read_build(self._build_path) or Build([])

    def refused(self) -> Build:
        """See `ShardCache`."""
        return read_build(self._refused_path) or Build([])

    def was_begun(self) -> bool:
        """See `ShardCache`."""
        return any(path != self._wip_path for path in self._builds.glob(f"{self._output}.*"))

    def read_image_hashes(self) -> KnownHashes:
        """See `ShardCache`."""
        return read_image_hashes(self._notes_path)

    def promise(self, fingerprints: Iterable[str]) -> None:
        """See `ShardCache`."""
        new = sorted(set(fingerprints) - self._promised)
        self._promised.update(new)
        with self._told(), locked_directory(self._root):
            self._begin_wip().write("".join(f"{fingerprint}\n" for fingerprint in new).encode())

    def find(self, fingerprint: str) -> CachedShard | None:
        """The shard of that fingerprint, if it is here and whole; a damaged one is removed, and said so."""
        path = self._shards / fingerprint
        try:
            head, stamp = _read_head(_sidecar_of(path)), StatSignature.of(path)
            # Another stamp, for example from a restored backup, is no damage: the file is then read to the end.
            is_whole = head is not None and (head.stamp == stamp or _crc_of(path) == head.metadata.crc32c)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error)
            return None
        if head is None or not is_whole:
            self._discard(path)
            return None
        if head.metadata.statistics.keys() != _COUNTED:  # an earlier version counted less
            return None
        shard = CachedShard(path, head.metadata, _sidecar_of(path), head.entries_crc32c)
        if head.stamp != stamp:
            with self._told(), locked_directory(self._root):
                _write_sidecar(path, msgspec.structs.replace(head, stamp=stamp), shard.read_entries())
        return shard

    def place(self, fingerprint: str, target: Path) -> CachedShard | None:
        """See `ShardCache`."""
        target.unlink(missing_ok=True)
        shard = self.find(fingerprint)
        if shard is not None:
            try:
                link_file(shard.path, target)
            except FileNotFoundError:  # the store was deleted meanwhile
                return None
        return shard

    def keep(self, shard: WrittenShard) -> None:
        """See `ShardCache`."""
        path = self._shards / shard.metadata.fingerprint
        self.promise([shard.metadata.fingerprint])
        with self._told(), locked_directory(self._root):
            shard.path.chmod(_READ_ONLY & shard.path.stat().st_mode)
            partial = path.with_name(f".{path.name}{PARTIAL}")
            partial.unlink(missing_ok=True)
            link_file(shard.path, partial)
            head = _Head(StatSignature.of(partial), shard.metadata, value(shard.entries))
            partial.replace(path)
            _write_sidecar(path, head, shard.entries)

    def finish(self, build: Build, notes: Sequence[ImageHash]) -> None:
        """See `ShardCache`."""
        with self._told(), locked_directory(self._root):
            self._write_build(self._build_path, build)
            self._refused_path.unlink(missing_ok=True)
            self._notes_path.unlink(missing_ok=True)
            self._end(notes)

    def refuse(self, build: Build, notes: Sequence[ImageHash]) -> None:
        """See `ShardCache`."""
        with self._told(), locked_directory(self._root):
            self._write_build(self._refused_path, build)
            self._end(notes)

    def _write_build(self, path: Path, build: Build) -> None:
        sync_directory(self._shards)  # once for all that were kept, before a list names them
        write_file(path, msgspec.json.encode(msgspec.structs.replace(build, output=self._place)))

    def _end(self, notes: Sequence[ImageHash]) -> None:
        if notes and not self._notes_path.exists():  # those of the newest build know images that are gone now
            write_image_hashes(self._notes_path, notes)
        self._drop_wips()
        remove_unneeded(self._root)

    def _begin_wip(self) -> BinaryIO:
        if self._wip is None:
            self._wip = self._wip_path.open("xb", buffering=0)
            with suppress(OSError):  # without locks it stays until this build ends well
                lock_or_pass(self._wip.fileno())
            self._wip.write(begin_wip(self._place))
        return self._wip

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, OutputError) as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        _log.warning("cannot use the store %s (%s); the next build may take longer", self._root, error)

    def _discard(self, path: Path) -> None:
        _log.warning("%s is damaged; the shard is built anew", path)
        with self._told(), locked_directory(self._root):
            path.unlink(missing_ok=True)
            _sidecar_of(path).unlink(missing_ok=True)

    def _make(self) -> None:
        try:
            for folder in (self._shards, self._builds):
                make_directories(folder)
        except OSError as error:
            raise OutputError(
                f"cannot make the shard store {self._root}: {error.strerror}; name another store_dir, or null"
            ) from error

    def _drop_wips(self) -> None:
        """Our own, and those of killed builds of the same output directory, whose work this build has taken over."""
        for wip in self._builds.glob(f"{self._output}.*{WIP}"):
            if wip == self._wip_path or not is_running(wip):
                wip.unlink(missing_ok=True)


def open_cache(root: Path | None, output: Path) -> ShardCache:
    """The store at `root` for one output directory; None does without.

    Raises:
        OutputError: the store cannot be made.
    """
    return NoCache() if root is None else DiskCache(root, output)


def previous_of(changed: Sequence[CachedShard | None], number: int, num_shards: int) -> tuple[CachedShard, ...]:
    """Shards of the newest build in which to look for the records of a shard.

    Args:
        changed: shards of the newest build in their order, None for those that the new build has too.
        number: the shard to make.
        num_shards: shards of the new build.

    All where they are few: a full shard passes records on, sometimes far. Else those whose range overlaps that of the
    shard, and one more on either side: without shuffling an added record moves every border.
    """
    if sum(shard.metadata.records for shard in changed if shard is not None) > FEW_RECORDS:
        first = number * len(changed) // num_shards - 1
        end = -(-(number + 1) * len(changed) // num_shards) + 1
        changed = changed[max(first, 0) : end]
    return tuple(shard for shard in changed if shard is not None)


def _sidecar_of(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR)


def _read_head(sidecar: Path) -> _Head | None:
    with sidecar.open("rb") as file:
        crc, _, line = file.readline().partition(b" ")
    try:
        return msgspec.json.decode(line, type=_Head) if int(crc, 16) == value(line) else None
    except (ValueError, msgspec.MsgspecError):
        return None


def _write_sidecar(path: Path, head: _Head, entries: bytes) -> None:
    line = msgspec.json.encode(head) + b"\n"
    write_file(_sidecar_of(path), b"%08x %b%b" % (value(line), line, entries), sync_name=False)  # see `finish`


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = extend(crc, chunk)
    return crc
