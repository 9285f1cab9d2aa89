"""A file's size, time and inode: what tells cheaply that it is the one known."""

import os

import msgspec


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file as it was at some moment; the same stamp is taken for the same content, as DVC does."""

    size_bytes: int
    """Length."""
    mtime_ns: int
    """Time of the last change, in nanoseconds."""
    inode: int
    """Number of the file in its file system."""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "Stamp":
        """The stamp that the file has now.

        Raises:
            OSError: there is no such file.
        """
        status = os.stat(path)  # noqa: PTH116 - a Path costs as much as the call
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)
