"""Whether output can go where it is asked to go, told before anything is read or written."""

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tfrec_stage.errors import ConfigError, OutputError
from tfrec_stage.files import partial_path
from tfrec_stage.options import show

SHOWN: Final = 40
"""So many letters of a name that is too long are shown."""


def parse_path(option: str, value: object) -> Path:
    """The path that an option holds.

    Raises:
        ConfigError: it is no path, empty, or one that no system can take.
    """
    try:
        text = os.fsdecode(value)  # type: ignore[arg-type]  # what is no path raises TypeError
        os.fsencode(text)
    except (TypeError, UnicodeError):
        raise ConfigError(f"{option}: expected a path, but got {show(value)}") from None
    if not text or "\0" in text:
        raise ConfigError(f"{option}: expected a path{' without NUL' if text else ''}, but got {show(text)}")
    return Path(text)


def refuse_unwritable_file(option: str, path: Path) -> None:
    """See to it that a file can be written there, as far as names tell.

    Raises:
        OutputError: a directory is there, a file is in the way of its directories, or a name is too long.
    """
    if os.path.isdir(path):  # noqa: PTH112 - raises nothing, whatever the name
        raise OutputError(f"{option}: expected a file or nothing there, but {path} is a directory")
    refuse_impossible_names(option, path.parent, [partial_path(path).name])


def refuse_unreplaceable_directory(option: str, path: Path, names: Iterable[str]) -> None:
    """See to it that a directory can be made or replaced, and have entries of these names, as far as names tell.

    Raises:
        OutputError: a file is in the way, a name is too long, or the directory is where a file system is mounted.
    """
    resolved = resolve(path)
    refuse_impossible_names(option, resolved.parent, [partial_path(resolved).name])
    if os.path.isfile(resolved):  # noqa: PTH113 - as above
        raise OutputError(f"{option}: expected {path} to be a directory or absent, but it is a file; name another")
    refuse_impossible_names(option, resolved, names)
    if os.path.ismount(resolved):
        raise OutputError(
            f"{option}: expected a directory that can be replaced, but a file system is mounted at {path}; "
            "name a directory in it"
        )


def refuse_impossible_names(option: str, directory: Path, names: Iterable[str]) -> None:
    """See to it that a directory can be made, and have entries of these names.

    Raises:
        OutputError: a file is in the way, or the file system takes no name that long.
    """
    existing, missing = _split_existing(directory)
    if not existing.is_dir():
        raise OutputError(f"{option}: expected a path through directories, but {existing} is none")
    for name in [*missing, *names]:
        _refuse_long(option, existing / name)
        _refuse_long(option, directory / name)


def refuse_overlap(option: str, path: Path, others: Mapping[str, Path]) -> None:
    """See to it that a directory is none of others, and holds none of them.

    Args:
        option: what the directory is for.
        path: the directory; it may be absent.
        others: directories that must stay as they are, by what they are for.

    Raises:
        ConfigError: it is or holds one of them.
    """
    for name, other in others.items():
        if is_or_holds(path, other):
            relation = "is" if resolve(path) == resolve(other) else "holds"
            raise ConfigError(
                f"{option}: expected a directory of its own, but {str(path)!r} {relation} {name}; name another"
            )


def refuse_inside(option: str, path: Path, others: Mapping[str, Path]) -> None:
    """See to it that a path lies in none of these directories.

    Raises:
        ConfigError: it does.
    """
    resolved = resolve(path)
    for name, other in others.items():
        if resolve(other) in resolved.parents:
            raise ConfigError(f"{option}: expected a path outside {name}, but {str(path)!r} lies in it; name another")


def refuse_same(option: str, path: Path, others: Mapping[str, Path]) -> None:
    """See to it that a file is none that is read.

    Raises:
        ConfigError: it is.
    """
    for name, other in others.items():
        if resolve(path) == resolve(other):
            raise ConfigError(f"{option}: expected a file of its own, but {str(path)!r} is {name}; name another")


def is_or_holds(path: Path, other: Path) -> bool:
    """Whether two paths name one place, or the second one in the first."""
    return resolve(path) in {resolve(other), *resolve(other).parents}


def resolve(path: Path) -> Path:
    """The path without links and dots; unlike `Path.resolve` it raises nothing for links that go in a circle."""
    return Path(os.path.realpath(path))


def _split_existing(directory: Path) -> tuple[Path, list[str]]:
    """The part of a path that is there, and the names that are missing."""
    existing, missing = resolve(directory), []
    while not os.path.lexists(existing):
        missing.append(existing.name)
        existing = existing.parent
    return existing, missing


def _refuse_long(option: str, path: Path) -> None:
    """Ask the file system, for each has limits of its own."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            shown = f"{path.name[:SHOWN]}…" if len(path.name) > SHOWN else str(path)[: 2 * SHOWN]
            raise OutputError(f"{option}: the file system takes no name that is as long as {shown!r}") from None
