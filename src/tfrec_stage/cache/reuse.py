"""What a build takes from earlier builds instead of making it again. Everything about reuse is decided here.

    1. the same request digest    all shards; no record is read            Reuse.link_build
    2. the same fingerprint       one shard; no image is read              Reuse.link_shard
    3. the same key               one record, from an earlier version of   Reuse.shards_to_search, PreviousRecords
                                  its shard or of a neighbouring one

What a request digest, a fingerprint and a key cover is defined in `build.fingerprint` and `build.build`. Records that
are taken from nowhere are encoded.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import msgspec
from google_crc32c import value

from tfrec_stage.cache.frame_reader import FrameReader, GzipFrameReader, InflatedBlocks
from tfrec_stage.cache.shard_cache import CachedShard, ShardCache
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.shards.metadata import RecordEntry
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, mask_crc

SEARCH_ALL: Final = 50_000
"""Up to this many records in changed shards, every task searches all of them: their entries fit in its memory."""
_KEY_IN_LINE: Final = slice(2, 34)
"""Where the key is in the line of an entry, which begins with `["<32 hexadecimal digits>"`."""
_decode_entry = msgspec.json.Decoder(RecordEntry).decode
_log = logging.getLogger(__name__)


class Reuse:
    """Finds shards of earlier builds for a new build of the same output directory."""

    def __init__(self, cache: ShardCache, shard_path: Callable[[int], Path]) -> None:
        """Create it.

        Args:
            cache: where finished shards are kept.
            shard_path: returns the path of a shard in the new directory, by its number.
        """
        self._cache = cache
        self._shard_path = shard_path
        self._latest = cache.latest_build()
        self._earlier = (self._latest.fingerprints, cache.rejected_build().fingerprints)

    def link_build(self, request_digest: str | None) -> list[CachedShard] | None:
        """Link all shards of the latest build if it had the same request, else return None."""
        fingerprints = self._latest.fingerprints
        if request_digest is None or self._latest.request_digest != request_digest:
            return None
        self._cache.lease(fingerprints)
        shards = [self.link_shard(number, [fingerprint]) for number, fingerprint in enumerate(fingerprints)]
        found = [shard for shard in shards if shard is not None]
        return found if len(found) == len(shards) else None

    def lease(self, fingerprints: Iterable[str]) -> None:
        """Keep these shards, and those of the earlier builds, until this build is over."""
        self._cache.lease([*fingerprints, *(name for build in self._earlier for name in build)])

    def link_shard(self, number: int, fingerprints: Iterable[str]) -> CachedShard | None:
        """Link a shard into the new directory if the cache has one with any of these fingerprints."""
        target = self._shard_path(number)
        found = (self._cache.link(fingerprint, target) for fingerprint in fingerprints)
        return next((shard for shard in found if shard is not None), None)

    def changed_shards(self, linked: Iterable[CachedShard]) -> "ChangedShards":
        """Return the shards of earlier builds that the new build does not have: new shards may need their records."""
        unchanged = {shard.metadata.fingerprint for shard in linked}
        return ChangedShards(
            [
                [None if fingerprint in unchanged else self._cache.find(fingerprint) for fingerprint in build]
                for build in self._earlier
            ]
        )


class ChangedShards(NamedTuple):
    """Shards of earlier builds that the new build does not have."""

    builds: list[list[CachedShard | None]]
    """For each earlier build, its shards in their order; None for those that the new build has too or that are gone."""

    def near(self, number: int, num_shards: int) -> tuple[CachedShard, ...]:
        """Return the shards in which to search for the records of one shard.

        Args:
            number: the shard to write, from 0.
            num_shards: number of shards of the new build.
        """
        return tuple(shard for build in self.builds for shard in _near(build, number, num_shards))


def _near(changed: Sequence[CachedShard | None], number: int, num_shards: int) -> tuple[CachedShard, ...]:
    # All of them where they are few: a full shard passes records on, sometimes to a distant one. Otherwise those whose
    # range of hashes overlaps that of the shard, and one more on either side, for the passed-on records; without
    # shuffling, one added record moves every border by a little.
    if sum(shard.metadata.records for shard in changed if shard is not None) > SEARCH_ALL:
        first = number * len(changed) // num_shards - 1
        end = -(-(number + 1) * len(changed) // num_shards) + 1
        changed = changed[max(first, 0) : end]
    return tuple(shard for shard in changed if shard is not None)


class ReusedRecord(NamedTuple):
    """One record as it is stored in an earlier shard."""

    entry: RecordEntry
    """What is known of it."""
    frame: bytes
    """Its TFRecord frame, checksums compared."""


class PreviousRecords:
    """Looks up the records of earlier shards by key. Threads may share it."""

    def __init__(self, shards: Sequence[CachedShard]) -> None:
        self._blocks = InflatedBlocks()
        # By key as hexadecimal digits. Entries are kept as undecoded lines: most are never asked for.
        self._lines: dict[bytes, tuple[FrameReader, bytes]] = {}
        with ExitStack() as files:
            for shard in shards:
                # The key of a record does not cover the codec, so images that another codec re-encoded are not reused.
                if shard.metadata.pixel_codec in (None, pixel_codec()):
                    self._add(shard, files)
            self._files = files.pop_all()

    def __enter__(self) -> "PreviousRecords":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def __contains__(self, key: bytes) -> bool:
        return bool(self._lines) and key.hex().encode() in self._lines

    def read(self, key: bytes) -> ReusedRecord | None:
        """Return the record with this key, or None if it is damaged on disk: it is then encoded like a new one."""
        frames, line = self._lines[key.hex().encode()]
        try:
            entry = _decode_entry(line)
        except msgspec.MsgspecError:
            return None
        frame = frames.read(entry)
        return ReusedRecord(entry, frame) if _is_intact(frame, entry.size_bytes) else None

    def _add(self, shard: CachedShard, files: ExitStack) -> None:
        try:
            is_gzip = shard.metadata.compressor is not None
            reader = GzipFrameReader(shard.path, self._blocks) if is_gzip else FrameReader(shard.path)
        except FileNotFoundError:  # the cache was deleted in the meantime
            return
        files.enter_context(reader)
        self._lines.update((line[_KEY_IN_LINE], (reader, line)) for line in read_entries(shard).splitlines())


def read_entries(shard: CachedShard) -> bytes:
    """Return the entries of a cached shard, one `RecordEntry` per line; empty if its sidecar is damaged or gone."""
    try:
        with shard.sidecar.open("rb") as file:
            file.readline()  # the metadata
            entries = file.read()
    except OSError:
        return b""
    if value(entries) == shard.entries_crc32c:
        return entries
    _log.warning("%s is damaged; the records of the shard are not copied from it", shard.sidecar)
    return b""


def _is_intact(frame: bytes, size_bytes: int) -> bool:
    if len(frame) != size_bytes or size_bytes < HEADER.size + FOOTER.size:
        return False
    length, length_crc = HEADER.unpack_from(frame)
    payload = frame[HEADER.size : -FOOTER.size]
    (payload_crc,) = FOOTER.unpack_from(frame, len(frame) - FOOTER.size)
    return bool(
        length == len(payload) and mask_crc(value(frame[:8])) == length_crc and mask_crc(value(payload)) == payload_crc
    )
