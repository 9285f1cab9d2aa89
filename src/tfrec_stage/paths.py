"""Check paths of options before anything is read or written."""

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tfrec_stage.errors import ConfigError, OutputError
from tfrec_stage.files import partial_path
from tfrec_stage.options import show

_SHOWN: Final = 40
"""How many characters of a name that is too long are shown."""


def parse_path(option: str, value: object) -> Path:
    """Parse the path of an option.

    Raises:
        ConfigError: it is not a path, is empty, or cannot exist on any system.
    """
    try:
        text = os.fsdecode(value)  # type: ignore[arg-type]  # raises TypeError for what is not a path
        os.fsencode(text)
    except (TypeError, UnicodeError):
        raise ConfigError(f"{option}: expected a path, but got {show(value)}") from None
    if not text or "\0" in text:
        raise ConfigError(f"{option}: expected a path{' without NUL' if text else ''}, but got {show(text)}")
    return Path(text)


def refuse_unwritable_file(option: str, path: Path) -> None:
    """Refuse a path where no file can be written, as far as names show it.

    Raises:
        OutputError: it is a directory, one of its parents is a file, or a name is too long.
    """
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        raise OutputError(f"{option}: expected a file or nothing there, but {path} is a directory")
    # It is first written under its temporary name, which is longer than its own.
    refuse_impossible_names(option, path.parent, [partial_path(path).name])


def refuse_unreplaceable_directory(option: str, path: Path, names: Iterable[str]) -> None:
    """Refuse a directory that cannot be created or replaced with entries of these names, as far as names show it.

    Raises:
        OutputError: a file is in the way, a name is too long, or a file system is mounted there.
    """
    resolved = resolve(path)
    refuse_impossible_names(option, resolved.parent, [partial_path(resolved).name])
    if os.path.isfile(resolved):  # noqa: PTH113 - as above
        raise OutputError(f"{option}: expected {path} to be a directory or absent, but it is a file; name another")
    refuse_impossible_names(option, resolved, names)
    if os.path.ismount(resolved):  # rename(2) cannot replace a mount point
        raise OutputError(
            f"{option}: expected a directory that can be replaced, but a file system is mounted at {path}; "
            "name a directory in it"
        )


def refuse_impossible_names(option: str, directory: Path, names: Iterable[str]) -> None:
    """Refuse a directory that cannot be created with entries of these names.

    Raises:
        OutputError: a file is in the way, or a name is too long for the file system.
    """
    existing, missing = _split_existing(directory)
    if not existing.is_dir():
        raise OutputError(f"{option}: expected a path below directories, but {existing} is not a directory")
    for name in [*missing, *names]:
        _refuse_long(option, existing / name)  # a name that is too long for this file system
        _refuse_long(option, directory / name)  # a path that is too long as a whole, as it will be used


def refuse_overlap(option: str, path: Path, others: Mapping[str, Path]) -> None:
    """Refuse a directory that is one of the others, or contains one.

    Args:
        option: what the directory is for.
        path: the directory; it may be missing.
        others: directories that must not be replaced, by what they are for.

    Raises:
        ConfigError: it is or contains one of them.
    """
    for name, other in others.items():
        if is_or_holds(path, other):
            relation = "is" if resolve(path) == resolve(other) else "holds"
            raise ConfigError(
                f"{option}: expected a directory of its own, but {str(path)!r} {relation} {name}; name another"
            )


def refuse_inside(option: str, path: Path, others: Mapping[str, Path]) -> None:
    """Refuse a path inside any of these directories.

    Raises:
        ConfigError: it is inside one.
    """
    resolved = resolve(path)
    for name, other in others.items():
        if resolve(other) in resolved.parents:
            raise ConfigError(f"{option}: expected a path outside {name}, but {str(path)!r} lies in it; name another")


def refuse_same(option: str, path: Path, others: Mapping[str, Path]) -> None:
    """Refuse to write to a file that is read.

    Raises:
        ConfigError: it is one of the others.
    """
    for name, other in others.items():
        if resolve(path) == resolve(other):
            raise ConfigError(f"{option}: expected a file of its own, but {str(path)!r} is {name}; name another")


def is_or_holds(path: Path, other: Path) -> bool:
    """Return whether two paths are the same place, or the second is inside the first."""
    return resolve(path) in {resolve(other), *resolve(other).parents}


def resolve(path: Path) -> Path:
    """Resolve symbolic links and dots; unlike `Path.resolve` it does not raise for links in a circle."""
    return Path(os.path.realpath(path))


def _split_existing(directory: Path) -> tuple[Path, list[str]]:
    """Split a path into the part that exists, and the names that are missing."""
    existing, missing = resolve(directory), []
    while not os.path.lexists(existing):  # lexists: a link in a circle is there, and in the way
        missing.append(existing.name)
        existing = existing.parent
    return existing, missing


def _refuse_long(option: str, path: Path) -> None:
    """Refuse a path that the file system cannot store; it is asked, since each has its own limits."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            shown = f"{path.name[:_SHOWN]}…" if len(path.name) > _SHOWN else str(path)[: 2 * _SHOWN]
            raise OutputError(f"{option}: the file system cannot store a name as long as {shown!r}") from None
