"""Files and directories that appear whole or not at all.

Everything is written beside its place and renamed into it. An existing file is never opened for writing: under
hard links it may be an object of DVC's cache.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from tfrec_stage.errors import OutputError


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name only when the block ends well.

    Raises:
        OutputError: the directory cannot be made or written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
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


def _create(partial: Path, path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return partial.open("xb")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file, atomically."""
    with atomic_writer(path) as file:
        file.write(data)


@contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """An empty directory beside `path`, which takes its place when the block ends well.

    Until then the previous directory stays as it was; whatever goes wrong, the new one is removed.

    Raises:
        OutputError: the directory cannot be made or swapped.
    """
    staging = _make_beside(path)
    try:
        yield staging
        _swap(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _make_beside(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        staging.chmod(0o777 & ~_umask())  # mkdtemp's 0o700 would stay when the name becomes public
    except OSError as error:
        raise OutputError(f"cannot make {path}: {error.strerror or error}") from error
    return staging


def _swap(staging: Path, path: Path) -> None:
    previous = staging.with_suffix(".previous")
    try:
        if path.exists():
            path.rename(previous)
        staging.rename(path)
    except OSError as error:
        raise OutputError(f"cannot replace {path}: {error.strerror or error}") from error
    shutil.rmtree(previous, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
