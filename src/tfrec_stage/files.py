"""Files that appear whole or not at all, and stay after a crash.

Everything is written beside its place and renamed into it: first the bytes are brought to disk, then the name. An
existing file is never opened for writing: under hard links it may be an object of DVC's cache.
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
"""Suffix of what is being written, be it a file or a directory."""
_CANNOT_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)  # POSIX has it since 2008


@contextmanager
def atomic_writer(path: Path, *, sync_name: bool = True) -> Iterator[BinaryIO]:
    """A file that gets its name only when the block ends well; its bytes are on disk by then.

    Args:
        path: the file.
        sync_name: whether its name is brought to disk, too; False where the caller syncs the directory once for many.
            In a directory that `replaced_directory` gave this is never done, as it does so itself.

    Raises:
        OutputError: the directory cannot be made or written.
    """
    partial = partial_path(path)
    file = _create(partial, path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.filename is not None and error.filename != str(partial):
            raise  # about another file, which the block was reading
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    if sync_name and path.parent.suffix != PARTIAL:
        sync_directory(path.parent)


def write_file(path: Path, data: bytes, *, sync_name: bool = True) -> None:
    """Write a whole file, atomically; see `atomic_writer`."""
    with atomic_writer(path, sync_name=sync_name) as file:
        file.write(data)


def move_file(source: Path, target: Path) -> None:
    """Give a file another place, where it appears whole; an earlier file there is replaced.

    Raises:
        OutputError: the target cannot be written.
    """
    try:
        source.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise write_error(target, error) from error
        _copy_whole(source, target)  # a symbolic link leads to another file system


def partial_path(path: Path) -> Path:
    """A new name beside `path`, for what will get that name once it is finished."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to disk: after a power failure a rename may otherwise be undone.

    A file system that cannot do it, and a directory that may be written but not read, are passed over.

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
            raise OutputError(f"cannot bring the names in {directory} to disk: {error.strerror or error}") from error


def make_directories(directory: Path) -> None:
    """Make a directory with its parents, as far as they are missing, and bring their names to disk.

    Raises:
        OSError: one cannot be made.
        OutputError: the disk reports an error.
    """
    if directory.is_dir():
        return
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def open_directory(directory: Path) -> int:
    """A descriptor of a directory, to lock or to sync it.

    Raises:
        OSError: there is no such directory, or it may not be read.
    """
    return os.open(directory, _DIRECTORY_FLAGS)


@contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    """Nobody else who asks for the same directory is in this block at the same time."""
    fd = open_directory(path)
    try:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def lock_or_pass(fd: int) -> bool:
    """Lock an open file until it is closed; False where somebody else has the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name: by a hard link, else by a copy, which shares blocks where the file system can.

    Raises:
        FileNotFoundError: there is no such source.
        OutputError: neither is possible.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except AttributeError:  # a system without links
        _copy_file(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise OutputError(f"cannot link {target}: {error.strerror}") from error
        _copy_file(source, target)


def _copy_whole(source: Path, target: Path) -> None:
    with source.open("rb") as reader, atomic_writer(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _copy_file(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            try:
                _copy_content(reader, writer)
            except OSError:
                target.unlink(missing_ok=True)
                raise
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error


def _copy_content(reader: BinaryIO, writer: BinaryIO) -> None:
    with suppress(AttributeError, OSError):  # Linux has it, not for every file system; what is left is then copied
        while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
            pass
    shutil.copyfileobj(reader, writer, 1 << 20)
    writer.flush()
    os.fsync(writer.fileno())


def write_error(path: Path, error: OSError) -> OutputError:
    """The error to raise where a file cannot be written."""
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def _create(partial: Path, path: Path) -> BinaryIO:
    try:
        make_directories(path.parent)
        return partial.open("xb")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
