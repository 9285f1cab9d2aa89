"""Pascal VOC: one XML file an image → image records.

Source: the annotations of the Pascal VOC development kit, as labelImg, CVAT and others write them, too; outlines as
Roboflow and LabelMe write them, rotated boxes as roLabelImg does.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers.image_files import ImageFolder, is_absolute, strip_suffix, walk_files
from tfrec_stage.importers.interface import (
    AnnotationError,
    ImportedDataset,
    ImportNotes,
    Problem,
    number_labels,
    show_names,
)
from tfrec_stage.importers.objects import Box, Instance, to_objects
from tfrec_stage.importers.pin_images import inspect_image
from tfrec_stage.importers.voc_shapes import find_outline
from tfrec_stage.importers.xml_elements import Element, parse_xml
from tfrec_stage.records import ImageRecord
from tfrec_stage.text_files import read_text


def read(
    annotations: tuple[Path, ...],
    images: Path,
    images_root: Path,
    *,
    names: list[str] | None = None,
    image_set: str | None = None,
) -> ImportedDataset:
    """Read folders of XML files.

    An XML file belongs to the image of its own name, whatever `<filename>` says; only where there is none, to
    the image that `<filename>` names. Its own name is the record's id. `difficult`, `truncated` and `pose` go
    into `extra`, as lists that run parallel to the boxes. Edges are divided by the width and the height as
    they stand: the development kit counts pixels from 1, most tools from 0, and nothing in a file tells
    which. An object without `<bndbox>` gets the box around its `<polygon>` or `<robndbox>`.

    Args:
        annotations: folders with the XML files, nested as the images are or flat.
        images: folder of the images.
        images_root: folder that records' `filename` starts from.
        names: all class names in the order of their numbers; else those found, in alphabetical order.
        image_set: a file such as ImageSets/Main/train.txt, each of whose lines begins with the name of an XML
            file to read. Without it all are read, and an image that has none is a problem.

    Raises:
        SourceError: a folder or `image_set` cannot be read, or two XML files have one name.
        ConfigError: `names` has one name twice.
    """
    if not annotations:
        raise SourceError("expected folders of XML files in `annotations`, but got none")
    notes = ImportNotes()
    folder = ImageFolder(images, images_root, notes)
    files = _find_files(annotations)
    if image_set is not None:
        files = _choose(files, Path(image_set))
    labels = number_labels(_find_names(files.values()) if names is None else (), names)
    images_by_name = _Images(folder, images_root, walk_files(images))
    records = _to_records(files, images_by_name, labels, notes, complete=image_set is None)
    return ImportedDataset(tuple(labels.values()), records, notes)


def _find_files(annotations: tuple[Path, ...]) -> dict[str, Path]:
    """Return the XML files by their names without suffix."""
    files: dict[str, Path] = {}
    for folder in annotations:
        for name in walk_files(folder, {".xml"}):
            path = files.setdefault(strip_suffix(name), folder / name)
            if path != folder / name:
                raise SourceError(f"expected each name once, but got {path} and {folder / name}")
    return files


def _choose(files: Mapping[str, Path], image_set: Path) -> dict[str, Path]:
    """Return the files that a list names; a missing one keeps the path where it was expected."""
    try:
        lines = [line.split() for line in read_text(image_set).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"image_set: {image_set}: expected a list of names, but: {error}") from error
    return {line[0]: files.get(line[0], Path(f"{line[0]}.xml")) for line in lines if line}


def _find_names(files: Iterable[Path]) -> Iterator[str]:
    for path in files:
        try:
            yield from (each.find_text("name") for each in _find_objects(parse_xml(path)) if each.find_text("name"))
        except (OSError, AnnotationError):
            continue  # reported when its record is asked for


class _Images:
    """The images of a folder, and which XML file each belongs to."""

    def __init__(self, folder: ImageFolder, images_root: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self._root = images_root
        self._filenames = {name: folder.filename_of_found(name) for name in names}
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name, filename in self._filenames.items():
            self._by_stem[strip_suffix(name)].append(filename)
        self._owners: dict[str, str] = {}

    def claim(self, key: str, stated: str) -> str:
        """Give the `filename` of the image of the XML file with that name; `stated` is its `<filename>`.

        Raises:
            AnnotationError: none or several can be meant, or another XML file has it.
        """
        filename = self._find(key, stated)
        owner = self._owners.setdefault(filename, key)
        if owner != key:
            raise AnnotationError(f"expected an image of its own, but {filename!r} belongs to {owner}.xml already")
        return filename

    def read_size(self, filename: str) -> tuple[int, int] | None:
        """Return width and height of the upright frame of an image; None if its file cannot be read."""
        return inspect_image(self._root / filename).upright

    def find_unclaimed(self, keys: Collection[str]) -> Iterator[str]:
        """Return the images that no XML file belongs to."""
        for name, filename in self._filenames.items():
            if filename not in self._owners and strip_suffix(name) not in keys:
                yield name

    def _find(self, key: str, stated: str) -> str:
        named_alike = self._by_stem.get(key, [])
        if len(named_alike) == 1:
            return named_alike[0]
        filename = self._look_up(key, stated) if stated else ""
        if stated and (not named_alike or filename in named_alike):
            return filename  # if it is missing, the encoder will say so
        raise AnnotationError(f"expected one image named {key}.*, or <filename>, but got {named_alike or 'neither'}")

    def _look_up(self, key: str, stated: str) -> str:
        """Return the `filename` of the image that `<filename>` names, relative to the folder of the XML file."""
        return self.folder.filename(stated if is_absolute(stated) else str(PurePosixPath(key).parent / stated))


def _to_records(
    files: Mapping[str, Path], images: _Images, labels: Mapping[str, Label], notes: ImportNotes, *, complete: bool
) -> Iterator[ImageRecord | Problem]:
    for key, path in files.items():
        try:
            counts: Counter[str] = Counter()
            yield _to_record(key, parse_xml(path), images, labels, counts)
            notes.counts += counts
        except OSError as error:
            yield Problem(str(path), f"expected an annotation file, but: {error.strerror}")
        except AnnotationError as error:
            yield error.to_problem(path)
    for name in images.find_unclaimed(files.keys()) if complete else ():
        yield Problem(str(images.folder.path / name), f"expected annotations in {strip_suffix(name)}.xml, but got none")


def _to_record(
    key: str, root: Element, images: _Images, labels: Mapping[str, Label], counts: Counter[str]
) -> ImageRecord:
    filename = images.claim(key, root.find_text("filename"))
    found = _find_objects(root)
    size = _find_size(root) or images.read_size(filename)
    if size is None and found:
        raise AnnotationError("expected <size> with width and height, or a readable image", root.line)
    width, height = size or (None, None)
    return ImageRecord(
        filename=filename,
        id=key,
        object=to_objects([_to_instance(each, labels, *size, counts) for each in found if size]),
        extra=_to_extra(found),
        width=width,
        height=height,
    )


def _find_size(root: Element) -> tuple[int, int] | None:
    """Return the stated width and height; some tools write 0 for unknown."""
    for size in root.find_all("size"):
        width, height = (int(size.find_number(tag)) for tag in ("width", "height"))
        if width > 0 and height > 0:
            return width, height
    return None


def _find_objects(root: Element) -> list[Element]:
    """Return the objects; LabelMe keeps deleted ones, with a mark."""
    return [each for each in root.find_all("object") if each.find_text("deleted") != "1"]


def _to_instance(
    element: Element, labels: Mapping[str, Label], width: int, height: int, counts: Counter[str]
) -> Instance:
    name = element.find("name")
    if name.text not in labels:
        raise AnnotationError(f"expected one of the class names {show_names(labels)}, but got {name.text!r}", name.line)
    outline = None if element.find_all("bndbox") else find_outline(element, width, height)
    if outline is None:
        box = _read_box(element, width, height)
        return Instance(labels[name.text], box, box.area)
    counts["boxes derived from outlines"] += 1
    if outline.is_clipped:
        counts["boxes around rotated ones, cut at the edges of their images"] += 1
    box = Box(outline.xmin / width, outline.xmax / width, outline.ymin / height, outline.ymax / height)
    return Instance(labels[name.text], box, outline.area / (width * height))


def _read_box(element: Element, width: int, height: int) -> Box:
    for edges in element.find_all("bndbox"):
        xmin, xmax = (edges.find_number(tag) / width for tag in ("xmin", "xmax"))
        ymin, ymax = (edges.find_number(tag) / height for tag in ("ymin", "ymax"))
        return Box(xmin, xmax, ymin, ymax)
    raise AnnotationError("expected <bndbox>, <polygon> or <robndbox> in <object>, but got none", element.line)


def _to_extra(objects: list[Element]) -> dict[str, list[int] | list[str]]:
    return {
        "difficult": [_read_flag(each, "difficult") for each in objects],
        "truncated": [_read_flag(each, "truncated") for each in objects],
        "pose": [each.find_text("pose", "Unspecified") for each in objects],
    }


def _read_flag(element: Element, tag: str) -> int:
    return int(element.find_number(tag)) if element.find_text(tag) else 0
