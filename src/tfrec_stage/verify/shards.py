"""Find the files to verify and what index.json states about them; report missing and surplus files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from tfrec_stage.build.fingerprint import options_as_dict
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.errors import ShardError, TfrecStageError
from tfrec_stage.format_versions import SHARD_FORMAT
from tfrec_stage.shards.directory import find_shards, shard_sets
from tfrec_stage.shards.metadata_files import INDEX_NAME, ShardEntry
from tfrec_stage.verify.findings import Findings

JSON_ERRORS: Final = (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading a damaged JSON file may raise; RecursionError if it is nested too deep."""
NEEDS_DIRECTORY: Final = "output_dir names files and not a directory, so that they may be some of the shards"
"""Why checks are skipped that need all shards of a split."""


@dataclass(frozen=True, slots=True)
class Index:
    """The content of `index.json`."""

    format_version: int
    name: str
    num_shards: int
    records: int
    options: dict[str, Any]
    shards: list[ShardEntry]


@dataclass(frozen=True, slots=True)
class Shard:
    """One file to verify."""

    name: str
    """Its name in findings: the path relative to the directory of the shards."""
    path: Path
    entry: ShardEntry | None
    """Its entry in the index, if there is one."""


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The files of a split."""

    shards: tuple[Shard, ...]
    """In the order of their numbers."""
    directory: Path | None
    """The directory that has all of them. None if files were named: there may be more shards than these."""
    index: Index | None
    """The content of `index.json`; None if it is missing or damaged."""
    output_options: OutputOptions | None
    """The options in the index; None if there are none that this program can parse."""
    options_problem: str | None = None
    """Why the options in the index cannot be used to encode records again."""


def find_shard_set(directory_or_glob: str, findings: Findings) -> ShardSet:
    """Find the shards of a directory or a pattern; problems with their names and their index are reported.

    Raises:
        ShardError: there is no shard, or a directory has several sets.
    """
    directory = Path(directory_or_glob)
    if not directory.is_dir():
        paths = find_shards(directory_or_glob)
        names = _relative_names(paths)
        shards = (Shard(name, path, None) for name, path in zip(names, paths, strict=True))
        return ShardSet(tuple(shards), None, None, None)
    index = _read_index(directory / INDEX_NAME, findings)
    (name, count), numbered = _choose_set(directory, index)
    _check_numbers(name, count, numbered, findings)
    _check_surplus(directory, set(numbered.values()), findings)
    entries = index.shards if index else []
    if index:
        _check_index(index, name, count, numbered, findings)
    shards = (
        Shard(path.name, path, entries[number] if number < len(entries) else None)
        for number, path in sorted(numbered.items())
        if number < count
    )
    output_options, problem = _parse_options(index.options) if index else (None, None)
    if problem:
        findings.add("index_invalid", INDEX_NAME, problem)
    return ShardSet(tuple(shards), directory, index, output_options, problem)


def _relative_names(paths: Sequence[Path]) -> list[str]:
    """Return paths relative to their common directory, so that no report names a path of the machine."""
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - links are not followed
    shared = os.path.commonpath([path.parent for path in absolute])
    return [str(path.relative_to(shared)) for path in absolute]


def _read_index(path: Path, findings: Findings) -> Index | None:
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Index)
    except JSON_ERRORS as error:
        findings.add("index_invalid", INDEX_NAME, f"expected an index, but: {error}")
        return None


def _parse_options(options: Mapping[str, Any]) -> tuple[OutputOptions | None, str | None]:
    """Return the options of an index, and what is wrong with them."""
    try:
        output_options = msgspec.convert(options, OutputOptions)
    except (msgspec.ValidationError, TfrecStageError) as error:
        return None, f"options: expected those of a build, but: {error}"
    # msgspec ignores unknown options. A build with one may have encoded records in a way this program does not know.
    if not _are_known(options, options_as_dict(output_options)):
        return output_options, "options: expected options of a build and no others"
    return output_options, None


def _are_known(stated: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Return whether an index states only known options. Options that are newer than the shards may be missing."""
    has_all_groups = stated.keys() == known.keys()
    return has_all_groups and all(stated[group].items() <= known[group].items() for group in known)


def _choose_set(directory: Path, index: Index | None) -> tuple[tuple[str, int], Mapping[int, Path]]:
    """Return name and count of the set of shards to verify, and its files by number."""
    sets = shard_sets(directory)
    if not sets:
        if index:  # all shards are missing
            return (index.name, len(index.shards)), {}
        raise ShardError(f"expected shards such as train-00000-of-00010 in {directory}, but there is none")
    # A damaged index may contradict itself about the count; either number may be the right one.
    known = {(index.name, len(index.shards)), (index.name, index.num_shards)} if index else set()
    chosen = [names for names in sets if names in known] or list(sets)
    if len(chosen) > 1:
        shown = ", ".join(f"{name} of {count}" for name, count in chosen)
        raise ShardError(f"expected one set of shards in {directory}, but got {shown}; name one with a pattern")
    return chosen[0], sets[chosen[0]]


def _check_numbers(name: str, count: int, numbered: Mapping[int, Path], findings: Findings) -> None:
    # Files are named `<name>-<number>-of-<count>`, so their names show which are missing, also without an index.
    for number in range(count):
        if number not in numbered:
            findings.add("shard_missing", f"{name}-{number:05d}-of-{count:05d}", "there is no such file")
    for number, path in sorted(numbered.items()):
        if number >= count:
            message = f"expected numbers below {count}, but got {number}; it is not read"
            findings.add("shard_surplus", path.name, message)


def _check_surplus(directory: Path, chosen: set[Path], findings: Findings) -> None:
    for numbered in shard_sets(directory).values():
        for path in numbered.values():
            if path not in chosen:
                findings.add("shard_surplus", path.name, f"{INDEX_NAME} does not know it; it is not read")


def _check_index(index: Index, name: str, count: int, numbered: Mapping[int, Path], findings: Findings) -> None:
    """Check that the index is consistent with itself and with the names of files."""
    entries = index.shards
    names = {number: path.name for number, path in numbered.items()}
    facts: list[tuple[str, object, object]] = [
        ("format_version", SHARD_FORMAT, index.format_version),
        ("name", name, index.name),
        ("num_shards", count, index.num_shards),
        ("shards", f"{count} entries", f"{len(entries)} entries"),
        ("num_shards above 0", True, index.num_shards > 0),
        ("records", sum(entry.records for entry in entries), index.records),
    ]
    facts += [
        (f"shards[{number}].name", names[number], entry.name) for number, entry in enumerate(entries) if number in names
    ]
    for key, expected, got in facts:
        if expected != got:
            findings.add("index_invalid", INDEX_NAME, f"{key}: expected {expected}, but got {got}")
