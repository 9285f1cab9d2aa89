"""SHA-256 of images that no manifest pins; a note of each file's stamp spares reading it again."""

import os
import time
from array import array
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from tfrec_stage.build.fingerprint import KEY_SIZE, KeyMaker, split_keys
from tfrec_stage.build.manifest_index import ManifestIndex
from tfrec_stage.cache.hash_cache import ImageHash, ImageSignature, KnownHashes
from tfrec_stage.engine.ordered_map import OrderedMap
from tfrec_stage.errors import RecordError
from tfrec_stage.images.file import read_image_file
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ParsedRecord

CHUNK: Final = 1000
"""Images of one task."""
SETTLED_NS: Final = 2_000_000_000
"""A file that changed less than this before it was read may change again within its clock's grain: it is not noted."""


class DigestTask(NamedTuple):
    """Some images to digest."""

    records: "array[int]"
    """Numbers of their records."""
    positions: "array[int]"
    """Where the source finds these."""
    keys: bytes
    """Key of each, one after the other."""
    key_maker: KeyMaker
    """Tells whether they are still the records of these keys."""
    source: RecordReader
    """Where the records are."""
    images_root: Path
    """Where relative file names start from."""
    notes: KnownHashes
    """What is known already."""


class Digested(NamedTuple):
    """What became of one task: a note for each image, None where it cannot be read."""

    records: "array[int]"
    notes: list[ImageHash | None]


def digest_tasks(
    source: RecordReader, manifest_index: ManifestIndex, key_maker: KeyMaker, images_root: Path, notes: KnownHashes
) -> Iterator[DigestTask]:
    """All images that no record pins, a chunk a task.

    Args:
        source: where the records are.
        manifest_index: what the first walk through it left.
        key_maker: what made its keys.
        images_root: where relative file names start from.
        notes: what is known already.
    """
    for start in range(0, len(manifest_index.unpinned), CHUNK):
        records = manifest_index.unpinned[start : start + CHUNK]
        keys = b"".join(manifest_index.keys[record * KEY_SIZE : (record + 1) * KEY_SIZE] for record in records)
        yield DigestTask(records, manifest_index.positions_of(records), keys, key_maker, source, images_root, notes)


def digest_images(task: DigestTask, encode_all: OrderedMap = map) -> Digested:
    """Digest images, reading only those whose stamp is not the noted one.

    Raises:
        ManifestError: the manifest changed since the keys were made.
    """

    def digest(record: ParsedRecord) -> ImageHash | None:
        return _digest(record.filename, task.images_root, task.notes)

    records = task.key_maker.read(task.source, task.positions, split_keys(task.keys))
    return Digested(task.records, list(encode_all(digest, records)))


def _digest(filename: str, images_root: Path, notes: KnownHashes) -> ImageHash | None:
    path = os.path.join(images_root, filename)  # noqa: PTH118 - a Path costs as much as the stat
    try:
        stamp = ImageSignature.of(path)
        noted = notes.get(filename)
        if noted is not None and noted.stamp == stamp:
            return noted
        is_settled = stamp.mtime_ns < time.time_ns() - SETTLED_NS  # now: a build may go on for hours
        digest = sha256(read_image_file(path)).digest()
        return ImageHash(filename, stamp if is_settled else None, digest) if ImageSignature.of(path) == stamp else None
    except (OSError, ValueError, RecordError):
        return None  # the encoder says why
