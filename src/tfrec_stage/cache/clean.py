"""Drop from a shard cache what no output directory needs any more.

Not done by a build: DVC removes the output of a stage before it runs it, and other outputs are absent while another
revision is checked out. Their builds look abandoned then, and are needed by the next `dvc repro`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from tfrec_stage.cache.builds import (
    BUILD,
    SIDECAR,
    STORE_FORMAT,
    WIP,
    is_running,
    needed_shards,
    output_path,
    read_build,
    remove_unneeded,
    unneeded_files,
    wip_output,
)
from tfrec_stage.errors import OutputError
from tfrec_stage.files import locked_directory


class CacheSize(NamedTuple):
    """How much a shard cache, or a part of it, holds."""

    shards: int
    """Number of shards."""
    size_bytes: int
    """Length of their files and of those beside them."""

    def __str__(self) -> str:
        return f"{self.shards:,} shards, {self.size_bytes / 1e6:,.1f} MB"


@dataclass(frozen=True, slots=True)
class DroppedOutput:
    """An output directory that is gone, and what the cache holds for it."""

    path: Path
    """Where it was."""
    size: CacheSize
    """Its shards that no output directory that is there needs; two dropped ones may have some in common."""
    is_finished: bool
    """Whether a build of it ended well; else what a killed one had made."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What a cleaning removed, or would remove."""

    root: Path
    """The directory of the cache."""
    is_dry_run: bool
    """Whether nothing was removed."""
    dropped: tuple[DroppedOutput, ...]
    """Outputs that are gone, by their paths."""
    running: int
    """Outputs that are being built, which are left alone."""
    unplaced: int
    """Builds that do not say where their output is, as earlier versions made them; they are kept."""
    before: CacheSize
    """The whole cache."""
    after: CacheSize
    """What is left."""

    def summary(self) -> Iterator[str]:
        """A few lines for people."""
        verb = "would drop" if self.is_dry_run else "dropped"
        for output in self.dropped:
            kind = "" if output.is_finished else " (never finished)"
            yield f"  {verb} {_show(output.path)}{kind}: {output.size}"
        if self.running:
            yield f"  left alone: {self.running:,} that are being built"
        if self.unplaced:
            yield f"  kept: {self.unplaced:,} of an earlier version, which do not say where their output directory is"
        yield f"{_show(self.root)}: {self._verdict()}"

    def _verdict(self) -> str:
        if self.before == self.after:
            return f"{self.before}; nothing to remove"
        if self.is_dry_run:
            return f"{self.before}; {self.after} would be left (clean.dry_run=true: nothing was removed)"
        return f"{self.before} before; {self.after} left"


def clean_cache(root: Path, *, dry_run: bool) -> Cleaning:
    """Drop builds whose output directory is gone, and then the shards that nobody names.

    Args:
        root: the directory of the cache.
        dry_run: only tell what would be removed.

    Raises:
        OutputError: the cache cannot be read or changed.
    """
    cache = root / STORE_FORMAT
    try:
        with locked_directory(cache):
            known = [_Output.of(root, files) for files in _files_by_output(cache / "builds")]
            gone = sorted((output for output in known if output.is_gone), key=attrgetter("path"))
            cleaning = _measure(root, known, gone, dry_run)
            if not dry_run:
                _remove(cache, gone)
            return cleaning
    except FileNotFoundError:
        return Cleaning(root, dry_run, (), 0, 0, CacheSize(0, 0), CacheSize(0, 0))
    except OSError as error:
        raise OutputError(f"cannot clean the shard cache {root}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class _Output:
    """All that `builds/` has of one output directory."""

    files: tuple[Path, ...]
    path: Path | None
    is_running: bool

    @classmethod
    def of(cls, root: Path, files: Sequence[Path]) -> "_Output":
        wips = [path for path in files if path.suffix == WIP]
        builds = filter(None, (read_build(path) for path in files if path.suffix == BUILD))
        noted = [*(build.output for build in builds), *map(wip_output, wips)]
        place = next(filter(None, noted), None)
        path = None if place is None else output_path(root, place)
        return cls(tuple(files), path, any(map(is_running, wips)))

    @property
    def is_gone(self) -> bool:
        """Whether it is not built now and its directory is not there; one that cannot be looked for counts as there."""
        if self.path is None or self.is_running:
            return False
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False


def _files_by_output(builds: Path) -> list[list[Path]]:
    paths = sorted(path for path in builds.iterdir() if not path.name.startswith("."))
    return [list(files) for _, files in groupby(paths, key=lambda path: path.name.partition(".")[0])]


def _measure(root: Path, known: Sequence[_Output], gone: Sequence[_Output], is_dry_run: bool) -> Cleaning:
    shards = root / STORE_FORMAT / "shards"
    needed = needed_shards(path for output in known if output not in gone for path in output.files)
    removed = set(unneeded_files(shards, needed))
    everything = list(shards.iterdir())
    return Cleaning(
        root,
        is_dry_run,
        dropped=tuple(_measure_dropped(output, shards, removed) for output in gone),
        running=sum(output.is_running for output in known),
        unplaced=sum(output.path is None and not output.is_running for output in known),
        before=_size_of(everything),
        after=_size_of(path for path in everything if path not in removed),
    )


def _measure_dropped(output: _Output, shards: Path, removed: Collection[Path]) -> DroppedOutput:
    own = [shards / f"{name}{suffix}" for name in needed_shards(output.files) for suffix in ("", SIDECAR)]
    is_finished = any(path.suffix == BUILD for path in output.files)
    return DroppedOutput(output.path or shards, _size_of(path for path in own if path in removed), is_finished)


def _size_of(paths: Iterable[Path]) -> CacheSize:
    sizes = [("." not in path.name, path.stat().st_size) for path in paths]
    return CacheSize(sum(is_shard for is_shard, _ in sizes), sum(size for _, size in sizes))


def _remove(cache: Path, gone: Iterable[_Output]) -> None:
    for output in gone:
        for path in output.files:
            path.unlink(missing_ok=True)
    remove_unneeded(cache)


def _show(path: Path) -> str:
    """A path, relative if it is below the working directory, on one line that every terminal takes."""
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return text if text.isprintable() else ascii(text)
