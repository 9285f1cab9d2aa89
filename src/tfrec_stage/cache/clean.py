"""Remove from a shard cache what belongs to output directories that no longer exist (`stage=clean`).

Only on request, never at the end of a build: DVC removes the output of a stage before it runs it, and other outputs are
missing while another revision is checked out. Their builds look abandoned then, but the next `dvc repro` needs them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from tfrec_stage.cache.builds import (
    BUILD,
    CACHE_FORMAT,
    SIDECAR,
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
    """Size of a shard cache or of a part of it."""

    shards: int
    """Number of shards."""
    size_bytes: int
    """Total length of the shards and their sidecars."""

    def __str__(self) -> str:
        return f"{self.shards:,} shards, {self.size_bytes / 1e6:,.1f} MB"


@dataclass(frozen=True, slots=True)
class DroppedOutput:
    """An output directory that no longer exists, and what the cache holds for it."""

    path: Path
    """Where it was."""
    size: CacheSize
    """Its shards that no existing output directory needs. Two dropped outputs may share some."""
    is_finished: bool
    """Whether a build of it was finished; otherwise the shards are those of a killed build."""


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What cleaning removed, or would remove."""

    root: Path
    """The directory of the cache."""
    is_dry_run: bool
    """Whether nothing was removed."""
    dropped: tuple[DroppedOutput, ...]
    """Outputs that no longer exist, sorted by path."""
    running: int
    """Number of outputs that are being built now; they are kept."""
    unplaced: int
    """Number of builds of earlier versions that do not record their output directory; they are kept."""
    before: CacheSize
    """Size of the whole cache before."""
    after: CacheSize
    """Size of what is left."""

    def summary(self) -> Iterator[str]:
        """Iterate over the lines to print."""
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


def clean_cache(root: Path, *, dry_run: bool) -> CleanReport:
    """Remove builds whose output directory no longer exists, then the shards that no build names.

    Args:
        root: the directory of the cache.
        dry_run: only report what would be removed.

    Raises:
        OutputError: the cache cannot be read or changed.
    """
    cache = root / CACHE_FORMAT
    try:
        with locked_directory(cache):
            known = [_Output.of(root, files) for files in _files_by_output(cache / "builds")]
            gone = sorted((output for output in known if output.is_gone), key=attrgetter("path"))
            report = _measure(root, known, gone, dry_run)
            if not dry_run:
                _remove(cache, gone)
            return report
    except FileNotFoundError:
        return CleanReport(root, dry_run, (), 0, 0, CacheSize(0, 0), CacheSize(0, 0))
    except OSError as error:
        raise OutputError(f"cannot clean the shard cache {root}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class _Output:
    """The files of `builds/` that belong to one output directory."""

    files: tuple[Path, ...]
    path: Path | None
    is_running: bool

    @classmethod
    def of(cls, root: Path, files: Sequence[Path]) -> "_Output":
        wips = [path for path in files if path.suffix == WIP]
        builds = filter(None, (read_build(path) for path in files if path.suffix == BUILD))
        recorded = [*(build.output for build in builds), *map(wip_output, wips)]
        relative = next(filter(None, recorded), None)
        path = None if relative is None else output_path(root, relative)
        return cls(tuple(files), path, any(map(is_running, wips)))

    @property
    def is_gone(self) -> bool:
        """Whether its directory no longer exists and no build of it is running."""
        if self.path is None or self.is_running:
            return False
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # a directory that cannot be inspected counts as existing
            return False
        return False


def _files_by_output(builds: Path) -> list[list[Path]]:
    paths = sorted(path for path in builds.iterdir() if not path.name.startswith("."))
    return [list(files) for _, files in groupby(paths, key=lambda path: path.name.partition(".")[0])]


def _measure(root: Path, known: Sequence[_Output], gone: Sequence[_Output], is_dry_run: bool) -> CleanReport:
    shards = root / CACHE_FORMAT / "shards"
    needed = needed_shards(path for output in known if output not in gone for path in output.files)
    removed = set(unneeded_files(shards, needed))
    everything = list(shards.iterdir())
    return CleanReport(
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
    """Return a path for printing: relative if below the working directory, with unprintable characters escaped."""
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return text if text.isprintable() else ascii(text)
