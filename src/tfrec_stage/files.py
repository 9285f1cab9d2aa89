"""Files and directories that appear whole or not at all.

Everything is written beside its place and renamed into it. An existing file is never opened for writing: under
hard links it may be an object of DVC's cache.
"""

import ctypes
import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from tfrec_stage.errors import OutputError

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_CANNOT_LINK: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only when the block ends well.

    Raises:
        OutputError: the directory cannot be made or written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
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


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file, atomically."""
    with atomic_writer(path) as file:
        file.write(data)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a file, which gets its name only when it is whole.

    Raises:
        OutputError: the target cannot be written.
    """
    with source.open("rb") as reader, atomic_writer(target) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


@contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A directory for what is needed for the length of a block, and removed at its end.

    Raises:
        OutputError: it cannot be made.
    """
    path = parent / ".scratch"
    try:
        path.mkdir()
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """An empty directory beside `path`, which takes its place when the block ends well.

    Until then the previous directory stays as it was; whatever goes wrong, the new one is removed. What a killed
    process left beside `path` is removed on the way: a living one holds a lock on its own.

    Raises:
        OutputError: the directory cannot be made or swapped.
    """
    path = path.resolve() if path.is_symlink() else path  # the link stays, what it names is replaced
    staging, lock = _make_scratch(path)
    try:
        yield staging
        _swap(staging, path)
    finally:
        os.close(lock)
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def locked_directory(path: Path) -> Iterator[None]:
    """Nobody else who asks for the same directory is in this block at the same time."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise OutputError(f"cannot link {target}: {error.strerror}") from error
        _copy_file(source, target)


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
    with suppress(OSError):  # not every file system has it; what is left is then copied
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
        path.parent.mkdir(parents=True, exist_ok=True)
        return partial.open("xb")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _make_scratch(path: Path) -> tuple[Path, int]:
    """A new directory beside `path`, and the descriptor whose lock keeps it from being swept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        while True:
            scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
            scratch.mkdir()
            with suppress(FileNotFoundError):  # somebody swept it before it was locked
                return scratch, _open_locked(scratch)
    except OSError as error:
        raise OutputError(f"cannot make {path}: {error.strerror or error}") from error


def _open_locked(directory: Path) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems have no locks; leftovers are then not swept
            fcntl.flock(fd, fcntl.LOCK_EX)
        directory.stat()  # whoever had the lock may have been removing it
    except BaseException:
        os.close(fd)
        raise
    return fd


def _sweep(path: Path) -> None:
    """Remove what killed processes left."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):
            lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if lock_or_pass(lock):
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


def _swap(staging: Path, path: Path) -> None:
    """Put `staging` in the place of `path`, whose directory, if there is one, gets the name of `staging`."""
    try:
        if not _exchange(staging, path):
            _rename_or_exchange(staging, path)
    except OSError as error:
        raise OutputError(f"cannot replace {path}: {error.strerror or error}") from error


def _rename_or_exchange(staging: Path, path: Path) -> None:
    try:
        staging.rename(path)  # nothing is there, or an empty directory
    except OSError:  # something came meanwhile, or this system cannot exchange
        if not _exchange(staging, path):
            previous = staging.with_suffix(".previous.partial")
            path.rename(previous)
            staging.rename(path)
            previous.rename(staging)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step, so that neither is ever absent; False where the system cannot.

    Source: renameat2(2), Linux 3.15, glibc 2.28.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)
