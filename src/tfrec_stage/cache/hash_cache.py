"""A file's size, time and inode: what tells cheaply that it is the one known."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tfrec_stage.files import atomic_writer


class StatSignature(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file as it was at some moment; the same stamp is taken for the same content, as DVC does."""

    size_bytes: int
    """Length."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    inode: int
    """Number of the file in its file system."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "StatSignature":
        """The stamp that the file has now.

        Raises:
            OSError: there is no such file.
        """
        status = os.stat(path)  # noqa: PTH116 - a Path costs as much as the call
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class ImageSignature(StatSignature, frozen=True, array_like=True, gc=False):
    """The stamp of an image, which also tells a file that was given the time of the one in whose place it is.

    `tar` and `rsync -t` give it, a new file often gets the inode of one that was just removed, and images without
    compression are all of one length. A shard of the store has no such stamp, for each link changes its `ctime_ns`.
    """

    ctime_ns: int = 0
    """Time of the last change of content, name or permissions, in nanoseconds; no program can set it."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "ImageSignature":
        """See `StatSignature`."""
        status = os.stat(path)  # noqa: PTH116 - as in StatSignature
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


class ImageHash(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one image file."""

    filename: str
    """As the record names it."""
    stamp: ImageSignature | None
    """Of the file, when it was read; None where it had just changed."""
    digest: bytes
    """SHA-256 of its content, 32 bytes."""


KnownHashes = Mapping[str, ImageHash]


def read_image_hashes(path: Path) -> KnownHashes:
    """Notes of an earlier build; none where the file is absent or damaged."""
    try:
        notes = msgspec.json.Decoder(ImageHash).decode_lines(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {note.filename: note for note in notes}


def write_image_hashes(path: Path, notes: Iterable[ImageHash]) -> None:
    """Keep the notes of files that had settled."""
    with atomic_writer(path, sync_name=False) as file:  # notes that are lost are read again
        for note in notes:
            if note.stamp is not None:
                file.write(msgspec.json.encode(note) + b"\n")
