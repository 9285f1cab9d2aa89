"""The metadata of a build: `index.json`, `stats.json`, `classes.json` and `failures.jsonl` beside the shards.

Nothing in them names a time, a host or a path of the machine: DVC hashes them with the shards.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tfrec_stage.errors import OutputError
from tfrec_stage.files import atomic_writer, write_file
from tfrec_stage.format_versions import SHARD_FORMAT
from tfrec_stage.manifest.json_values import encode_line
from tfrec_stage.shards.metadata import ShardMetadata
from tfrec_stage.shards.statistics import Statistics

INDEX_NAME: Final = "index.json"
STATS_NAME: Final = "stats.json"
CLASSES_NAME: Final = "classes.json"
FAILURES_NAME: Final = "failures.jsonl"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard as the index knows it."""

    name: str
    """Name of the file, in the same directory."""
    records: int
    """Number of records."""
    size_bytes: int
    """Length of the file."""
    crc32c: str
    """CRC32C of the file, eight hexadecimal digits."""
    fingerprint: str
    """Digest of everything that decided its bytes."""
    made_by: list[str] = field(default_factory=list)
    """What encoded pixels anew and what compressed the file, with versions; empty where nothing did."""


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class as `classes.json` counts it."""

    label: int
    """Its number, from 0."""
    name: str
    """Its name, which no other class has."""
    images: int
    """Images that have it as their class, or have a box of it."""
    boxes: int
    """Boxes of it."""


def shard_name(name: str, shard: int, num_shards: int) -> str:
    """File name of a shard.

    >>> shard_name("train", 0, 10)
    'train-00000-of-00010'
    """
    return f"{name}-{shard:05d}-of-{num_shards:05d}"


def shard_entry(name: str, metadata: ShardMetadata) -> ShardEntry:
    """What the index keeps of a finished shard."""
    made_by = [library for library in (metadata.pixel_codec, metadata.compressor) if library]
    return ShardEntry(
        name, metadata.records, metadata.size_bytes, f"{metadata.crc32c:08x}", metadata.fingerprint, made_by
    )


def write_index(directory: Path, name: str, options: Mapping[str, Any], shards: Sequence[ShardEntry]) -> None:
    """Write `index.json`."""
    index = {
        "format_version": SHARD_FORMAT,
        "name": name,
        "num_shards": len(shards),
        "records": sum(shard.records for shard in shards),
        "options": dict(options),
        "shards": [asdict(shard) for shard in shards],
    }
    write_file(directory / INDEX_NAME, _pretty_json(index))


def write_stats(directory: Path, statistics: Statistics) -> None:
    """Write `stats.json`, which DVC shows as metrics.

    Totals alone, for `dvc metrics show` has a line for every number; counts by class are for plots.
    """
    write_file(directory / STATS_NAME, _pretty_json(statistics.totals()))


def write_classes(directory: Path, classes: Iterable[ClassCount]) -> None:
    """Write `classes.json`, which DVC plots: a list of classes, one a line."""
    lines = ",\n".join(f"  {json.dumps(asdict(each), ensure_ascii=False)}" for each in classes)
    write_file(directory / CLASSES_NAME, (f"[\n{lines}\n]\n" if lines else "[]\n").encode())


def write_failures(directory: Path, failures: Iterable[Mapping[str, Any]]) -> None:
    """Write `failures.jsonl`: the records as given, each with `error_msg` and `reason`; empty if none failed."""
    with atomic_writer(directory / FAILURES_NAME) as file:
        file.writelines(map(encode_line, failures))


def stated_shards(directory: Path) -> dict[str, tuple[int, int]]:
    """Records and size in bytes of each shard by its name, as the index tells; nothing where none can be read."""
    try:
        index = json.loads((directory / INDEX_NAME).read_bytes())
        return {entry["name"]: (int(entry["records"]), int(entry["size_bytes"])) for entry in index["shards"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def stated_profiles(directory: Path) -> list[str]:
    """Profiles of the build that lies there, as its index tells: their files are ours, those of others are not."""
    try:
        encode = json.loads((directory / INDEX_NAME).read_bytes())["options"]["encode"]
        return [*encode["profiles"], *(["od_api"] if encode["od_api_keys"] else [])]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def find_foreign_files(directory: Path, name: str, also: Iterable[str] = ()) -> list[str]:
    """Names in a directory that are not those of a build, in their order; a folder is never ours.

    Args:
        directory: that of a build.
        name: the split's.
        also: regular expressions for further files that a build writes.

    Raises:
        OSError: the directory cannot be read.
    """
    beside = (INDEX_NAME, STATS_NAME, CLASSES_NAME, FAILURES_NAME)
    own = [rf"{re.escape(name)}-\d{{5,}}-of-\d{{5,}}", *map(re.escape, beside)]
    ours = re.compile("|".join([*own, *also]))
    with os.scandir(directory) as entries:
        return sorted(
            entry.name for entry in entries if not ours.fullmatch(entry.name) or entry.is_dir(follow_symlinks=False)
        )


def refuse_foreign_files(directory: Path, name: str, also: Iterable[str] = ()) -> None:
    """See to it that a directory holds nothing but an earlier build of the same name, which may be replaced.

    Args:
        directory: where a build is about to go.
        name: the split's.
        also: regular expressions for further files that a build writes.

    Raises:
        OutputError: it holds something else, is no directory, or cannot be read.
    """
    try:
        foreign = find_foreign_files(directory, name, also)
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


def _pretty_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
