"""Image files in folders, and the names that records use for them."""

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple, NoReturn
from urllib.parse import unquote

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.interface import AnnotationError, ImportNotes, show_names

_UNUSUAL: Final = re.compile(r"[\\%]|://|^/|^[A-Za-z]:/")
_ROOT: Final = re.compile(r"^([A-Za-z]:)?/+")
_URL: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^?#]*)")


class Reading(NamedTuple):
    """One interpretation of a file name."""

    name: str
    """Relative POSIX path."""
    how: str
    """What was done to get it, in words."""


def is_unusual(name: str) -> bool:
    r"""Whether a name can be read in other ways at all: it has ``\`` or ``%``, or is an absolute path or a URL.

    >>> is_unusual("train/a.jpg"), is_unusual("C:\\data\\a.jpg"), is_unusual("a%20b.jpg")
    (False, True, True)
    """
    return _UNUSUAL.search(name) is not None


def is_absolute(name: str) -> bool:
    r"""Whether a name starts from the root of some machine or is a URL, so that no folder belongs before it.

    >>> is_absolute("C:\\data\\a.jpg"), is_absolute("data/a.jpg")
    (True, False)
    """
    return (_ROOT.match(name.replace("\\", "/")) or _URL.match(name)) is not None


def list_readings(name: str) -> list[Reading]:
    r"""Give the ways to read a name besides the name as written, each once, the simplest first.

    Backslashes may be slashes, ``%20`` a space (RFC 3986), and of a URL the host and the query are left out. An
    absolute path comes from another machine: any of its ends may be meant, the longest first.

    >>> [reading.name for reading in list_readings("C:\\data\\a%20b.jpg")]
    ['data/a%20b.jpg', 'a%20b.jpg', 'data/a b.jpg', 'a b.jpg']
    """
    url = _URL.match(name)
    written = Reading(_ROOT.sub("/", url[1]), "end of a URL") if url else Reading(name, "")
    slashed = _apply(written, written.name.replace("\\", "/"), "\\ as /")
    # A file system's names are bytes: what is not UTF-8 is carried along as Python does elsewhere.
    decoded = _apply(slashed, unquote(slashed.name, errors="surrogateescape"), "percent-decoded")
    variants = [written, slashed, decoded, _apply(decoded, decoded.name.replace("\\", "/"), "\\ as /")]
    by_name = {name: Reading(name, "")}
    for variant in variants:
        for reading in _list_ends(variant):
            by_name.setdefault(reading.name, reading)
    return list(by_name.values())[1:]


def _apply(reading: Reading, name: str, how: str) -> Reading:
    return reading if name == reading.name else Reading(name, _join(reading.how, how))


def _list_ends(reading: Reading) -> Iterator[Reading]:
    if not _ROOT.match(reading.name):
        yield reading
        return
    parts = posixpath.normpath(_ROOT.sub("/", reading.name)).strip("/").split("/")
    how = reading.how if reading.how.startswith("end of") else _join(reading.how, "end of an absolute path")
    for start in range(len(parts)):
        yield Reading("/".join(parts[start:]), how)


def _join(*words: str) -> str:
    return ", ".join(filter(None, words))


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
        """Return the absolute path, and how the name was interpreted if not as written."""
        path = Path(os.path.normpath(self._start / name))
        is_inside = path.is_relative_to(self._root)
        # Only unusual names cost a look at the disk: all others have one meaning, and a missing file is reported later.
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
        """Return the files that exist, each with the first interpretation that leads to it."""
        found: dict[str, Reading] = {}
        for reading in readings:
            path = os.path.normpath(self._start / reading.name)
            parent = os.path.dirname(path)  # noqa: PTH120 - a text is enough, and there may be many for each image
            if Path(path).is_relative_to(self._root) and self._is_folder(parent) and os.path.isfile(path):  # noqa: PTH113
                found.setdefault(path, reading)
        return found

    def _is_folder(self, path: str) -> bool:
        """Cache which folders exist: most endings of absolute paths begin with one that does not."""
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
