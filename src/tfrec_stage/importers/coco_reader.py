"""Parse a COCO file into its images, categories and annotations.

A file that follows the specification is decoded at once. Any other is decoded again entry by entry, so that a problem
with one entry affects only that entry. `NaN` and `Infinity`, which Python writes and JSON does not have, need the
standard library's decoder for that.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.coco_deviations import find_key, show, to_annotation, to_category, to_image
from tfrec_stage.importers.coco_file import Annotation, Category, CocoFile, EntryProblem, Image, Key, place_of
from tfrec_stage.importers.interface import AnnotationError, show_names
from tfrec_stage.text_files import read_utf8

_NEEDED = "needed is an instances or person_keypoints file, an object with `images`, `annotations` and `categories`"


def explain_other(value: Any, sample: Mapping[str, Any]) -> str:
    """Say what a file is that holds no object, and what is needed instead.

    Args:
        value: what it holds.
        sample: the first object in it, where it is a list; else empty.
    """
    if not isinstance(value, list):
        return f"{show(value)}; {_NEEDED}"
    what = "results, as detectors write them" if "image_id" in sample else "entries"
    return f"a list of {len(value):,} {what}; {_NEEDED}"


def explain_object(sections: Collection[str], keys: Collection[str], sample: Mapping[str, Any]) -> str | None:
    """Say what a file is that holds an object and cannot be imported, and what is needed instead; None if it can be.

    Args:
        sections: which of `images`, `annotations` and `categories` it has.
        keys: the keys it has.
        sample: its first annotation; empty if there is none.
    """
    absent = {name for name in ("images", "annotations", "categories") if name not in sections}
    kinds = [
        (not sections, f"an object with the keys {show_names(keys) or 'none'}; {_NEEDED}"),
        ("annotations" in absent, f"a file of images without `annotations`, as for a test set; {_NEEDED}"),
        ("segments_info" in sample, f"a panoptic file, whose annotations have `segments_info`; {_NEEDED}"),
        (_is_caption(sample), f"a captions file, whose annotations have no `category_id`; {_NEEDED}"),
        (
            "images" in absent,
            "a file of annotations without `images`; needed is a list with `id` and `file_name` of each image",
        ),
        (
            "categories" in absent and not is_text(sample),
            "a file of annotations without `categories`; needed is a list with `id` and `name` of each class",
        ),
    ]
    return next((explanation for is_it, explanation in kinds if is_it), None)


def _is_caption(sample: Mapping[str, Any]) -> bool:
    return "caption" in sample and "category_id" not in sample


def is_text(sample: Mapping[str, Any]) -> bool:
    """Return whether an annotation is from COCO-Text, whose files have no categories."""
    return "category_id" not in sample and ("utf8_string" in sample or "legibility" in sample)


def to_usual_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an annotation of COCO-Text under COCO's names; without a `class` it is "text"."""
    return {"category_id": values.get("class") or "text", "segmentation": values.get("mask")} | dict(values)


def list_classes(annotations: Iterable[Annotation]) -> list[Category]:
    """Return the classes that annotations name themselves, for files without `categories`."""
    return [Category(name, str(name)) for name in sorted({str(each.category_id) for each in annotations})]


T = TypeVar("T")

_BAD_JSON: Final = (ValueError, RecursionError)  # both decoders' errors are ValueErrors, as is UnicodeDecodeError
_NAMES: Final[Mapping[str, str]] = {
    "images": "images",
    "annotations": "annotations",
    "categories": "categories",
    "imgs": "images",  # COCO-Text's names
    "anns": "annotations",
    "cats": "categories",
}


class _WellFormed(msgspec.Struct, frozen=True):
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


class _Section(NamedTuple):
    """One of the three lists of a file, not decoded further."""

    name: str
    """Its key in the file."""
    entries: list[tuple[Key, Any]]
    """Each entry's index, or its key where the section is an object."""


def read_coco_file(path: Path) -> CocoFile:
    """Read one file.

    Raises:
        SourceError: it cannot be read, is not JSON, or has neither objects nor classes of images.
    """
    try:
        content = read_utf8(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: expected COCO annotations, but: {error}") from error
    try:
        file = msgspec.json.decode(content, type=_WellFormed)
    except _BAD_JSON:
        return _read_entries(path, content)
    return CocoFile(path, file.images, file.categories, file.annotations, range(len(file.annotations)))


def _read_entries(path: Path, content: bytes) -> CocoFile:
    outer = _decode_outer(path, content)
    if not isinstance(outer, dict):
        raise _refuse(path, explain_other(outer, _find_sample(outer if isinstance(outer, list) else [])))
    sections = _find_sections(path, outer)
    objects = sections.get("annotations", _Section("annotations", []))
    sample = _find_sample(entry for _, entry in objects.entries)
    if explanation := explain_object(sections, outer, sample):
        raise _refuse(path, explanation)
    named_itself = is_text(sample)
    images = _Entries(sections["images"], Image, to_image, "id")
    annotations = _Entries(objects, Annotation, _to_text_annotation if named_itself else to_annotation, "image_id")
    categories = _Entries(sections.get("categories", _Section("categories", [])), Category, to_category)
    return CocoFile(
        path=path,
        images=images.read,
        categories=list_classes(annotations.read) if named_itself else categories.read,
        annotations=annotations.read,
        places=annotations.keys,
        section=objects.name,
        entry_problems=[*categories.entry_problems, *images.entry_problems, *annotations.entry_problems],
        images_with_problems=frozenset(
            problem.image_id for problem in images.entry_problems if problem.image_id is not None
        ),
    )


def _find_sample(entries: Iterable[Any]) -> dict[str, Any]:
    """Return the first entry that is an object; all entries are of one kind."""
    return next((plain for entry in entries if isinstance(plain := _to_plain(entry), dict)), {})


def _decode_outer(path: Path, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    except _BAD_JSON:
        pass
    try:
        return json.loads(content)
    except _BAD_JSON as error:
        raise SourceError(f"{path}: expected COCO annotations, but this is no JSON: {error}") from error


def _refuse(path: Path, explanation: str) -> SourceError:
    return SourceError(f"{path}: expected COCO annotations, but this is {explanation}")


def _find_sections(path: Path, outer: Mapping[str, Any]) -> dict[str, _Section]:
    found = {_NAMES[name]: (name, value) for name, value in outer.items() if name in _NAMES}
    return {
        usual: _Section(name, _list_entries(path, name, value))
        for usual, (name, value) in found.items()
        if not _is_null(value)
    }


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, msgspec.Raw) and bytes(memoryview(value)[:5]) == b"null")


def _list_entries(path: Path, name: str, value: Any) -> list[tuple[Key, Any]]:
    if isinstance(value, msgspec.Raw):
        try:
            value = msgspec.json.decode(value, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            value = _to_plain(value)
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, list):
        raise _refuse(path, f"an object whose `{name}` is {show(value)}; needed is a list")
    return list(enumerate(value))


def _to_text_annotation(entry: Any) -> Annotation:
    return to_annotation(to_usual_names(entry) if isinstance(entry, dict) else entry)


def _to_plain(entry: Any) -> Any:
    """Decode an entry; bytes that are not UTF-8 become surrogates, and are reported where they matter."""
    if not isinstance(entry, msgspec.Raw):
        return entry
    try:
        return json.loads(bytes(entry).decode(errors="surrogateescape"))
    except _BAD_JSON:
        return None


class _Entries(Generic[T]):
    """The entries of a section, each decoded on its own."""

    def __init__(self, section: _Section, kind: type[T], convert: Callable[[Any], T], image_key: str = "") -> None:
        """Decode them.

        Args:
            section: what to decode.
            kind: what each entry is.
            convert: reads an entry that is not as the specification has it.
            image_key: name of the id that tells which image an entry belongs to.
        """
        self.read: list[T] = []
        self.keys: list[Key] = []
        self.entry_problems: list[EntryProblem] = []
        self._decode = msgspec.json.Decoder(kind).decode
        self._convert = convert
        for key, entry in section.entries:
            try:
                self.read.append(self._read_one(key, entry))
                self.keys.append(key)
            except AnnotationError as error:
                self.entry_problems.append(_to_problem(section.name, key, entry, str(error), image_key))

    def _read_one(self, key: Key, entry: Any) -> T:
        if isinstance(entry, msgspec.Raw) and isinstance(key, int):
            try:
                return self._decode(entry)
            except _BAD_JSON:
                pass
        plain = _to_plain(entry)
        # In an object the key is the id.
        return self._convert({"id": key} | plain if isinstance(key, str) and isinstance(plain, dict) else plain)


def _to_problem(section: str, key: Key, entry: Any, message: str, image_key: str) -> EntryProblem:
    plain = _to_plain(entry)
    return EntryProblem(place_of(section, key, find_key(plain, "id")), message, find_key(plain, image_key))
