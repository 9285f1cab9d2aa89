"""File names that other machines and services wrote, and how they may be meant here."""

import posixpath
import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote

_UNUSUAL: Final = re.compile(r"[\\%]|://|^/|^[A-Za-z]:/")
_ROOT: Final = re.compile(r"^([A-Za-z]:)?/+")
_URL: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^?#]*)")


class Reading(NamedTuple):
    """One way to read a file name."""

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
