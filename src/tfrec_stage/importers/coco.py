"""COCO: instances and person_keypoints files → image records.

`coco_reader` gives the entries of each file; here files are merged, and become records.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import SourceError
from tfrec_stage.importers.coco_categories import (
    Classes,
    expect_one_name,
    find_shared_ids,
    match_key,
    number_annotations,
    sort_keys,
)
from tfrec_stage.importers.coco_deviations import NO_BOX
from tfrec_stage.importers.coco_file import Annotation, CocoFile, DerivedAnnotation, Image, Key, place_of
from tfrec_stage.importers.coco_reader import read_coco_file
from tfrec_stage.importers.image_files import ImageFolder
from tfrec_stage.importers.interface import AnnotationError, ImportedDataset, ImportNotes, Problem
from tfrec_stage.importers.objects import to_objects
from tfrec_stage.importers.pin_images import inspect_image
from tfrec_stage.records import ImageClass, ImageRecord, Objects

_NUMBERED: Final = "annotations without an id, numbered by their place"
_MATCHED: Final = "annotations whose ids of images or categories are text here and a number there"
_IMAGE_CLASSES: Final = "annotations without a box, taken as the class of their image"


def read(annotations: tuple[Path, ...], images: Path, images_root: Path) -> ImportedDataset:
    """Read COCO files; several of the same images are merged by annotation id.

    Labels are numbered in the order of category ids, and images come in the order of theirs. With instances
    and person_keypoints of the same images, keypoints go to the instance of the same annotation id. Where any
    category has keypoints, every object has as many parts as the category with the most, the missing ones as
    (0, 0, 0). Boxes stay as annotated, also where they stick out of the image by rounding; an absent one is
    derived from the outline, else from the visible keypoints. An absent `area` is that of the outline, else
    that of the box. Where no annotation of a file has a box, an outline, keypoints or an area, they give the
    classes of whole images. Files of COCO-Text are read with the classes that their annotations name.

    Args:
        annotations: the JSON files.
        images: folder that `file_name` starts from.
        images_root: folder that records' `filename` starts from.

    Raises:
        SourceError: a file cannot be read or is not COCO, or one id stands for two images or two categories.
    """
    if not annotations:
        raise SourceError("expected JSON files in `annotations`, but got none")
    notes = ImportNotes()
    folder = ImageFolder(images, images_root, notes)
    files = [read_coco_file(path) for path in annotations]
    if numbered := number_annotations(files):
        notes.counts[_NUMBERED] = numbered
    classes = Classes.from_files(files)
    notes.warnings += classes.list_warnings(files)
    found = _Found(files, classes, notes)
    for file in files:
        found.add(file)
    return ImportedDataset(tuple(classes.labels.values()), found.to_records(folder), notes)


def _unite_images(files: Iterable[CocoFile]) -> dict[Key, Image]:
    images: dict[Key, Image] = {}
    for file in files:
        for image in {each.id: each for each in reversed(file.images)}.values():
            known = images.setdefault(image.id, image)
            expect_one_name("image", file.path, image.id, known.file_name, image.file_name)
    return {key: images[key] for key in sort_keys(images)}


class _Found:
    """The merged annotations of all files, and the problems with them."""

    def __init__(self, files: Sequence[CocoFile], classes: Classes, notes: ImportNotes) -> None:
        self._classes = classes
        self._notes = notes
        self._images = _unite_images(files)
        self._images_with_problems = {key for file in files for key in file.images_with_problems}
        self._annotations: dict[Key | None, Annotation] = {}
        self._image_labels: dict[Key, Label] = {}
        self._problems: defaultdict[Key | None, list[Problem]] = defaultdict(list)

    def add(self, file: CocoFile) -> None:
        """Add a file's annotations and the problems with its entries."""
        for each in chain(file.entry_problems, find_shared_ids(file.images)):
            key = None if each.image_id is None else match_key(each.image_id, self._images)
            self._problems[key].append(Problem(str(file.path), f"{each.place}: {each.message}"))
        is_of_images = file.gives_image_classes
        in_this_file: set[Key | None] = set()
        for place, annotation in zip(file.places, file.annotations, strict=True):
            problem = self._find_fault(annotation, in_this_file)
            if problem and self._match_ids(annotation):
                problem = self._find_fault(annotation, in_this_file)
            if not problem:
                problem = self._classify(annotation) if is_of_images else self._merge(annotation)
            in_this_file.add(annotation.id)
            if problem:
                where = place_of(file.section, place, annotation.id)
                self._problems[annotation.image_id].append(Problem(str(file.path), f"{where}: {problem}"))

    def to_records(self, folder: ImageFolder) -> Iterator[ImageRecord | Problem]:
        """Yield the problems that belong to no image, then each image's record or its problems."""
        by_image: defaultdict[Key, list[Annotation]] = defaultdict(list)
        for each in self._annotations.values():
            by_image[each.image_id].append(each)
            if type(each) is DerivedAnnotation:
                self._notes.counts[f"boxes derived from {each.source}"] += 1
        for key, problems in self._problems.items():
            if key not in self._images:
                yield from problems
        for key, image in self._images.items():
            if key in self._problems:
                yield from self._problems[key]
            else:
                yield self._to_record(image, by_image.pop(key, []), folder)

    def _match_ids(self, annotation: Annotation) -> bool:
        """Treat an id that is text in one place and a number in another as the same; return whether any was."""
        ids = annotation.image_id, annotation.category_id
        annotation.image_id = match_key(annotation.image_id, self._images)
        annotation.category_id = match_key(annotation.category_id, self._classes.labels)
        is_other = ids != (annotation.image_id, annotation.category_id)
        if is_other:
            self._notes.counts[_MATCHED] += 1
        return is_other

    def _find_fault(self, annotation: Annotation, in_this_file: set[Key | None]) -> str | None:
        if annotation.id in in_this_file:
            return "expected each annotation id once in a file, but it is there again"
        if annotation.image_id not in self._images and annotation.image_id not in self._images_with_problems:
            return f"image {annotation.image_id!r} is not in `images`"
        known = self._annotations.get(annotation.id, annotation)
        if known.image_id != annotation.image_id:
            return f"it belongs to image {annotation.image_id!r} here, but to {known.image_id!r} in another file"
        return self._classes.find_problem(annotation)

    def _classify(self, annotation: Annotation) -> str | None:
        """Use the category as the class of the whole image; return a problem if it already has another one."""
        label = self._classes.labels[annotation.category_id]
        known = self._image_labels.setdefault(annotation.image_id, label)
        if known != label:
            return (
                "expected one category for each image, as annotations without boxes give the class of the whole image, "
                f"but got {known.text!r} and {label.text!r}"
            )
        self._notes.counts[_IMAGE_CLASSES] += 1
        return None

    def _merge(self, annotation: Annotation) -> str | None:
        """Add an object; the keypoints of a known object go to that object."""
        if annotation.bbox is None:
            return NO_BOX.format("nothing")
        known = self._annotations.setdefault(annotation.id, annotation)
        known.keypoints = known.keypoints or annotation.keypoints
        if type(known) is DerivedAnnotation and type(annotation) is Annotation:
            annotation.keypoints = known.keypoints  # a box that is stated counts more than one that was derived
            self._annotations[annotation.id] = annotation
        return None

    def _to_record(self, image: Image, annotations: list[Annotation], folder: ImageFolder) -> ImageRecord | Problem:
        try:
            filename = folder.filename(image.file_name)
        except AnnotationError as error:
            return error.to_problem(image.file_name)
        size = _find_size(image, folder)
        if size is None and annotations:
            return Problem(filename, f"image {image.id!r}: expected `width` and `height`, here or in the image file")
        width, height = size or (None, None)
        instances = [self._classes.to_instance(each, *size) for each in annotations if size]
        objects = to_objects(instances, self._classes.num_parts)
        if not _is_finite(objects):
            return Problem(filename, f"image {image.id!r}: expected pixels, but some numbers are too large for floats")
        record = ImageRecord(filename=filename, id=str(image.id), object=objects, width=width, height=height)
        label = self._image_labels.get(image.id)
        return record if label is None else replace(record, class_=ImageClass(label.label, label.text))


def _is_finite(objects: Objects) -> bool:
    """Return whether JSON can hold the numbers: finite ones may add up or multiply to infinity."""
    columns = (objects.area, objects.bbox.xmax, objects.bbox.ymax, objects.parts.x, objects.parts.y)
    return math.isfinite(sum(map(sum, columns)))


def _find_size(image: Image, folder: ImageFolder) -> tuple[int, int] | None:
    if image.width and image.height:
        return image.width, image.height
    return inspect_image(folder.locate(image.file_name)).upright
