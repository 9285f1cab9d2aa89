"""Ids in COCO files: numbers or texts, sometimes both for one thing, sometimes none."""

from collections.abc import Container, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.coco_file import CocoFile, Fault, Image, Key


def sort_keys(keys: Iterable[Key]) -> list[Key]:
    """Sort ids: numbers by value, then texts."""
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


def match_key(key: Key, known: Container[Key]) -> Key:
    """Give the known id that is meant: the same, else the one that is the same number as text or the text as number.

    >>> match_key("0042", {42, "a"}), match_key(7, {"7"}), match_key("b", {"a"})
    (42, '7', 'b')
    """
    if key in known:
        return key
    other = str(key) if isinstance(key, int) else _parse_digits(key)
    return key if other is None or other not in known else other


def number_annotations(files: Sequence[CocoFile]) -> int:
    """Give annotations without an id one by their place, above all ids that there are; how many were numbered."""
    if not any(None in map(attrgetter("id"), file.annotations) for file in files):
        return 0
    numbers = (_parse_digits(str(each.id)) for file in files for each in file.annotations)
    start, numbered = 1 + max((number for number in numbers if number is not None), default=-1), 0
    for file in files:
        for place, each in enumerate(file.annotations, start):
            if each.id is None:
                each.id = place
                numbered += 1
        start += len(file.annotations)
    return numbered


def find_shared_ids(images: Iterable[Image]) -> Iterator[Fault]:
    """Find images of one file that have one id: nothing tells which of them its annotations belong to."""
    names: dict[Key, str] = {}
    for each in images:
        name = names.setdefault(each.id, each.file_name)
        if name != each.file_name:
            message = f"expected an id of its own for each image, but got {name!r} and {each.file_name!r}"
            yield Fault(f"images (id {each.id!r})", message, each.id)


def expect_one_name(what: str, path: Path, key: Key, earlier: str, name: str) -> None:
    """Refuse two things under one id, as in files that were numbered independently.

    Raises:
        SourceError: the names differ.
    """
    if earlier != name:
        raise SourceError(f"{path}: expected one name for {what} {key!r}, but got {earlier!r} and then {name!r}")


def _parse_digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
