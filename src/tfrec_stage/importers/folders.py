"""Image files in folders, and the names that records give them."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.file_names import Reading, is_unusual, list_readings
from tfrec_stage.importers.labels import show_names
from tfrec_stage.importers.values import AnnotationError, ImportNotes

IMAGE_SUFFIXES: Final = frozenset(
    {
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jp2",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    }
)
"""Suffixes, in lower case, by which a folder's images are found; what a file holds, its content decides."""


class ImageFolder:
    """The folder that annotations' names start from, seen from the one that records' names start from.

    >>> ImageFolder(Path("raw/images/train"), Path("raw/images")).filename("a.jpg")
    'train/a.jpg'
    """

    def __init__(self, images: Path, images_root: Path, notes: ImportNotes | None = None) -> None:
        """Take both folders as written; links are not followed, so that names stay those the user sees.

        Args:
            images: the folder that annotations' names start from.
            images_root: the folder that records' names start from; an ancestor of `images`, or the same.
            notes: where names that had to be read another way are counted.

        Raises:
            SourceError: `images` is not in `images_root`.
        """
        self.path = images
        self.notes = ImportNotes() if notes is None else notes
        self._root = _absolute(images_root)
        self._start = _absolute(images)
        self._folders: dict[str, bool] = {}
        if not self._start.is_relative_to(self._root):
            raise SourceError(f"expected `images` inside `images_root`, but got {images} and {images_root}")
        below = self._start.relative_to(self._root).as_posix()
        self._prefix = "" if below == "." else f"{below}/"

    def filename(self, name: str) -> str:
        """Give a file name of the annotations as records name it: from `images_root`, with forward slashes.

        The name as written wins where it leads to a file. Otherwise it is read in the other ways that `list_readings`
        gives; the one file that is there is taken, and counted in `notes`. A usual name is not looked for at all.

        Raises:
            AnnotationError: it leads out of `images_root`, or is unusual and leads to no file or to several.
        """
        path, how = self._resolve(name)
        if how:
            self.notes.counts[f"file names read another way ({how})"] += 1
        return path.relative_to(self._root).as_posix()

    def filename_of_found(self, name: str) -> str:
        """Give a file that `walk_files` found in the folder as records name it; it means itself, however odd its name.

        >>> ImageFolder(Path("raw/images/train"), Path("raw/images")).filename_of_found("a%20b.jpg")
        'train/a%20b.jpg'
        """
        return self._prefix + name

    def locate(self, name: str) -> Path:
        """Give the path of the image file that `filename` names; nothing is counted.

        Raises:
            AnnotationError: as `filename`.
        """
        return self._resolve(name)[0]

    def _resolve(self, name: str) -> tuple[Path, str]:
        """Give the absolute path, and how the name was read where that was not as written."""
        path = Path(os.path.normpath(self._start / name))
        is_inside = path.is_relative_to(self._root)
        # Only unusual names cost a look at the disk: all others have one meaning, and a missing file is told later.
        if is_inside and (not is_unusual(name) or os.path.exists(path)):  # noqa: PTH110 - never an error
            return path, ""
        readings = list_readings(name)
        found = [(Path(file), reading.how) for file, reading in self._find(readings).items()]
        if len(found) == 1:
            return found[0]
        if is_inside and not found and (not readings or Path(name).is_absolute()):
            return path, ""
        raise AnnotationError(self._explain(name, readings, [file for file, _ in found], is_inside=is_inside))

    def _find(self, readings: Iterable[Reading]) -> dict[str, Reading]:
        """Give the files there are, each with the first reading that leads to it."""
        found: dict[str, Reading] = {}
        for reading in readings:
            path = os.path.normpath(self._start / reading.name)
            parent = os.path.dirname(path)  # noqa: PTH120 - a text is enough, and there may be many for each image
            if Path(path).is_relative_to(self._root) and self._is_folder(parent) and os.path.isfile(path):  # noqa: PTH113
                found.setdefault(path, reading)
        return found

    def _is_folder(self, path: str) -> bool:
        """Remember which folders there are: most ends of absolute paths begin with one that is not."""
        if path not in self._folders:
            self._folders[path] = os.path.isdir(path)  # noqa: PTH112 - as above
        return self._folders[path]

    def _explain(self, name: str, readings: Sequence[Reading], found: Sequence[Path], *, is_inside: bool) -> str:
        if found:
            shown = show_names([path.relative_to(self._root).as_posix() for path in found])
            return f"expected one image file for {name!r}, but got {shown}; rename one, or name it fully"
        tried = f"there is none of {show_names([reading.name for reading in readings])} in {self.path}"
        if is_inside:
            return f"expected an image file, but there is no {name!r}; read another way, {tried}"
        end = f", and {tried}" if readings else ""
        return f"expected an image inside {self._root}, but {name!r} leads out of it{end}"


def walk_files(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Iterator[str]:
    """Yield the files with these suffixes below a folder, as POSIX names relative to it.

    Sorted, a folder's files before its folders; links are followed, hidden files and folders are passed over.

    Raises:
        SourceError: a folder cannot be read.
    """
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield (Path(parent) / name).relative_to(folder).as_posix()


def strip_suffix(name: str) -> str:
    """Give a POSIX name without its suffix: what an image and its annotation file have in common."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _refuse(error: OSError) -> NoReturn:
    raise SourceError(f"{error.filename}: expected a folder, but: {error.strerror}") from error


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))
