"""The shard cache on disk: finished shards under their fingerprints, so that a build makes only what is new.

    .tfrec_cache/v1/
      shards/<fingerprint>           a shard
      shards/<fingerprint>.jsonl     its sidecar: the metadata on the first line, then one entry per record
      builds/<output>.json           the latest build of an output directory, and where that directory is
      builds/<output>.refused.json   a later build that was rejected, as too many of its images failed
      builds/<output>.<token>.wip    the lease of a running or killed build: the fingerprints of shards that it uses or
                                     has written, one per line; locked while the build runs
      builds/<output>.images         hashes of images that the manifest does not pin

A shard is kept as long as a file in builds/ names it. The latest build is kept even where its output directory is gone,
since DVC removes outputs before it builds (see clean.py). The cache may be deleted at any moment and only costs time.
Several builds may use it at once. A cache of another format has another folder than v1/ and is ignored.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

import msgspec
from google_crc32c import extend, value

from tfrec_stage.cache.builds import (
    BUILD,
    CACHE_FORMAT,
    SIDECAR,
    WIP,
    begin_wip,
    is_running,
    output_key,
    read_build,
    relative_output,
    remove_unneeded,
)
from tfrec_stage.cache.earlier_shards import read_entries
from tfrec_stage.cache.hash_cache import KnownHashes, StatSignature, read_image_hashes, write_image_hashes
from tfrec_stage.cache.shard_cache import CachedBuild, CachedShard, NoCache, ShardCache
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

_REJECTED: Final = f".refused{BUILD}"
"""The suffix that earlier versions gave to a rejected build."""
_READ_ONLY: Final = 0o444
_COUNTED: Final = Statistics().as_dict().keys()
_log = logging.getLogger(__name__)


class _Head(msgspec.Struct, frozen=True):
    """First line of a sidecar, after the CRC32C of its JSON. The names in JSON are those of earlier versions."""

    signature: StatSignature = msgspec.field(name="stamp")
    metadata: ShardMetadata = msgspec.field(name="account")
    entries_crc32c: int


class DiskCache:
    """A directory of finished shards, as one build of one output directory uses it.

    Whatever could disturb another build happens under a lock on the cache's directory. Once a build has begun, cache
    errors are logged and slow the build, but never fail it.
    """

    def __init__(self, root: Path, output: Path) -> None:
        self._root = root / CACHE_FORMAT
        self._relative_output = relative_output(root, output)
        self._output_key = output_key(self._relative_output)
        self._builds = self._root / "builds"
        self._shards = self._root / "shards"
        self._build_path = self._builds / f"{self._output_key}{BUILD}"
        self._rejected_path = self._builds / f"{self._output_key}{_REJECTED}"
        self._hashes_path = self._builds / f"{self._output_key}.images"
        self._wip_path = self._builds / f"{self._output_key}.{secrets.token_hex(8)}{WIP}"
        self._wip: BinaryIO | None = None
        self._leased: set[str] = set()
        self._new_hashes: BinaryIO | None = None
        self._make_directories()

    def __enter__(self) -> Self:
        """See `ShardCache`; from now on, cleaning does not take this output directory for abandoned."""
        with self._logged_errors(), locked_directory(self._root):
            self._open_wip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `ShardCache`; what an unfinished build wrote stays for the next one, unless the manifest changed."""
        if self._new_hashes is not None:
            self._new_hashes.close()
        if self._wip is None:
            return
        # After a ManifestError the shards may hold records under the keys of others, so none of them may be kept.
        is_doubtful = isinstance(error, ManifestError)
        with self._logged_errors(), locked_directory(self._root):
            if is_doubtful or not self._leased:
                self._wip_path.unlink(missing_ok=True)
            if is_doubtful:
                remove_unneeded(self._root)
        self._wip.close()

    def latest_build(self) -> CachedBuild:
        """See `ShardCache`."""
        return read_build(self._build_path) or CachedBuild([])

    def rejected_build(self) -> CachedBuild:
        """See `ShardCache`."""
        return read_build(self._rejected_path) or CachedBuild([])

    def has_earlier_build(self) -> bool:
        """See `ShardCache`."""
        return any(path != self._wip_path for path in self._builds.glob(f"{self._output_key}.*"))

    def read_image_hashes(self) -> KnownHashes:
        """See `ShardCache`."""
        return read_image_hashes(self._hashes_path)

    def lease(self, fingerprints: Iterable[str]) -> None:
        """See `ShardCache`."""
        new = sorted(set(fingerprints) - self._leased)
        self._leased.update(new)
        with self._logged_errors(), locked_directory(self._root):
            self._open_wip().write("".join(f"{fingerprint}\n" for fingerprint in new).encode())

    def find(self, fingerprint: str) -> CachedShard | None:
        """See `ShardCache`; a damaged shard is removed, with a warning."""
        path = self._shards / fingerprint
        try:
            head, signature = _read_head(_sidecar_of(path)), StatSignature.of(path)
            # Another signature is no damage, for example after a backup was restored: the file is then read to the end.
            is_intact = head is not None and (head.signature == signature or _crc_of(path) == head.metadata.crc32c)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(error)
            return None
        if head is None or not is_intact:
            self._remove_damaged(path)
            return None
        if head.metadata.statistics.keys() != _COUNTED:  # written by a version that counted less
            return None
        shard = CachedShard(path, head.metadata, _sidecar_of(path), head.entries_crc32c)
        if head.signature != signature:  # so that the file is read to the end only once
            with self._logged_errors(), locked_directory(self._root):
                _write_sidecar(path, msgspec.structs.replace(head, signature=signature), read_entries(shard))
        return shard

    def link(self, fingerprint: str, target: Path) -> CachedShard | None:
        """See `ShardCache`."""
        target.unlink(missing_ok=True)
        shard = self.find(fingerprint)
        if shard is not None:
            try:
                link_file(shard.path, target)
            except FileNotFoundError:  # the cache was deleted in the meantime
                return None
        return shard

    def add(self, shard: WrittenShard) -> None:
        """See `ShardCache`."""
        path = self._shards / shard.metadata.fingerprint
        # Leased before it is there: another build that ends now would otherwise remove it as unneeded.
        self.lease([shard.metadata.fingerprint])
        with self._logged_errors(), locked_directory(self._root):
            # Output directory and cache share one inode: writing to the one would change the other.
            shard.path.chmod(_READ_ONLY & shard.path.stat().st_mode)
            partial = path.with_name(f".{path.name}{PARTIAL}")
            partial.unlink(missing_ok=True)
            link_file(shard.path, partial)
            head = _Head(StatSignature.of(partial), shard.metadata, value(shard.entries))
            partial.replace(path)
            _write_sidecar(path, head, shard.entries)

    def add_image_hashes(self, lines: bytes) -> None:
        """See `ShardCache`."""
        if lines:
            with self._logged_errors():
                # Without a name: it is lost with a build that does not end, and no other build has to remove it.
                self._new_hashes = self._new_hashes or cast("BinaryIO", TemporaryFile(dir=self._builds))  # noqa: SIM115
                self._new_hashes.write(lines)

    def commit(self, build: CachedBuild) -> None:
        """See `ShardCache`."""
        with self._logged_errors(), locked_directory(self._root):
            self._write_build(self._build_path, build)
            self._rejected_path.unlink(missing_ok=True)
            self._hashes_path.unlink(missing_ok=True)
            self._end()

    def reject(self, build: CachedBuild) -> None:
        """See `ShardCache`."""
        with self._logged_errors(), locked_directory(self._root):
            self._write_build(self._rejected_path, build)
            self._end()

    def _write_build(self, path: Path, build: CachedBuild) -> None:
        # The names of all new shards are synced once, before a build file refers to them.
        sync_directory(self._shards)
        write_file(path, msgspec.json.encode(msgspec.structs.replace(build, output=self._relative_output)))

    def _end(self) -> None:
        # A rejected build keeps the hashes of the latest one: they cover images that are missing now and may come back.
        if self._new_hashes is not None and not self._hashes_path.exists():
            self._new_hashes.seek(0)
            write_image_hashes(self._hashes_path, self._new_hashes)
        self._remove_wips()
        remove_unneeded(self._root)

    def _open_wip(self) -> BinaryIO:
        if self._wip is None:
            self._wip = self._wip_path.open("xb", buffering=0)  # unbuffered: a lease has to be visible at once
            with suppress(OSError):  # where files cannot be locked, the lease lasts until this build succeeds
                lock_or_pass(self._wip.fileno())
            self._wip.write(begin_wip(self._relative_output))
        return self._wip

    @contextmanager
    def _logged_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, OutputError) as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        _log.warning("cannot use the shard cache %s (%s); the next build may take longer", self._root, error)

    def _remove_damaged(self, path: Path) -> None:
        _log.warning("%s is damaged; the shard is built again", path)
        with self._logged_errors(), locked_directory(self._root):
            path.unlink(missing_ok=True)
            _sidecar_of(path).unlink(missing_ok=True)

    def _make_directories(self) -> None:
        try:
            for folder in (self._shards, self._builds):
                make_directories(folder)
        except OSError as error:
            raise OutputError(
                f"cannot make the shard cache {self._root}: {error.strerror}; name another store_dir, or null"
            ) from error

    def _remove_wips(self) -> None:
        """Remove our own lease and those of killed builds of this output, whose shards this build has taken over."""
        for wip in self._builds.glob(f"{self._output_key}.*{WIP}"):
            if wip == self._wip_path or not is_running(wip):
                wip.unlink(missing_ok=True)


def open_cache(root: Path | None, output: Path) -> ShardCache:
    """Open the shard cache in the directory `root` for one output directory; None builds without a cache.

    Raises:
        OutputError: its directories cannot be created.
    """
    return NoCache() if root is None else DiskCache(root, output)


def _sidecar_of(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR)


def _read_head(sidecar: Path) -> _Head | None:
    """Return the first line of a sidecar; None if it is damaged."""
    with sidecar.open("rb") as file:
        crc, _, line = file.readline().partition(b" ")
    try:
        return msgspec.json.decode(line, type=_Head) if int(crc, 16) == value(line) else None
    except (ValueError, msgspec.MsgspecError):
        return None


def _write_sidecar(path: Path, head: _Head, entries: bytes) -> None:
    line = msgspec.json.encode(head) + b"\n"
    # Its name is synced with that of the shard, in _write_build.
    write_file(_sidecar_of(path), b"%08x %b%b" % (value(line), line, entries), sync_name=False)


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = extend(crc, chunk)
    return crc
