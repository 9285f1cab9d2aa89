"""Hashes of image files that earlier builds read, valid as long as a file's stat signature is the same.

One file per output directory, one JSON array per line: `[filename, [size, mtime_ns, inode, ctime_ns], sha256]`.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from tfrec_stage.files import atomic_writer


class StatSignature(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Size, time and inode of a file. The same signature is taken to mean the same content, as DVC does."""

    size_bytes: int
    """Length of the file."""
    mtime_ns: int
    """Time of the last change of its content, in nanoseconds since 1970."""
    inode: int
    """Its inode number."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "StatSignature":
        """Return the signature that a file has now.

        Raises:
            OSError: there is no such file.
        """
        status = os.stat(path)  # noqa: PTH116 - a Path costs as much as the call
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class ImageSignature(StatSignature, frozen=True, array_like=True, gc=False):
    """The signature of an image. Its ctime shows a replaced file even where size, mtime and inode are the same.

    That happens: `tar` and `rsync -t` restore the mtime, a new file often gets the inode of the one just removed, and
    uncompressed images are all equally long. Cached shards cannot use the ctime, since every new hard link changes it.
    """

    ctime_ns: int = 0
    """Time of the last change of content, name or permissions, in nanoseconds since 1970; no program can set it."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "ImageSignature":
        """See `StatSignature.of`."""
        status = os.stat(path)  # noqa: PTH116 - as in StatSignature
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


class ImageHash(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The hash of one image file."""

    filename: str
    """Its name as the record gives it."""
    signature: ImageSignature | None
    """Its signature when it was read; None if it had changed so recently that the hash must not be cached."""
    digest: bytes
    """SHA-256 of its content, 32 bytes."""


KnownHashes = Mapping[str, ImageHash]
"""Hashes by file name."""


def read_image_hashes(path: Path) -> KnownHashes:
    """Read the hashes of earlier builds; empty if the file is missing or damaged, as they can be computed again."""
    try:
        hashes = msgspec.json.Decoder(ImageHash).decode_lines(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {each.filename: each for each in hashes}


def encode_image_hashes(hashes: Iterable[ImageHash | None]) -> bytes:
    """Return the lines of those hashes that may be cached."""
    return b"".join(msgspec.json.encode(each) + b"\n" for each in hashes if each is not None and each.signature)


def write_image_hashes(path: Path, lines: BinaryIO) -> None:
    """Write lines of hashes, read from a file."""
    # Without syncing the name: hashes lost in a power failure only cost the time to compute them again.
    with atomic_writer(path, sync_name=False) as file:
        shutil.copyfileobj(lines, file)
