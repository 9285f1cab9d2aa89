"""Image files in folders, and the names that records give them."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.values import AnnotationError

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

    def __init__(self, images: Path, images_root: Path) -> None:
        """Take both folders as written; links are not followed, so that names stay those the user sees.

        Raises:
            SourceError: `images` is not in `images_root`.
        """
        self.path = images
        self._root = _absolute(images_root)
        self._start = _absolute(images)
        if not self._start.is_relative_to(self._root):
            raise SourceError(f"expected `images` inside `images_root`, but got {images} and {images_root}")

    def filename(self, name: str) -> str:
        """Give a file name of the annotations as records name it: from `images_root`, with forward slashes.

        Raises:
            AnnotationError: it leads out of `images_root`.
        """
        path = Path(os.path.normpath(self._start / name))
        if not path.is_relative_to(self._root):
            raise AnnotationError(f"expected an image inside {self._root}, but {name!r} leads out of it")
        return path.relative_to(self._root).as_posix()


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


def is_utf8(name: str) -> bool:
    """Say whether a name is UTF-8; file systems take any bytes, which Python carries along as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def strip_suffix(name: str) -> str:
    """Give a POSIX name without its suffix: what an image and its annotation file have in common."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _refuse(error: OSError) -> NoReturn:
    raise SourceError(f"{error.filename}: expected a folder, but: {error.strerror}") from error


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))
