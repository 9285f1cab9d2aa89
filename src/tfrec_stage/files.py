"""Write files atomically and durably.

Everything is written under a temporary name in the same directory and then renamed. First the content is synced to
disk, then the name. An existing file is never opened for writing: it may be a hard link to an object of DVC's cache,
and root can write through the read-only bit.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from tfrec_stage.errors import OutputError

PARTIAL: Final = ".partial"
"""Suffix of files and directories that are being written."""
_CANNOT_LINK: Final = frozenset(
    {
        errno.EXDEV,  # another file system
        errno.EPERM,  # a file system without hard links, or a file of another user
        errno.EACCES,
        errno.EMLINK,  # the file has as many names as its file system allows
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
    }
)
"""Errors of link(2) after which a copy may still work; any other is an error of the disk."""
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of fsync(2) from file systems that cannot sync directories."""
# O_CLOEXEC: a program started meanwhile would inherit the descriptor, and with it the lock.
# O_DIRECTORY is in POSIX since 2008, but not on every system.
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)


@contextmanager
def atomic_writer(path: Path, *, sync_name: bool = True) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when the block succeeds; its content is on disk by then.

    Args:
        path: the file.
        sync_name: whether to sync its name as well; False if the caller syncs the directory once for many files. Inside
            `replaced_directory` it is never done, since that syncs the directory at the end.

    Raises:
        OutputError: the directory cannot be created or written.
    """
    partial = partial_path(path)
    file = _create(partial, path)
    try:
        with file:
            yield file
            file.flush()  # fsync knows nothing of Python's buffer
            # Before the rename: after a power failure the name could otherwise belong to an empty file.
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.filename is not None and error.filename != str(partial):
            raise  # about another file that the block was reading
        raise write_error(path, error) from error
    finally:
        partial.unlink(missing_ok=True)  # missing after the rename
    # After the rename: the name is an entry of the directory, which is synced on its own.
    if sync_name and path.parent.suffix != PARTIAL:
        sync_directory(path.parent)


def write_file(path: Path, data: bytes, *, sync_name: bool = True) -> None:
    """Write a file atomically; see `atomic_writer`."""
    with atomic_writer(path, sync_name=sync_name) as file:
        file.write(data)


def move_file(source: Path, target: Path) -> None:
    """Move a file atomically; an existing file at the target is replaced.

    Raises:
        OutputError: the target cannot be written.
    """
    try:
        source.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise write_error(target, error) from error
        # A symbolic link may lead to another file system, where rename is impossible.
        _copy_atomically(source, target)


def partial_path(path: Path) -> Path:
    """Return a new temporary name in the same directory, for what will be renamed to `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")


def sync_directory(directory: Path) -> None:
    """Sync the names in a directory to disk: after a power failure a rename may otherwise be undone.

    Do nothing if the file system cannot do it, or if the directory may be written but not read.

    Raises:
        OutputError: the disk reports an error.
    """
    try:
        fd = open_directory(directory)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except PermissionError:
        return
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise OutputError(f"cannot sync the names in {directory} to disk: {error.strerror or error}") from error


def make_directories(directory: Path) -> None:
    """Create a directory and its missing parents, and sync their names to disk.

    Raises:
        OSError: one cannot be created.
        OutputError: the disk reports an error.
    """
    if directory.is_dir():
        return
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for created in missing:
        sync_directory(created.parent)  # which holds the new name


def open_directory(directory: Path) -> int:
    """Open a directory, to lock or sync it.

    Raises:
        OSError: it does not exist, or may not be read.
    """
    return os.open(directory, _DIRECTORY_FLAGS)


@contextmanager
def locked_directory(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on a directory, and give its descriptor; where locks do not exist, there is none.

    The lock is on the directory itself, whatever it is renamed to: it ends with the process, however that ends, and
    leaves no lock file behind.
    """
    fd = open_directory(path)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        # Closing is not enough: a child that the user's program forked meanwhile has a copy of the descriptor, which
        # would keep the lock as long as it lives.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def lock_or_pass(fd: int) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name by a hard link, or by a copy, which shares blocks if the file system can do that.

    A link comes first even then: DVC knows a linked file by its inode and does not hash it again (ADR 11).

    Raises:
        FileNotFoundError: the source does not exist.
        OutputError: neither works, or the target exists.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except AttributeError:  # a system without hard links
        _copy_file(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise OutputError(f"cannot link {target}: {error.strerror}") from error
        _copy_file(source, target)


def _copy_atomically(source: Path, target: Path) -> None:
    with source.open("rb") as reader, atomic_writer(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _copy_file(source: Path, target: Path) -> None:
    try:
        # "x" fails if the target exists, as link(2) does: it could be a link to an object of DVC's cache.
        with source.open("rb") as reader, target.open("xb") as writer:
            try:
                _copy_content(reader, writer)
            except OSError:
                # Only here, where the target is ours: one that existed before must stay.
                target.unlink(missing_ok=True)
                raise
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error


def _copy_content(reader: BinaryIO, writer: BinaryIO) -> None:
    # Only Linux has copy_file_range, and not for every file system. It moves the offsets of both files: copyfileobj
    # continues where it stopped.
    with suppress(AttributeError, OSError):
        while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
            pass
    shutil.copyfileobj(reader, writer, 1 << 20)
    writer.flush()  # fsync knows nothing of Python's buffer
    os.fsync(writer.fileno())


def write_error(path: Path, error: OSError) -> OutputError:
    """Return the error to raise if a file cannot be written."""
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def _create(partial: Path, path: Path) -> BinaryIO:
    try:
        make_directories(path.parent)
        # "x" neither opens an existing file nor follows a link that somebody put there.
        return partial.open("xb")
    except OSError as error:
        raise write_error(path, error) from error
