"""Which builds a shard cache knows, and which shards they need: the files in its folder `builds/`.

The names of all files of one output directory begin with the same key, a digest of its path relative to the cache, so
that a workspace may be moved as a whole. The path itself is in the build file and on the first line of each .wip file.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from tfrec_stage.cache.shard_cache import CachedBuild
from tfrec_stage.files import PARTIAL, lock_or_pass

CACHE_FORMAT: Final = "v1"
"""Name of the folder in the cache's directory; another format of files needs another name."""
BUILD: Final = ".json"
"""Suffix of a build file: a `CachedBuild`."""
WIP: Final = ".wip"
"""Suffix of a lease: the fingerprints that a running or killed build uses."""
SIDECAR: Final = ".jsonl"
"""Suffix of the file beside a cached shard."""
_OUTPUT: Final = "# "
"""Begins the line of a .wip file that names the output directory."""
_SHARD_FILE: Final = re.compile(r"\.?[0-9a-f]{64}(\.jsonl)?(\.[0-9a-f]+)?(\.partial)?")
"""Names of our files in `shards/`. Other files are never removed, since `store_dir` may name any directory."""


def relative_output(root: Path, output: Path) -> str:
    """Return the path of an output directory relative to a cache, as text that JSON can hold."""
    return quote(os.fsencode(os.path.relpath(output.resolve(), root.resolve())), safe="/ ")


def output_path(root: Path, relative: str) -> Path:
    """Return the output directory that was given to `relative_output`."""
    return Path(os.path.normpath(root.resolve() / os.fsdecode(unquote_to_bytes(relative))))


def output_key(relative: str) -> str:
    """Return what the names of an output directory's files begin with."""
    return sha256(unquote_to_bytes(relative)).hexdigest()[:16]


def read_build(path: Path) -> CachedBuild | None:
    """Read a build file; None if it is missing or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=CachedBuild)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def begin_wip(relative: str) -> bytes:
    """Return the first line of a .wip file."""
    return f"{_OUTPUT}{relative}\n".encode()


def wip_output(wip: Path) -> str | None:
    """Return the output directory of an unfinished build, as `relative_output` gave it; None if it is not recorded."""
    with wip.open(errors="replace") as file:
        line = file.readline()
    return line.removeprefix(_OUTPUT).rstrip("\n") if line.startswith(_OUTPUT) else None


def needed_shards(files: Iterable[Path]) -> set[str]:
    """Return the fingerprints that these files of `builds/` name.

    Raises:
        OSError: one cannot be read.
    """
    return {fingerprint for path in files for fingerprint in _fingerprints(path)}


def unneeded_files(shards: Path, needed: Collection[str]) -> Iterator[Path]:
    """Find the shards that no build needs, their sidecars, and files that killed builds left half-written.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in shards.iterdir():
        if path.name.removesuffix(SIDECAR) not in needed and _SHARD_FILE.fullmatch(path.name):
            yield path


def remove_unneeded(root: Path) -> None:
    """Remove what no build needs any more. The caller holds the lock of the cache, so that no build adds a shard now.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in list(unneeded_files(root / "shards", needed_shards((root / "builds").iterdir()))):
        path.unlink(missing_ok=True)
    for path in (root / "builds").glob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


def is_running(wip: Path) -> bool:
    """Return whether the build that created this file still runs: it holds a lock on it until its process ends."""
    try:
        with wip.open("rb") as file:
            return not lock_or_pass(file.fileno())
    except OSError:
        return True  # files cannot be locked here: assume the safe side


def _fingerprints(path: Path) -> list[str]:
    if path.suffix == WIP:
        return [line for line in path.read_text(errors="replace").splitlines() if not line.startswith(_OUTPUT)]
    build = read_build(path) if path.suffix == BUILD else None
    return build.fingerprints if build else []
