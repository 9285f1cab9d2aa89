"""Read image files. Whatever could block or never end (pipes, devices) is refused before it is read."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

from tfrec_stage.errors import RecordError
from tfrec_stage.records import ImageRecord, ParsedRecord

SIZE_LIMIT: Final = 2**31 - 1
"""Maximum size of an image file in bytes: a `tf.train.Example` cannot hold more."""

BATCH: Final = 16
"""Records per batch of `read_ahead`."""

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_MOUNTS: Final = Path("/proc/self/mountinfo")  # proc_pid_mountinfo(5): device third, type of file system after "-"
_IN_MEMORY: Final = frozenset({b"tmpfs", b"ramfs", b"devtmpfs"})
_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_image_file(path: str | bytes | os.PathLike[str]) -> bytes:
    """Read a regular file, in one system call if it does not change meanwhile.

    Raises:
        RecordError: `image_missing` (also a dangling link), `image_empty`, `image_too_large`, or `image_unreadable`
            (no permission, an I/O error, or no regular file).
    """
    try:
        descriptor = os.open(path, _FLAGS)  # without O_NONBLOCK, opening a pipe would wait for its writer
        try:
            return _read(descriptor, path)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError("image_missing", f"expected an image file, but there is no {_show(path)}") from None
    except (OSError, ValueError) as error:
        message = f"expected to read {_show(path)}, but got: {getattr(error, 'strerror', None) or error}"
        raise RecordError("image_unreadable", message) from None


def read_ahead(records: Iterable[ParsedRecord], images_root: Path) -> Iterator[ParsedRecord]:
    """Yield the same records one batch later, so that the next batch of files is loaded while this one is encoded.

    Requesting a file costs about a hundredth of encoding an image, so it is done only if the batch is not cached. One
    file per batch is checked.
    """
    upcoming = iter(records)
    batch: list[ParsedRecord] = []
    while next_batch := list(islice(upcoming, BATCH)):
        _prefetch_batch(next_batch, images_root)
        yield from batch
        batch = next_batch
    yield from batch


def _prefetch_batch(batch: list[ParsedRecord], images_root: Path) -> None:
    names = [record.filename for record in batch if isinstance(record, ImageRecord) and record.encoded is None]
    if names and not is_cached(os.path.join(images_root, names[-1])):  # noqa: PTH118 - here and below: ten times as fast
        for name in names:
            prefetch(os.path.join(images_root, name))  # noqa: PTH118


def is_cached(path: str) -> bool:
    """Return whether the start of a file is in the page cache, so that reading it will not wait; True if unknown."""
    if not (hasattr(os, "RWF_NOWAIT") and hasattr(os, "preadv")):  # Linux has both
        return True
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return True
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # network file systems cannot tell, and prefetching pays there
            return _is_memory(os.fstat(descriptor).st_dev)
        # EAGAIN: not in memory. Other errors are left to the read, which reports them.
        return error.errno != errno.EAGAIN
    finally:
        os.close(descriptor)
    return True


def prefetch(path: str) -> None:
    """Ask the kernel to load a file that will be read soon; errors are left to the read."""
    with suppress(AttributeError, OSError, ValueError):  # macOS has no posix_fadvise
        descriptor = os.open(path, _FLAGS)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


@cache
def _is_memory(device: int) -> bool:
    """Return whether a device is a file system in memory, such as /dev/shm."""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    with suppress(OSError, ValueError, IndexError), _MOUNTS.open("rb") as mounts:
        rows = (mount.split() for mount in mounts)
        return any(row[2] == number and row[row.index(b"-") + 1] in _IN_MEMORY for row in rows)
    return False


def _read(descriptor: int, path: str | bytes | os.PathLike[str]) -> bytes:
    # Of the open file, not of its path: the path may name another file by now.
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise RecordError("image_unreadable", f"expected a regular file, but {_show(path)} is {kind}")
    if status.st_size > SIZE_LIMIT:
        raise RecordError(
            "image_too_large", f"expected at most {SIZE_LIMIT} bytes, but {_show(path)} has {status.st_size}"
        )
    # One byte more than expected: a short read then shows the end of the file without a second call.
    content = os.read(descriptor, status.st_size + 1)
    if len(content) != status.st_size:
        content = _read_rest(descriptor, content)
    if not content:
        raise RecordError("image_empty", f"expected an image, but {_show(path)} has 0 bytes")
    return content


def _read_rest(descriptor: int, content: bytes) -> bytes:
    """Read the rest of a file that grows, shrinks or arrives in pieces."""
    pieces = [content]
    while pieces[-1]:
        pieces.append(os.read(descriptor, 1 << 20))
    return b"".join(pieces)


def _show(path: str | bytes | os.PathLike[str]) -> str:
    """Return a path for messages, which are stored as JSON: bytes that are not UTF-8 are escaped."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
