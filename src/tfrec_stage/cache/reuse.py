"""What a build takes from earlier builds instead of making it again. Everything about reuse is decided here.

    1. the same request digest    all shards; no record is read                        Reuse.link_build
    2. the same fingerprint       one shard; no image is read                          Reuse.link_shard
    3. the same key               one record; it is not read, nor its image            EarlierRecords: copy
    4. the same image key         the image of a record; the image file is not read    EarlierRecords: reuse_image
    5. the same image key         why an image cannot be stored; it is not decoded     EarlierRecords: reuse_failure

What these digests cover is defined in `build.fingerprint` and `build.build`. For 3 to 5 all shards of the latest build
and of one rejected since are searched that the new build does not have. Records that are found nowhere are encoded.
Keys cover neither the versions of Pillow and libjpeg nor how an image was verified: `_can_copy`, `_can_reuse_image` and
`_can_reuse_failure` compare these.
"""

import struct
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

import msgspec

from tfrec_stage.cache.earlier_shards import EarlierShard, ImageUse, decode_line, read_entries
from tfrec_stage.cache.shard_cache import CachedShard, ShardCache
from tfrec_stage.errors import REASONS
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.images.policy import Verify
from tfrec_stage.shards.metadata import FailedImage, RecordEntry

_ROW: Final = struct.Struct("<6sIQ")
"""Row of an index: bytes 3 to 8 of a key, number of the shard, offset of the line in its entries."""


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

    def earlier_records(self, linked: Iterable[CachedShard], use: ImageUse) -> "EarlierRecords":
        """Return the records of the shards of earlier builds that the new build does not have.

        Args:
            linked: the shards that it has.
            use: what the new build needs of images.
        """
        unchanged = {shard.metadata.fingerprint for shard in linked}
        names = dict.fromkeys(name for build in self._earlier for name in build if name not in unchanged)
        found = (self._cache.find(name) for name in names)
        return EarlierRecords((shard for shard in found if shard is not None), use)


class Action(IntEnum):
    """What a task does for one record."""

    encode = 0
    """Read its image and encode both."""
    copy = 1
    """Copy it from an earlier shard."""
    reuse_image = 2
    """Encode it around its image in an earlier shard."""
    reuse_failure = 3
    """Read its image, and if it is the one that failed before, report the same reason."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where the records of one task are in earlier shards: columns, one item per record."""

    shards: tuple[EarlierShard, ...]
    """The shards in which some are."""
    actions: bytearray = field(repr=False)
    """The `Action` of each record."""
    shard_numbers: "array[int]" = field(repr=False)
    """Index of its shard in `shards`; 0 if it is encoded."""
    offsets: "array[int]" = field(repr=False)
    """Offset of its line in the entries of that shard, in bytes; 0 if it is encoded."""

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Iterate over action, shard number and offset of each record."""
        return zip(self.actions, self.shard_numbers, self.offsets, strict=True)


class EarlierRecords:
    """An index of the records of earlier shards by key and by image key.

    It is made once per build, and each task is given what it needs of it (`Found`). A record takes about 40 bytes of
    memory; as Python objects, a million records would take half a gigabyte.
    """

    def __init__(self, shards: Iterable[CachedShard], use: ImageUse) -> None:
        self._shards: list[EarlierShard] = []
        self._records, self._images, self._failures = _Index(), _Index(), _Index()
        for shard in shards:
            self._add(shard, use)

    def find(self, keys: Iterable[bytes], image_keys: Iterable[bytes]) -> Found | None:
        """Find the records of one task; None if none is found.

        Args:
            keys: key of each record, covering its image.
            image_keys: image key of each record.
        """
        actions, numbers, offsets = bytearray(), array("I"), array("Q")
        used: dict[int, int] = {}
        for key, image_key in zip(keys, image_keys, strict=True):
            action, shard, offset = self._find(key, image_key)
            actions.append(action)
            numbers.append(used.setdefault(shard, len(used)) if action else 0)
            offsets.append(offset)
        return Found(tuple(self._shards[shard] for shard in used), actions, numbers, offsets) if used else None

    def _find(self, key: bytes, image_key: bytes) -> tuple[Action, int, int]:
        if row := self._records.find(key):
            return Action.copy, *row
        if row := self._images.find(image_key):
            return Action.reuse_image, *row
        if row := self._failures.find(image_key):
            return Action.reuse_failure, *row
        return Action.encode, 0, 0

    def _add(self, shard: CachedShard, use: ImageUse) -> None:
        number, offset = len(self._shards), 0
        self._shards.append(EarlierShard.of(shard))
        for line in read_entries(shard).splitlines(keepends=True):
            with suppress(msgspec.MsgspecError, ValueError):  # a line of another version is not reused
                self._add_line(decode_line(line), (number, offset), shard.metadata.pixel_codec, use)
            offset += len(line)

    def _add_line(
        self, entry: RecordEntry | FailedImage, place: tuple[int, int], codec: str | None, use: ImageUse
    ) -> None:
        if isinstance(entry, FailedImage):
            if _can_reuse_failure(entry, use):
                self._failures.add(bytes.fromhex(entry.image_key), place)
            return
        if _can_copy(entry, codec):
            self._records.add(bytes.fromhex(entry.key), place)
        if _can_reuse_image(entry, codec, use):
            self._images.add(bytes.fromhex(entry.image_key), place)


def _can_copy(entry: RecordEntry, codec: str | None) -> bool:
    # An image that was stored as it is does not depend on the libraries.
    return "reencoded" not in entry.transforms or codec == pixel_codec()


def _can_reuse_image(entry: RecordEntry, codec: str | None, use: ImageUse) -> bool:
    if not entry.image_key or not _can_copy(entry, codec):
        return False
    # Decoding comes after the check of the structure: it proves both.
    is_verified = entry.is_decoded or use.verify is Verify.structure
    is_there = bool(entry.image_bytes) or not use.is_stored
    has_sha256 = bool(entry.image_sha256 or entry.image_bytes) or not use.needs_sha256
    return is_verified and is_there and has_sha256


def _can_reuse_failure(image: FailedImage, use: ImageUse) -> bool:
    # The structure is checked in both cases, and first: what fails there fails with `decode` for the same reason.
    is_verified_alike = image.verify in (use.verify.name, Verify.structure.name)
    return is_verified_alike and image.pixel_codec == pixel_codec() and image.reason in REASONS


class _Index:
    """Finds the place of a line by a key: the first that was added for this key.

    Rows are packed into one bytearray for all keys with the same first two bytes, which is searched by `find`.
    """

    def __init__(self) -> None:
        self._rows: defaultdict[bytes, bytearray] = defaultdict(bytearray)

    def add(self, key: bytes, place: tuple[int, int]) -> None:
        if self.find(key) is None:  # a million records may have the same image
            self._rows[key[:2]] += _ROW.pack(key[2:8], *place)

    def find(self, key: bytes) -> tuple[int, int] | None:
        rows = self._rows.get(key[:2])
        if rows is None:
            return None
        start = rows.find(key[2:8])
        while start % _ROW.size:  # also for -1, which `find` gives for "not found"
            if start < 0:
                return None
            start = rows.find(key[2:8], start + 1)
        _, shard, offset = _ROW.unpack_from(rows, start)
        return shard, offset
