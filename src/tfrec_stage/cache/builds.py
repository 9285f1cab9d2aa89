"""Which builds a shard cache knows, and which shards they need: the folder `builds/` of its directory.

The files of one output directory begin with the same key, a digest of its path relative to the cache, so that a
workspace may be moved as a whole. What the path is stands in the build file and on the first line of each .wip file.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from tfrec_stage.cache.shard_cache import Build
from tfrec_stage.files import PARTIAL, lock_or_pass

STORE_FORMAT: Final = "v1"
BUILD: Final = ".json"
WIP: Final = ".wip"
SIDECAR: Final = ".jsonl"
_OUTPUT: Final = "# "
"""Begins the line of a .wip file that says where the output is."""
_SHARD_FILE: Final = re.compile(r"\.?[0-9a-f]{64}(\.jsonl)?(\.[0-9a-f]+)?(\.partial)?")
"""Names of files in `shards/`. Others are nobody's, and never removed: `store_dir` may name any directory."""


def relative_output(root: Path, output: Path) -> str:
    """Path of an output directory relative to a cache, as text that JSON can hold."""
    return quote(os.fsencode(os.path.relpath(output.resolve(), root.resolve())), safe="/ ")


def output_path(root: Path, relative: str) -> Path:
    """The output directory that `relative_output` was given."""
    return Path(os.path.normpath(root.resolve() / os.fsdecode(unquote_to_bytes(relative))))


def output_key(relative: str) -> str:
    """How the names of an output directory's files begin."""
    return sha256(unquote_to_bytes(relative)).hexdigest()[:16]


def read_build(path: Path) -> Build | None:
    """The newest build of an output directory; None where the file is absent or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Build)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def begin_wip(relative: str) -> bytes:
    """The first line of a .wip file."""
    return f"{_OUTPUT}{relative}\n".encode()


def wip_output(wip: Path) -> str | None:
    """Where the output of an unfinished build is, as `relative_output` has it; None where the file does not say."""
    with wip.open(errors="replace") as file:
        line = file.readline()
    return line.removeprefix(_OUTPUT).rstrip("\n") if line.startswith(_OUTPUT) else None


def needed_shards(files: Iterable[Path]) -> set[str]:
    """Fingerprints of the shards that files of `builds/` name.

    Raises:
        OSError: one cannot be read.
    """
    return {fingerprint for path in files for fingerprint in _fingerprints(path)}


def unneeded_files(shards: Path, needed: Collection[str]) -> Iterator[Path]:
    """Shards that no build needs with their sidecars, and what killed builds left half-written.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in shards.iterdir():
        if path.name.removesuffix(SIDECAR) not in needed and _SHARD_FILE.fullmatch(path.name):
            yield path


def remove_unneeded(root: Path) -> None:
    """Remove what no build needs any more; call it with the cache locked.

    Raises:
        OSError: it cannot be removed.
    """
    for path in list(unneeded_files(root / "shards", needed_shards((root / "builds").iterdir()))):
        path.unlink(missing_ok=True)
    for path in (root / "builds").glob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


def is_running(wip: Path) -> bool:
    """Whether the build that made this file still holds its lock."""
    try:
        with wip.open("rb") as file:
            return not lock_or_pass(file.fileno())
    except OSError:
        return True  # no locks here


def _fingerprints(path: Path) -> list[str]:
    if path.suffix == WIP:
        return [line for line in path.read_text(errors="replace").splitlines() if not line.startswith(_OUTPUT)]
    build = read_build(path) if path.suffix == BUILD else None
    return build.fingerprints if build else []
