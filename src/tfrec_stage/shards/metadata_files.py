"""Metadata files beside the shards of a build: `index.json`, `stats.json`, `classes.json` and `failures.jsonl`.

Nothing in them is a time, a host or a path of the machine: DVC hashes them with the shards.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tfrec_stage.files import atomic_writer, write_file
from tfrec_stage.format_versions import SHARD_FORMAT
from tfrec_stage.manifest.json_values import encode_line
from tfrec_stage.shards.metadata import ShardMetadata
from tfrec_stage.shards.statistics import Statistics

INDEX_NAME: Final = "index.json"
STATS_NAME: Final = "stats.json"
CLASSES_NAME: Final = "classes.json"
FAILURES_NAME: Final = "failures.jsonl"
METADATA_NAMES: Final = (INDEX_NAME, STATS_NAME, CLASSES_NAME, FAILURES_NAME)

_UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError, RecursionError)
"""What reading an index raises that is absent, is no JSON, lacks a key, has a value of another type or nests deeply."""


class ShardEntry(msgspec.Struct, frozen=True):
    """One shard in `index.json`."""

    name: str
    """Name of the file, in the same directory."""
    records: int
    """Number of records."""
    size_bytes: int
    """Length of the file."""
    crc32c: str
    """CRC32C of the file, eight hexadecimal digits."""
    fingerprint: str
    """Digest of everything that decides its bytes."""
    libraries: list[str] = msgspec.field(default_factory=list, name="made_by")
    """Libraries that re-encoded images or compressed the file, with versions, as others write other bytes; may be
    empty. The name in JSON stays: existing indexes have it."""


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class in `classes.json`."""

    label: int
    """Its number, from 0."""
    name: str
    """Its name, unique among all classes."""
    images: int
    """Number of images that have it as their class or have a box of it."""
    boxes: int
    """Number of boxes of it."""


def shard_entry(name: str, metadata: ShardMetadata) -> ShardEntry:
    """Return what the index says about a finished shard."""
    libraries = [library for library in (metadata.pixel_codec, metadata.compressor) if library]
    crc32c = f"{metadata.crc32c:08x}"
    return ShardEntry(name, metadata.records, metadata.size_bytes, crc32c, metadata.fingerprint, libraries)


def write_index(directory: Path, name: str, options: Mapping[str, Any], shards: Sequence[ShardEntry]) -> None:
    """Write `index.json`.

    Args:
        directory: where the shards are.
        name: name of the split.
        options: the output options, in their groups.
        shards: all shards in the order of their numbers.
    """
    index = {
        "format_version": SHARD_FORMAT,
        "name": name,
        "num_shards": len(shards),
        "records": sum(shard.records for shard in shards),
        "options": dict(options),
        "shards": msgspec.to_builtins(shards),
    }
    write_file(directory / INDEX_NAME, _pretty_json(index))


def write_stats(directory: Path, statistics: Statistics) -> None:
    """Write `stats.json`, which DVC shows as metrics.

    It has the totals only, as `dvc metrics show` prints a line for every number; counts by class are for plots.
    """
    write_file(directory / STATS_NAME, _pretty_json(statistics.totals()))


def write_classes(directory: Path, classes: Iterable[ClassCount]) -> None:
    """Write `classes.json`, which DVC plots: a list with one class per line."""
    lines = ",\n".join(f"  {json.dumps(asdict(each), ensure_ascii=False)}" for each in classes)
    write_file(directory / CLASSES_NAME, (f"[\n{lines}\n]\n" if lines else "[]\n").encode())


def write_failures(directory: Path, failures: Iterable[Mapping[str, Any]]) -> None:
    """Write `failures.jsonl`: the failed records, each with `error_msg` and `reason`; empty if none failed."""
    with atomic_writer(directory / FAILURES_NAME) as file:
        file.writelines(map(encode_line, failures))


def indexed_shards(directory: Path) -> dict[str, tuple[int, int]]:
    """Return number of records and size in bytes of each shard by name, from the index; empty if it is unreadable."""
    try:
        index = json.loads((directory / INDEX_NAME).read_bytes())
        return {entry["name"]: (int(entry["records"]), int(entry["size_bytes"])) for entry in index["shards"]}
    except _UNREADABLE:
        return {}


def indexed_profiles(directory: Path) -> list[str]:
    """Return the profiles of the build in a directory, from its index; empty if it is unreadable."""
    try:
        encode = json.loads((directory / INDEX_NAME).read_bytes())["options"]["encode"]
        # od_api_keys is an option of earlier versions for the same profile.
        return [*encode["profiles"], *(["od_api"] if encode["od_api_keys"] else [])]
    except _UNREADABLE:
        return []


def _pretty_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
