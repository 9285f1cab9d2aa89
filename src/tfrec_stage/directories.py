"""Replace whole directories atomically."""

import ctypes
import glob
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tfrec_stage.errors import OutputError
from tfrec_stage.files import (
    PARTIAL,
    lock_or_pass,
    locked_directory,
    make_directories,
    open_directory,
    partial_path,
    sync_directory,
    write_error,
)

FindForeign = Callable[[Path], Collection[str]]
"""Return the names in a directory that must not be removed."""

# Constants of fcntl.h and linux/fs.h, which Python does not have.
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_ATTEMPTS: Final = 10
"""How often `_move_rest` looks for entries that appeared."""
_NFS_REMAINDER: Final = ".nfs"
"""Prefix of the names under which an NFS client keeps files that were removed while they were open."""
_log = logging.getLogger(__name__)


@contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """Create a directory for temporary files, which is removed when the block ends.

    Raises:
        OutputError: it cannot be created.
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
    """Create an empty directory beside `path`, which replaces it when the block succeeds.

    Until then the previous directory is unchanged; if anything goes wrong, the new one is removed. Directories that
    killed processes left beside `path` are removed as well; a running process holds a lock on its own.

    Args:
        path: the directory to replace; it may be missing.
        find_foreign: finds entries of the previous directory that must not be removed. The caller refuses to replace a
            directory with such entries; those that appear after its check are moved into the new directory.

    Raises:
        OutputError: the directory cannot be created or swapped.
    """
    if path.is_symlink() or path.name in {"", ".."}:
        path = path.resolve()  # a symbolic link is kept, and its target replaced
    with ExitStack() as locks:
        # Held after the swap, too: a sweep that opened the new directory before it, and locks it after it, would remove
        # what has the temporary name by then.
        staging = _create_staging(path, locks)
        is_swapped = False
        try:
            yield staging
            # First the names in the directory, then its own: after a power failure it could otherwise be found empty.
            sync_directory(staging)
            _lock_previous(path, locks)
            _swap(staging, path)
            # From here on the previous directory has the temporary name, whatever else goes wrong.
            is_swapped = True
            sync_directory(path.parent)
        finally:
            if is_swapped:
                _remove_previous(staging, path, find_foreign)
            else:
                shutil.rmtree(staging, ignore_errors=True)


def _create_staging(path: Path, locks: ExitStack) -> Path:
    """Create a directory beside `path`, and lock it against `_sweep` of other processes."""
    try:
        make_directories(path.parent)
        _sweep(path)
        while True:
            staging = partial_path(path)
            # Not tempfile.mkdtemp: its directories are for the user alone, and this one becomes the output directory.
            staging.mkdir()
            with suppress(FileNotFoundError):  # another process swept it before it was locked: try again
                locks.enter_context(_locked(staging))
                return staging
    except OSError as error:
        raise OutputError(f"cannot make {path}: {error.strerror or error}") from error


def _lock_previous(path: Path, locks: ExitStack) -> None:
    """Lock the directory that will be replaced: under its temporary name it must not be swept with what it holds.

    The lock also makes another build of the same directory wait until this one has moved the last foreign entry.
    """
    while path.is_dir():
        try:
            locks.enter_context(_locked(path))
        except FileNotFoundError:  # another build replaced it before it was locked: lock what is there now
            continue
        except OSError:  # it cannot be opened; the sweep could not do that either
            return
        return


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock a directory; raise FileNotFoundError if it has lost its name by then."""
    with locked_directory(directory) as fd:
        # While we waited for the lock its holder may have removed or renamed the directory.
        if not os.path.samestat(os.fstat(fd), directory.stat()):
            raise FileNotFoundError(directory)
        yield


def _sweep(path: Path) -> None:
    """Remove what killed processes left: directories that nobody holds a lock on."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
        with suppress(OSError):
            lock = open_directory(leftover)
            try:
                # Remove it while the lock is held: its owner may be about to lock it, and then sees that it is gone.
                if lock_or_pass(lock):
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


def _swap(staging: Path, path: Path) -> None:
    """Rename `staging` to `path`; an existing directory gets the name of `staging`."""
    try:
        # Exchange first: in a rebuild the directory exists, and a rename would fail. In a first build the exchange
        # fails and changes nothing.
        if not _exchange(staging, path):
            _rename_or_exchange(staging, path)
    except OSError as error:
        raise OutputError(f"cannot replace {path}: {error.strerror or error}") from error


def _rename_or_exchange(staging: Path, path: Path) -> None:
    try:
        staging.rename(path)  # succeeds if nothing is there, or an empty directory
    except OSError:  # something appeared in the meantime, or this system cannot exchange
        if not _exchange(staging, path):
            _replace_in_steps(staging, path)


def _replace_in_steps(staging: Path, path: Path) -> None:
    # For a moment neither directory has the name: not every system can exchange two names.
    previous = staging.with_suffix(f".previous{PARTIAL}")
    path.rename(previous)
    try:
        staging.rename(path)
    except OSError:
        previous.rename(path)
        raise
    previous.rename(staging)  # as after an exchange: the caller finds the previous directory under the name of staging


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step, so that neither is ever missing; return False if the system cannot do that.

    Source: renameat2(2), Linux 3.15, glibc 2.28.
    """
    # By ctypes: Python has no function for it. The C library of macOS has none either.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)


def _remove_previous(previous: Path, path: Path, find_foreign: FindForeign) -> None:
    """Remove the directory that was replaced, after moving foreign entries into the new one."""
    if not os.path.lexists(previous):  # there was none
        return
    try:
        if previous.is_dir() and not previous.is_symlink():
            # Not rmtree, which would also remove what appears while it runs (ADR 7).
            _remove_own(previous, find_foreign)
            _move_rest(previous, path)
        else:  # the directory had been replaced by a file or a link
            _move(previous, path / path.name)
    except OSError as error:
        _log.warning("cannot remove the previous %s, which lies in %s (%s)", path, previous, error.strerror or error)


def _remove_own(directory: Path, find_foreign: FindForeign) -> None:
    # Before find_foreign looks: an entry that appears later is not in this list, and is kept.
    entries = list(directory.iterdir())
    foreign = set(find_foreign(directory))
    for entry in entries:
        if entry.name in foreign:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _move_rest(directory: Path, target: Path) -> None:
    """Move all entries, and remove the directory once it is empty."""
    for _ in range(_ATTEMPTS):
        for entry in directory.iterdir():
            # The NFS client removes these itself when they are closed; until then the directory stays.
            if not entry.name.startswith(_NFS_REMAINDER):
                _move(entry, target / entry.name)
        with suppress(OSError):  # not empty: something appeared
            directory.rmdir()
            return


def _move(source: Path, target: Path) -> None:
    if os.path.lexists(target):  # unlike exists, true for a link that leads nowhere
        target = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    source.rename(target)
    _log.warning("%s appeared while the directory was replaced: it is kept; move it away before the next build", target)
