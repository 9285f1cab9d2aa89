"""SHA-256 of the images that no manifest pins, so that their records get keys that cover the image.

A first build reads every image anyway and needs none of this. A later build hashes the images whose stat signature has
changed since; the hash cache (`cache.hash_cache`) knows the others.
"""

import os
import time
from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, cast

from tfrec_stage.build.fingerprint import KEY_SIZE, NO_KEY, KeyMaker, key_with_image, split_keys
from tfrec_stage.build.plan import ManifestIndex
from tfrec_stage.cache.hash_cache import ImageHash, ImageSignature, KnownHashes
from tfrec_stage.engine import OrderedMap
from tfrec_stage.errors import RecordError
from tfrec_stage.images.file import read_image_file
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ImageRecord

IMAGES_PER_TASK: Final = 1000
UNCERTAIN_NS: Final = 2_000_000_000
"""A file that changed less than this before it was hashed may change again without its time of change moving on: clocks
of file systems are coarse (2 s on FAT). Its hash is used, but not cached."""


class HashTask(NamedTuple):
    """Some images to hash."""

    records: "array[int]"
    """Numbers of their records in the manifest index."""
    positions: "array[int]"
    """Where the source finds these records."""
    keys: bytes
    """Their keys, concatenated."""
    key_maker: KeyMaker
    """Checks that they are still the records of these keys."""
    source: RecordReader
    """The records."""
    images_root: Path
    """Directory that relative file names start from."""
    known: KnownHashes
    """Hashes from earlier builds."""


class HashedImages(NamedTuple):
    """The result of one task."""

    records: "array[int]"
    """Numbers of the records in the manifest index."""
    hashes: list[ImageHash | None]
    """The hash of each image; None where the image cannot be read, or changed while it was read."""
    image_keys: list[bytes]
    """The image key of each record; `NO_KEY` where there is no hash."""


def hash_tasks(
    source: RecordReader, index: ManifestIndex, key_maker: KeyMaker, images_root: Path, known: KnownHashes
) -> Iterator[HashTask]:
    """Divide the images that no record pins into tasks.

    Args:
        source: the records.
        index: the manifest index of these records.
        key_maker: what made its keys.
        images_root: directory that relative file names start from.
        known: hashes from earlier builds.
    """
    for start in range(0, len(index.unpinned), IMAGES_PER_TASK):
        records = index.unpinned[start : start + IMAGES_PER_TASK]
        positions, keys = index.positions_of(records), index.keys_of(records)
        yield HashTask(records, positions, keys, key_maker, source, images_root, known)


def hash_images(task: HashTask, ordered_map: OrderedMap = map) -> HashedImages:
    """Hash the images of a task; those whose stat signature is known are not read.

    Raises:
        ManifestError: the manifest changed since the keys were made.
    """

    def find_hash(record: ImageRecord) -> tuple[ImageHash | None, bytes]:
        found = _hash(record.filename, task.images_root, task.known)
        return found, NO_KEY if found is None else task.key_maker.image_key(record, found.digest)

    records = task.key_maker.read(task.source, task.positions, split_keys(task.keys))
    found = list(ordered_map(find_hash, cast("Iterator[ImageRecord]", records)))
    return HashedImages(task.records, [image_hash for image_hash, _ in found], [key for _, key in found])


def add_image_hashes(index: ManifestIndex, hashed: Iterable[HashedImages]) -> bytearray:
    """Return keys that cover the images that were hashed, and add their image keys to the index.

    A record whose image has no hash keeps a key that no stored record has, so it is encoded, and fails with the reason.

    Returns:
        The keys of all records; those of the index itself if no image was hashed.
    """
    full_keys = keys = index.keys
    for images in hashed:
        full_keys = bytearray(keys) if full_keys is keys else full_keys
        for record, image_hash, image_key in zip(*images, strict=True):
            if image_hash is not None:
                span = slice(record * KEY_SIZE, (record + 1) * KEY_SIZE)
                full_keys[span] = key_with_image(bytes(keys[span]), image_hash.digest)
                index.image_keys[span] = image_key
    return full_keys


def read_and_hash(path: str, filename: str) -> tuple[bytes, ImageHash]:
    """Read an image that no record pins.

    Args:
        path: where it is.
        filename: what the record calls it.

    Returns:
        Its content, and its hash; that must not be cached if the file changed while it was read, or shortly before.

    Raises:
        RecordError: it cannot be read; see `read_image_file`.
    """
    signature = _signature(path)
    content = read_image_file(path)
    # Compared with the time now, not with the start of the build, which may have been hours ago.
    is_certain = signature is not None and signature.mtime_ns < time.time_ns() - UNCERTAIN_NS
    is_unchanged = is_certain and _signature(path) == signature
    return content, ImageHash(filename, signature if is_unchanged else None, sha256(content).digest())


def _hash(filename: str, images_root: Path, known: KnownHashes) -> ImageHash | None:
    path = os.path.join(images_root, filename)  # noqa: PTH118 - a Path costs as much as the stat
    signature, cached = _signature(path), known.get(filename)
    if cached is not None and cached.signature == signature:
        return cached
    try:
        _, image_hash = read_and_hash(path, filename)
    except RecordError:
        return None  # the record is encoded, and fails with the reason
    return image_hash if _signature(path) == signature else None  # None: it changed while it was read


def _signature(path: str) -> ImageSignature | None:
    try:
        return ImageSignature.of(path)
    except (OSError, ValueError):
        return None
