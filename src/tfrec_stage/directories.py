"""Directories that are replaced whole or not at all."""

import ctypes
import fcntl
import glob
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tfrec_stage.errors import OutputError
from tfrec_stage.files import (
    PARTIAL,
    lock_or_pass,
    make_directories,
    open_directory,
    partial_path,
    sync_directory,
    write_error,
)

FindForeign = Callable[[Path], Collection[str]]
"""Names in a directory that are not ours to remove."""

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_ATTEMPTS: Final = 10
_NFS_REMAINDER: Final = ".nfs"
"""A client of NFS keeps a file that was removed while it was open under a name that begins so."""
_log = logging.getLogger(__name__)


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
def replaced_directory(path: Path, find_foreign: FindForeign = lambda _: ()) -> Iterator[Path]:
    """An empty directory beside `path`, which takes its place when the block ends well.

    Until then the previous directory stays as it was; whatever goes wrong, the new one is removed. What a killed
    process left beside `path` is removed on the way: a living one holds a lock on its own.

    Args:
        path: the directory to replace; it may be absent.
        find_foreign: tells what in the previous directory is not ours. The caller refuses to replace a directory that
            holds any; what comes between that look and the replacement is moved into the new directory.

    Raises:
        OutputError: the directory cannot be made or swapped.
    """
    if path.is_symlink() or path.name in {"", ".."}:
        path = path.resolve()  # a link stays, what it names is replaced
    staging, lock = _make_scratch(path)
    is_swapped = False
    try:
        yield staging
        sync_directory(staging)
        _swap(staging, path)
        is_swapped = True
        sync_directory(path.parent)
    finally:
        os.close(lock)
        if is_swapped:
            _remove_previous(staging, path, find_foreign)
        else:
            shutil.rmtree(staging, ignore_errors=True)


def _make_scratch(path: Path) -> tuple[Path, int]:
    """A new directory beside `path`, and the descriptor whose lock keeps it from being swept."""
    try:
        make_directories(path.parent)
        _sweep(path)
        while True:
            scratch = partial_path(path)
            scratch.mkdir()
            with suppress(FileNotFoundError):  # somebody swept it before it was locked
                return scratch, _open_locked(scratch)
    except OSError as error:
        raise OutputError(f"cannot make {path}: {error.strerror or error}") from error


def _open_locked(directory: Path) -> int:
    fd = open_directory(directory)
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
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(OSError):
            lock = open_directory(leftover)
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
            _replace_in_steps(staging, path)


def _replace_in_steps(staging: Path, path: Path) -> None:
    previous = staging.with_suffix(f".previous{PARTIAL}")
    path.rename(previous)
    try:
        staging.rename(path)
    except OSError:
        previous.rename(path)
        raise
    previous.rename(staging)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step, so that neither is ever absent; False where the system cannot.

    Source: renameat2(2), Linux 3.15, glibc 2.28.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)


def _remove_previous(previous: Path, path: Path, find_foreign: FindForeign) -> None:
    """Remove the directory that was replaced; what is not ours goes into the new one."""
    try:
        if previous.is_dir() and not previous.is_symlink():
            _remove_own(previous, find_foreign)
            _move_rest(previous, path)
        else:  # somebody had put a file or a link in the place of the directory
            _move(previous, path / path.name)
    except FileNotFoundError:  # absent at first, or swept by another build
        return
    except OSError as error:
        _log.warning("cannot remove the previous %s, which lies in %s (%s)", path, previous, error.strerror or error)


def _remove_own(directory: Path, find_foreign: FindForeign) -> None:
    entries = list(directory.iterdir())  # before the look: what comes later stays
    foreign = set(find_foreign(directory))
    for entry in entries:
        if entry.name in foreign:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _move_rest(directory: Path, target: Path) -> None:
    """Move all entries and remove the directory once it is empty: `rmtree` would also remove what comes meanwhile."""
    for _ in range(_ATTEMPTS):
        for entry in directory.iterdir():
            if not entry.name.startswith(_NFS_REMAINDER):
                _move(entry, target / entry.name)
        with suppress(OSError):  # something came
            directory.rmdir()
            return


def _move(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        target = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    source.rename(target)
    _log.warning("%s came while the directory was replaced: it is kept; move it away before the next build", target)
