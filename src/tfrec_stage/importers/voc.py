"""Pascal VOC: one XML file per image → image records.

Source: the annotations of the Pascal VOC development kit, as labelImg, CVAT and others write them as well; polygons as
Roboflow and LabelMe write them, rotated boxes as roLabelImg does.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers.image_files import ImageFolder, find_files, is_absolute, strip_suffix
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
from tfrec_stage.importers.voc_shapes import find_enclosing_box
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

    An XML file belongs to the image with the same name, whatever `<filename>` says; only if there is none, it belongs
    to the image that `<filename>` names. The name of the XML file is the record's id. `difficult`, `truncated` and
    `pose` go into `extra`, as lists with one entry per object.

    Edges are divided by the width and the height without a shift: the development kit counts pixels from 1, most tools
    from 0, and a file does not say which. An object without `<bndbox>` gets the box around its `<polygon>` or
    `<robndbox>`.

    Args:
        annotations: folders with the XML files, nested as the images are or flat.
        images: folder of the images.
        images_root: folder that records' `filename` starts from.
        names: all class names in the order of their numbers; by default those found, in alphabetical order.
        image_set: a file such as ImageSets/Main/train.txt, in which each line begins with the name of an XML file to
            read. By default all are read, and an image without an XML file is a problem.

    Raises:
        SourceError: a folder or `image_set` cannot be read, or two XML files have the same name.
        ConfigError: `names` has one name twice.
    """
    if not annotations:
        raise SourceError("expected folders of XML files in `annotations`, but got none")
    notes = ImportNotes()
    folder = ImageFolder(images, images_root, notes)
    files = _find_xml_files(annotations)
    if image_set is not None:
        files = _choose(files, Path(image_set))
    # Without `names` every file is parsed twice: labels are numbered before the first record.
    labels = number_labels(_find_names(files.values()) if names is None else (), names)
    image_files = _Images(folder, images_root, find_files(images))
    records = _to_records(files, image_files, labels, notes, complete=image_set is None)
    return ImportedDataset(tuple(labels.values()), records, notes)


def _find_xml_files(annotations: tuple[Path, ...]) -> dict[str, Path]:
    """Return the XML files by their names without suffix, which become the records' ids.

    Raises:
        SourceError: two have the same name.
    """
    files: dict[str, Path] = {}
    for folder in annotations:
        for name in find_files(folder, {".xml"}):
            path = files.setdefault(strip_suffix(name), folder / name)
            if path != folder / name:
                raise SourceError(f"expected each name once, but got {path} and {folder / name}")
    return files


def _choose(files: Mapping[str, Path], image_set: Path) -> dict[str, Path]:
    """Return the files that a list names; a missing one is kept, so that it becomes a problem of its image."""
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
            continue  # the file is parsed again for its record, and its problem is reported then


class _Images:
    """The images of a folder, and the XML file that claimed each of them."""

    def __init__(self, folder: ImageFolder, images_root: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self._root = images_root
        self._filenames = {name: folder.filename_of_existing(name) for name in names}
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for name, filename in self._filenames.items():
            self._by_stem[strip_suffix(name)].append(filename)
        # Name of the XML file that claimed each image.
        self._owners: dict[str, str] = {}

    def claim(self, key: str, stated: str) -> str:
        """Return the `filename` of the image that an XML file belongs to.

        Args:
            key: name of the XML file without suffix.
            stated: its `<filename>`; empty if it has none.

        Raises:
            AnnotationError: no image or several images match, or another XML file has claimed the image.
        """
        filename = self._find(key, stated)
        owner = self._owners.setdefault(filename, key)
        if owner != key:
            raise AnnotationError(f"expected an image of its own, but {filename!r} belongs to {owner}.xml already")
        return filename

    def read_size(self, filename: str) -> tuple[int, int] | None:
        """Return width and height of the upright image, in pixels; None if its file cannot be read."""
        return inspect_image(self._root / filename).upright

    def find_unclaimed(self, keys: Collection[str]) -> Iterator[str]:
        """Yield the images without an XML file.

        Args:
            keys: names of all XML files; one that could not be parsed has claimed no image, but belongs to one.
        """
        for name, filename in self._filenames.items():
            if filename not in self._owners and strip_suffix(name) not in keys:
                yield name

    def _find(self, key: str, stated: str) -> str:
        same_name = self._by_stem.get(key, [])
        if len(same_name) == 1:
            return same_name[0]  # `<filename>` may have been copied from another file
        filename = self._look_up(key, stated) if stated else ""
        if stated and (not same_name or filename in same_name):
            return filename  # a missing file is reported by the build
        raise AnnotationError(f"expected one image named {key}.*, or <filename>, but got {same_name or 'neither'}")

    def _look_up(self, key: str, stated: str) -> str:
        """Return the `filename` of the image that `<filename>` names, relative to the XML file's folder."""
        return self.folder.filename(stated if is_absolute(stated) else str(PurePosixPath(key).parent / stated))


def _to_records(
    files: Mapping[str, Path], images: _Images, labels: Mapping[str, Label], notes: ImportNotes, *, complete: bool
) -> Iterator[ImageRecord | Problem]:
    for key, path in files.items():
        try:
            counts: Counter[str] = Counter()  # a file with a problem adds nothing to the notes
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
    """Return the stated width and height in pixels; None if absent or 0, which some tools write for unknown."""
    for size in root.find_all("size"):
        width, height = (int(size.find_number(tag)) for tag in ("width", "height"))
        if width > 0 and height > 0:
            return width, height
    return None


def _find_objects(root: Element) -> list[Element]:
    """Return the objects, without those that LabelMe marks as deleted."""
    return [each for each in root.find_all("object") if each.find_text("deleted") != "1"]


def _to_instance(
    element: Element, labels: Mapping[str, Label], width: int, height: int, counts: Counter[str]
) -> Instance:
    name = element.find("name")
    if name.text not in labels:
        raise AnnotationError(f"expected one of the class names {show_names(labels)}, but got {name.text!r}", name.line)
    enclosing = None if element.find_all("bndbox") else find_enclosing_box(element, width, height)
    if enclosing is None:
        box = _read_box(element, width, height)
        return Instance(labels[name.text], box, box.area)
    counts["boxes derived from outlines"] += 1
    if enclosing.is_clipped:
        counts["boxes around rotated ones, cut at the edges of their images"] += 1
    box = Box(enclosing.xmin / width, enclosing.xmax / width, enclosing.ymin / height, enclosing.ymax / height)
    return Instance(labels[name.text], box, enclosing.area / (width * height))


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
