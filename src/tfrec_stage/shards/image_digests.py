"""SHA-256 of images that no manifest pins; a note of each file's stamp spares reading it again."""

import os
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tfrec_stage.errors import RecordError
from tfrec_stage.files import atomic_writer
from tfrec_stage.image_file import read_image_file
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.ordered_map import OrderedMap
from tfrec_stage.records import ParsedRecord
from tfrec_stage.shards.catalogue import Catalogue
from tfrec_stage.shards.fingerprint import KEY_SIZE, KeyMaker, split_keys
from tfrec_stage.shards.stamp import Stamp

CHUNK: Final = 1000
"""Images of one task."""
SETTLED_NS: Final = 2_000_000_000
"""A file that changed less than this before it was read may change again within its clock's grain: it is not noted."""


class ImageStamp(Stamp, frozen=True, array_like=True, gc=False):
    """The stamp of an image, which also tells a file that was given the time of the one in whose place it is.

    `tar` and `rsync -t` give it, a new file often gets the inode of one that was just removed, and images without
    compression are all of one length. A shard of the store has no such stamp, for each link changes its `ctime_ns`.
    """

    ctime_ns: int = 0
    """Time of the last change of content, name or permissions, in nanoseconds; no program can set it."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "ImageStamp":
        """See `Stamp`."""
        status = os.stat(path)  # noqa: PTH116 - as in Stamp
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


class DigestNote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one image file."""

    filename: str
    """As the record names it."""
    stamp: ImageStamp | None
    """Of the file, when it was read; None where it had just changed."""
    digest: bytes
    """SHA-256 of its content, 32 bytes."""


DigestNotes = Mapping[str, DigestNote]


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
    notes: DigestNotes
    """What is known already."""


class Digested(NamedTuple):
    """What became of one task: a note for each image, None where it cannot be read."""

    records: "array[int]"
    notes: list[DigestNote | None]


def digest_tasks(
    source: RecordReader, catalogue: Catalogue, key_maker: KeyMaker, images_root: Path, notes: DigestNotes
) -> Iterator[DigestTask]:
    """All images that no record pins, a chunk a task.

    Args:
        source: where the records are.
        catalogue: what the first walk through it left.
        key_maker: what made its keys.
        images_root: where relative file names start from.
        notes: what is known already.
    """
    for start in range(0, len(catalogue.unpinned), CHUNK):
        records = catalogue.unpinned[start : start + CHUNK]
        keys = b"".join(catalogue.keys[record * KEY_SIZE : (record + 1) * KEY_SIZE] for record in records)
        yield DigestTask(records, catalogue.positions_of(records), keys, key_maker, source, images_root, notes)


def digest_images(task: DigestTask, encode_all: OrderedMap = map) -> Digested:
    """Digest images, reading only those whose stamp is not the noted one.

    Raises:
        ManifestError: the manifest changed since the keys were made.
    """

    def digest(record: ParsedRecord) -> DigestNote | None:
        return _digest(record.filename, task.images_root, task.notes)

    records = task.key_maker.read(task.source, task.positions, split_keys(task.keys))
    return Digested(task.records, list(encode_all(digest, records)))


def read_notes(path: Path) -> DigestNotes:
    """Notes of an earlier build; none where the file is absent or damaged."""
    try:
        notes = msgspec.json.Decoder(DigestNote).decode_lines(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {note.filename: note for note in notes}


def write_notes(path: Path, notes: Iterable[DigestNote]) -> None:
    """Keep the notes of files that had settled."""
    with atomic_writer(path, sync_name=False) as file:  # notes that are lost are read again
        for note in notes:
            if note.stamp is not None:
                file.write(msgspec.json.encode(note) + b"\n")


def _digest(filename: str, images_root: Path, notes: DigestNotes) -> DigestNote | None:
    path = os.path.join(images_root, filename)  # noqa: PTH118 - a Path costs as much as the stat
    try:
        stamp = ImageStamp.of(path)
        noted = notes.get(filename)
        if noted is not None and noted.stamp == stamp:
            return noted
        is_settled = stamp.mtime_ns < time.time_ns() - SETTLED_NS  # now: a build may go on for hours
        digest = sha256(read_image_file(path)).digest()
        return DigestNote(filename, stamp if is_settled else None, digest) if ImageStamp.of(path) == stamp else None
    except (OSError, ValueError, RecordError):
        return None  # the encoder says why
