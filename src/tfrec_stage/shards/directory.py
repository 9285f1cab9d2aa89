"""Names of shards, which of them a directory has, and which files in it are foreign."""

import os
import re
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import Final

from tfrec_stage.errors import OutputError, ShardError
from tfrec_stage.shards.metadata_files import METADATA_NAMES, indexed_shards

_SHARD_NAME: Final = re.compile(r"(?P<name>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})")


def shard_name(name: str, shard: int, num_shards: int) -> str:
    """Return the file name of a shard.

    >>> shard_name("train", 0, 10)
    'train-00000-of-00010'
    """
    return f"{name}-{shard:05d}-of-{num_shards:05d}"


def find_shards(directory_or_glob: str | Path) -> list[Path]:
    """Return shards in the order of their numbers.

    Args:
        directory_or_glob: a directory of `<name>-00000-of-00010` files, one of these files, or a pattern such as
            `data/shards/*/train-*`.

    Raises:
        ShardError: there is none, or a directory lacks some of its shards.
    """
    path = Path(directory_or_glob)
    if path.is_dir():
        return _complete_set(path)
    is_pattern = has_magic(str(path)) and not path.exists()  # the name of a file may look like a pattern
    found = [Path(each) for each in sorted(glob(str(path)))] if is_pattern else [path]  # noqa: PTH207
    files = [each for each in found if each.is_file()]
    # A pattern may match metadata files and exports, too. Without any file named like a shard all are taken, as other
    # writers name theirs as they like.
    shards = [each for each in files if _SHARD_NAME.fullmatch(each.name)] or files
    if not shards:
        raise ShardError(f"expected shards, but there is no file {path}; name a directory of shards, or a pattern")
    return shards


def shard_sets(directory: Path) -> dict[tuple[str, int], dict[int, Path]]:
    """Return the shards of a directory by number, for each name and number of shards that their file names have."""
    sets: dict[tuple[str, int], dict[int, Path]] = {}
    for path in sorted(directory.iterdir()):
        if match := _SHARD_NAME.fullmatch(path.name):
            sets.setdefault((match["name"], int(match["count"])), {})[int(match["number"])] = path
    return sets


def find_foreign_files(directory: Path, name: str, exports: Iterable[str] = ()) -> list[str]:
    """Return the names in a directory that belong to no build of a split, sorted; a folder never belongs to one.

    Args:
        directory: the output directory of a build.
        name: name of the split.
        exports: regular expressions for the names of exported files.

    Raises:
        OSError: the directory cannot be read.
    """
    own = [rf"{re.escape(name)}-\d{{5,}}-of-\d{{5,}}", *map(re.escape, METADATA_NAMES), *exports]
    own_name = re.compile("|".join(own))
    with os.scandir(directory) as entries:
        return sorted(
            entry.name for entry in entries if not own_name.fullmatch(entry.name) or entry.is_dir(follow_symlinks=False)
        )


def refuse_foreign_files(directory: Path, name: str, exports: Iterable[str] = ()) -> None:
    """Check that a directory is absent or holds nothing but an earlier build of the same name, which may be replaced.

    Args:
        directory: the output directory of a build.
        name: name of the split.
        exports: regular expressions for the names of exported files.

    Raises:
        OutputError: it holds foreign files, is no directory, or cannot be read.
    """
    try:
        foreign = find_foreign_files(directory, name, exports)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise OutputError(
            f"expected {directory} to be a directory or absent, but it is a file; name another output_dir"
        ) from None
    except OSError as error:
        raise OutputError(f"cannot read {directory}: {error.strerror}; name another output_dir") from error
    if foreign:
        shown = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
        raise OutputError(
            f"expected {directory} to hold shards of {name!r} alone, since it is replaced as a whole, "
            f"but it holds {shown}; move them away, or name another output_dir (each split has its own)"
        )


def _complete_set(directory: Path) -> list[Path]:
    """Return all shards of a directory, which has to have one set of them, complete and of the indexed sizes."""
    sets = shard_sets(directory)
    if not sets:
        raise ShardError(f"expected shards such as train-00000-of-00010 in {directory}, but there is none")
    if len(sets) > 1:
        shown = ", ".join(f"{name} of {count}" for name, count in sets)
        raise ShardError(f"expected one set of shards in {directory}, but got {shown}; name one with a pattern")
    (((_, count), shards),) = sets.items()
    absent = [number for number in range(count) if number not in shards]
    if absent:
        raise ShardError(
            f"expected {count} shards in {directory}, but {len(absent)} are missing, the first of them number "
            f"{absent[0]}; build again, or pull what is missing"
        )
    _check_sizes(directory, shards.values())
    return [shards[number] for number in sorted(shards)]


def _check_sizes(directory: Path, shards: Iterable[Path]) -> None:
    # A file that was cut between two records reads like a complete shard. Only the index shows that some are missing.
    indexed = indexed_shards(directory)
    for path in shards:
        size = path.stat().st_size
        _, expected = indexed.get(path.name, (0, size))
        if expected != size:
            raise ShardError(
                f"expected {expected} bytes in the shard {path}, as the index says, but it has {size}; "
                "build it again, pull it again, or run stage=verify"
            )
