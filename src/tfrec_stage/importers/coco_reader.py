"""Parse a COCO file into its images, categories and annotations.

A file that follows the specification is decoded at once. Any other is decoded again entry by entry, so that a problem
with one entry affects only that entry. `NaN` and `Infinity`, which Python writes although JSON has neither, need the
standard library's decoder for that.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.coco_deviations import find_key, show, to_annotation, to_category, to_image
from tfrec_stage.importers.coco_file import Annotation, Category, CocoFile, EntryProblem, Image, Key, describe_entry
from tfrec_stage.importers.interface import AnnotationError, show_names
from tfrec_stage.text_files import read_utf8

T = TypeVar("T")

_BAD_JSON: Final = (ValueError, RecursionError)  # both decoders' errors are ValueErrors, as is UnicodeDecodeError
_SECTIONS: Final[Mapping[str, str]] = {
    "images": "images",
    "annotations": "annotations",
    "categories": "categories",
    "imgs": "images",  # COCO-Text's names
    "anns": "annotations",
    "cats": "categories",
}
"""Key of each section in a file, and its name in the specification."""
_NEEDED: Final = (
    "needed is an instances or person_keypoints file, an object with `images`, `annotations` and `categories`"
)


class _WellFormed(msgspec.Struct, frozen=True):
    """A file that follows the specification."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


class _Section(NamedTuple):
    """One of the three lists of a file, not decoded further."""

    name: str
    """Its key in the file."""
    entries: list[tuple[Key, Any]]
    """Each entry with its index, or with its key if the section is an object."""


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
    top_level = _decode_top_level(path, content)
    if not isinstance(top_level, dict):
        raise _refuse(path, _explain_other(top_level, _find_sample(top_level if isinstance(top_level, list) else [])))
    sections = _find_sections(path, top_level)
    objects = sections.get("annotations", _Section("annotations", []))
    sample = _find_sample(entry for _, entry in objects.entries)
    if explanation := _explain_object(sections, top_level, sample):
        raise _refuse(path, explanation)
    is_text = _is_coco_text(sample)
    images = _Entries(sections["images"], Image, to_image, "id")
    annotations = _Entries(objects, Annotation, _convert_coco_text if is_text else to_annotation, "image_id")
    categories = _Entries(sections.get("categories", _Section("categories", [])), Category, to_category)
    return CocoFile(
        path=path,
        images=images.read,
        categories=_list_classes(annotations.read) if is_text else categories.read,
        annotations=annotations.read,
        positions=annotations.positions,
        section=objects.name,
        entry_problems=[*categories.entry_problems, *images.entry_problems, *annotations.entry_problems],
        images_with_problems=frozenset(
            problem.image_id for problem in images.entry_problems if problem.image_id is not None
        ),
    )


def _find_sample(entries: Iterable[Any]) -> dict[str, Any]:
    """Return the first entry that is an object; one shows what the file is, as all entries have the same keys."""
    return next((decoded for entry in entries if isinstance(decoded := _decode_entry(entry), dict)), {})


def _decode_top_level(path: Path, content: bytes) -> Any:
    # `Raw` leaves entries undecoded, for one decoder call each. It accepts no NaN; the standard library does.
    try:
        return msgspec.json.decode(content, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    except _BAD_JSON:
        pass
    try:
        return json.loads(content)
    except _BAD_JSON as error:
        raise SourceError(f"{path}: expected COCO annotations, but this is no JSON: {error}") from error


def _find_sections(path: Path, top_level: Mapping[str, Any]) -> dict[str, _Section]:
    """Return the sections of a file by their names in the specification; a section that is null is absent."""
    found = {_SECTIONS[key]: (key, value) for key, value in top_level.items() if key in _SECTIONS}
    return {
        name: _Section(key, _list_entries(path, key, value))
        for name, (key, value) in found.items()
        if not _is_null(value)
    }


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, msgspec.Raw) and bytes(memoryview(value)[:5]) == b"null")


def _list_entries(path: Path, key: str, value: Any) -> list[tuple[Key, Any]]:
    if isinstance(value, msgspec.Raw):
        try:
            value = msgspec.json.decode(value, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            value = _decode_entry(value)
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, list):
        raise _refuse(path, f"an object whose `{key}` is {show(value)}; needed is a list")
    return list(enumerate(value))


def _decode_entry(entry: Any) -> Any:
    """Decode an entry; None if it is not JSON.

    Bytes that are not UTF-8 become surrogates, so that only the entries whose names have them are problems.
    """
    if not isinstance(entry, msgspec.Raw):
        return entry
    try:
        return json.loads(bytes(entry).decode(errors="surrogateescape"))
    except _BAD_JSON:
        return None


class _Entries(Generic[T]):
    """The entries of a section, each decoded on its own."""

    def __init__(self, section: _Section, kind: type[T], convert: Callable[[Any], T], image_key: str = "") -> None:
        """Decode the entries.

        Args:
            section: what to decode.
            kind: type of the entries.
            convert: converts an entry that deviates from the specification.
            image_key: name of the id of the image that an entry belongs to.
        """
        self.read: list[T] = []
        self.positions: list[Key] = []
        self.entry_problems: list[EntryProblem] = []
        self._decode = msgspec.json.Decoder(kind).decode
        self._convert = convert
        for position, entry in section.entries:
            try:
                self.read.append(self._read_one(position, entry))
                self.positions.append(position)
            except AnnotationError as error:
                self.entry_problems.append(_to_problem(section.name, position, entry, str(error), image_key))

    def _read_one(self, position: Key, entry: Any) -> T:
        if isinstance(entry, msgspec.Raw) and isinstance(position, int):
            try:
                return self._decode(entry)
            except _BAD_JSON:
                pass
        decoded = _decode_entry(entry)
        if isinstance(position, str) and isinstance(decoded, dict):
            decoded = {"id": position} | decoded  # in an object the key is the id, unless the entry states another
        return self._convert(decoded)


def _to_problem(section: str, position: Key, entry: Any, message: str, image_key: str) -> EntryProblem:
    decoded = _decode_entry(entry)
    return EntryProblem(
        describe_entry(section, position, find_key(decoded, "id")), message, find_key(decoded, image_key)
    )


def _is_coco_text(sample: Mapping[str, Any]) -> bool:
    """Return whether an annotation is from COCO-Text, whose files have no categories."""
    return "category_id" not in sample and ("utf8_string" in sample or "legibility" in sample)


def _convert_coco_text(entry: Any) -> Annotation:
    """Convert an annotation of COCO-Text; its class is `class`, or "text" without one, and its polygon is `mask`."""
    if not isinstance(entry, dict):
        return to_annotation(entry)
    return to_annotation({"category_id": entry.get("class") or "text", "segmentation": entry.get("mask")} | entry)


def _list_classes(annotations: Iterable[Annotation]) -> list[Category]:
    """Return a category for each class that the annotations name."""
    return [Category(name, str(name)) for name in sorted({str(each.category_id) for each in annotations})]


def _refuse(path: Path, explanation: str) -> SourceError:
    return SourceError(f"{path}: expected COCO annotations, but this is {explanation}")


def _explain_other(value: Any, sample: Mapping[str, Any]) -> str:
    """Say what a file is whose top level is not an object, and what is needed instead.

    Args:
        value: the top level.
        sample: the first object in it if it is a list; else empty.
    """
    if not isinstance(value, list):
        return f"{show(value)}; {_NEEDED}"
    what = "results, as detectors write them" if "image_id" in sample else "entries"
    return f"a list of {len(value):,} {what}; {_NEEDED}"


def _explain_object(sections: Collection[str], keys: Collection[str], sample: Mapping[str, Any]) -> str | None:
    """Say what a file is that cannot be imported, and what is needed instead; None if it can be imported.

    Args:
        sections: which of `images`, `annotations` and `categories` it has.
        keys: the keys it has.
        sample: its first annotation; empty if there is none.
    """
    absent = {name for name in ("images", "annotations", "categories") if name not in sections}
    is_caption = "caption" in sample and "category_id" not in sample
    # The order matters: panoptic and captions files may lack sections too, and are better explained by what they are.
    cases = [
        (not sections, f"an object with the keys {show_names(keys) or 'none'}; {_NEEDED}"),
        ("annotations" in absent, f"a file of images without `annotations`, as for a test set; {_NEEDED}"),
        ("segments_info" in sample, f"a panoptic file, whose annotations have `segments_info`; {_NEEDED}"),
        (is_caption, f"a captions file, whose annotations have no `category_id`; {_NEEDED}"),
        (
            "images" in absent,
            "a file of annotations without `images`; needed is a list with `id` and `file_name` of each image",
        ),
        (
            "categories" in absent and not _is_coco_text(sample),
            "a file of annotations without `categories`; needed is a list with `id` and `name` of each class",
        ),
    ]
    return next((explanation for applies, explanation in cases if applies), None)
