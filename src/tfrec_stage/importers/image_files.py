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
"""Suffixes, in lower case, by which images are found in a folder; the format itself is decided by the content."""

_AMBIGUOUS: Final = re.compile(r"[\\%]|://|^/|^[A-Za-z]:/")
_ROOT: Final = re.compile(r"^([A-Za-z]:)?/+")
_URL: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^?#]*)")


class NameVariant(NamedTuple):
    """One interpretation of a file name."""

    name: str
    """Relative POSIX path."""
    how: str
    """What was done to the name as written, in words."""


def is_ambiguous(name: str) -> bool:
    r"""Return whether a name has other interpretations: it has ``\`` or ``%``, or is an absolute path or a URL.

    >>> is_ambiguous("train/a.jpg"), is_ambiguous("C:\\data\\a.jpg"), is_ambiguous("a%20b.jpg")
    (False, True, True)
    """
    return _AMBIGUOUS.search(name) is not None


def is_absolute(name: str) -> bool:
    r"""Return whether a name is a URL or an absolute path, on whatever system, so that no folder belongs before it.

    >>> is_absolute("C:\\data\\a.jpg"), is_absolute("data/a.jpg")
    (True, False)
    """
    return (_ROOT.match(name.replace("\\", "/")) or _URL.match(name)) is not None


def list_variants(name: str) -> list[NameVariant]:
    r"""Return the interpretations of a name besides the name as written, each once, the simplest first.

    Backslashes may be slashes, and ``%20`` a space (RFC 3986). Of a URL only the path counts. An absolute path is from
    another machine, whose folders are unknown here, so all its ends are listed, the longest first.

    >>> [variant.name for variant in list_variants("C:\\data\\a%20b.jpg")]
    ['data/a%20b.jpg', 'a%20b.jpg', 'data/a b.jpg', 'a b.jpg']
    """
    url = _URL.match(name)
    written = NameVariant(_ROOT.sub("/", url[1]), "end of a URL") if url else NameVariant(name, "")
    slashed = _convert(written, written.name.replace("\\", "/"), "\\ as /")
    # File names are bytes: those that are not UTF-8 become surrogates, as in Python's own file names.
    decoded = _convert(slashed, unquote(slashed.name, errors="surrogateescape"), "percent-decoded")
    # Decoding may give backslashes as well, from `%5C`.
    converted = [written, slashed, decoded, _convert(decoded, decoded.name.replace("\\", "/"), "\\ as /")]
    by_name = {name: NameVariant(name, "")}
    for variant in converted:
        for end in _list_ends(variant):
            by_name.setdefault(end.name, end)
    return list(by_name.values())[1:]


def _convert(variant: NameVariant, name: str, how: str) -> NameVariant:
    return variant if name == variant.name else NameVariant(name, _join(variant.how, how))


def _list_ends(variant: NameVariant) -> Iterator[NameVariant]:
    """Yield a relative path as it is, and of an absolute path all ends, the longest first."""
    if not _ROOT.match(variant.name):
        yield variant
        return
    parts = posixpath.normpath(_ROOT.sub("/", variant.name)).strip("/").split("/")
    how = variant.how if variant.how.startswith("end of") else _join(variant.how, "end of an absolute path")
    for start in range(len(parts)):
        yield NameVariant("/".join(parts[start:]), how)


def _join(*words: str) -> str:
    return ", ".join(filter(None, words))


class ImageFolder:
    """Converts file names in annotations, relative to one folder, to those in records, relative to `images_root`.

    >>> ImageFolder(Path("raw/images/train"), Path("raw/images")).filename("a.jpg")
    'train/a.jpg'
    """

    def __init__(self, images: Path, images_root: Path, notes: ImportNotes | None = None) -> None:
        """Keep both folders as written: links are not resolved, so that names stay those the user sees.

        Args:
            images: the folder that names in annotations start from.
            images_root: the folder that names in records start from; an ancestor of `images`, or the same.
            notes: counts the names that were not used as written.

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
        """Return a file name of the annotations relative to `images_root`, with forward slashes.

        The name as written is used if it leads to a file. Otherwise the interpretations of `list_variants` are tried;
        if exactly one file exists, it is used and counted in `notes`. Whether the file of an unambiguous name exists
        is not checked.

        Raises:
            AnnotationError: the name leads out of `images_root`, or is ambiguous and leads to no file or to several.
        """
        path, how = self._resolve(name)
        if how:
            self.notes.counts[f"file names read another way ({how})"] += 1
        return path.relative_to(self._root).as_posix()

    def filename_of_existing(self, name: str) -> str:
        """Return a name from `find_files` relative to `images_root`; it is never interpreted in another way.

        >>> ImageFolder(Path("raw/images/train"), Path("raw/images")).filename_of_existing("a%20b.jpg")
        'train/a%20b.jpg'
        """
        return self._prefix + name

    def locate(self, name: str) -> Path:
        """Return the path of the image that `filename` names, without counting it.

        Raises:
            AnnotationError: as `filename`.
        """
        return self._resolve(name)[0]

    def _resolve(self, name: str) -> tuple[Path, str]:
        """Return the absolute path, and how the name was interpreted if not as written."""
        path = Path(os.path.normpath(self._start / name))
        is_inside = path.is_relative_to(self._root)
        # Only ambiguous names cost a system call: any other has one meaning, and the build reports a missing file.
        if is_inside and (not is_ambiguous(name) or os.path.exists(path)):  # noqa: PTH110 - never an error
            return path, ""
        variants = list_variants(name)
        found = [(Path(file), variant.how) for file, variant in self._find(variants).items()]
        if len(found) == 1:
            return found[0]
        if is_inside and not found and (not variants or Path(name).is_absolute()):
            return path, ""
        raise AnnotationError(self._explain(name, variants, [file for file, _ in found], is_inside=is_inside))

    def _find(self, variants: Iterable[NameVariant]) -> dict[str, NameVariant]:
        """Return the files that exist, each with the first interpretation that leads to it."""
        found: dict[str, NameVariant] = {}
        for variant in variants:
            path = os.path.normpath(self._start / variant.name)
            parent = os.path.dirname(path)  # noqa: PTH120 - a text is enough, and there may be many for each image
            if Path(path).is_relative_to(self._root) and self._is_folder(parent) and os.path.isfile(path):  # noqa: PTH113
                found.setdefault(path, variant)
        return found

    def _is_folder(self, path: str) -> bool:
        """Cache which folders exist: most ends of absolute paths begin with one that does not."""
        if path not in self._folders:
            self._folders[path] = os.path.isdir(path)  # noqa: PTH112 - as above
        return self._folders[path]

    def _explain(self, name: str, variants: Sequence[NameVariant], found: Sequence[Path], *, is_inside: bool) -> str:
        if found:
            shown = show_names([path.relative_to(self._root).as_posix() for path in found])
            return f"expected one image file for {name!r}, but got {shown}; rename one, or write its full path"
        names = show_names([variant.name for variant in variants])
        tried = f", and none of {names} exists in {self.path}" if variants else ""
        if is_inside:
            return f"expected an image file, but there is no {name!r}{tried}"
        return f"expected an image inside {self._root}, but {name!r} leads out of it{tried}"


def find_files(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Iterator[str]:
    """Yield the files with these suffixes below a folder, as POSIX names relative to it.

    The order is deterministic: names are sorted, and a folder's files come before its subfolders. Links are followed;
    hidden files and folders are skipped.

    Raises:
        SourceError: a folder cannot be read.
    """
    # Without `onerror`, `os.walk` skips folders that it cannot read, and their images would be missing silently.
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield (Path(parent) / name).relative_to(folder).as_posix()


def strip_suffix(name: str) -> str:
    """Return a POSIX name without its suffix: what an image and its annotation file have in common."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _refuse(error: OSError) -> NoReturn:
    raise SourceError(f"{error.filename}: expected a folder, but: {error.strerror}") from error


def _absolute(path: Path) -> Path:
    # `resolve` would follow links.
    return Path(os.path.normpath(path.absolute()))
