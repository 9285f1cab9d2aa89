"""COCO: instances and person_keypoints files → image records.

`coco_reader` reads the entries of each file. Here the files are merged, and each image becomes a record.
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
from tfrec_stage.importers.coco_categories import Classes
from tfrec_stage.importers.coco_deviations import NO_BOX
from tfrec_stage.importers.coco_file import (
    Annotation,
    CocoFile,
    DerivedAnnotation,
    Image,
    Key,
    describe_entry,
    expect_one_name,
    find_shared_ids,
    match_key,
    number_annotations,
    sort_keys,
)
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

    Labels are numbered in the order of category ids, and records are in the order of image ids.

    Boxes stay as annotated, even if rounding made them extend beyond the image. A missing box is derived from the
    segmentation, else from the visible keypoints. A missing `area` is that of the segmentation, else that of the box.

    With instances and person_keypoints of the same images, keypoints are added to the instance with the same annotation
    id. If any category has keypoints, every object gets as many parts as the category with the most; missing parts are
    (0, 0, 0).

    If no annotation of a file has a box, a segmentation, keypoints or an area, its annotations give the classes of
    whole images. In COCO-Text files, which have no categories, the classes are those that the annotations name.

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
    # All files are read before the first record: any of them may have annotations of any image.
    files = [read_coco_file(path) for path in annotations]
    if numbered := number_annotations(files):
        notes.counts[_NUMBERED] = numbered
    classes = Classes.from_files(files)
    notes.warnings += classes.list_warnings(files)
    merged = _MergedFiles(files, classes, notes)
    for file in files:
        merged.add(file)
    return ImportedDataset(tuple(classes.labels.values()), merged.to_records(folder), notes)


def _merge_images(files: Iterable[CocoFile]) -> dict[Key, Image]:
    """Return the images of all files by id.

    Raises:
        SourceError: one id stands for two file names in different files.
    """
    images: dict[Key, Image] = {}
    for file in files:
        # The first of several with one id; within a file that is a problem of one image, not an error.
        for image in {each.id: each for each in reversed(file.images)}.values():
            known = images.setdefault(image.id, image)
            expect_one_name("image", file.path, image.id, known.file_name, image.file_name)
    return {key: images[key] for key in sort_keys(images)}


class _MergedFiles:
    """The images and annotations of all files, and the problems with them."""

    def __init__(self, files: Sequence[CocoFile], classes: Classes, notes: ImportNotes) -> None:
        self._classes = classes
        self._notes = notes
        self._images = _merge_images(files)
        self._images_with_problems = {key for file in files for key in file.images_with_problems}
        self._annotations: dict[Key | None, Annotation] = {}
        self._image_labels: dict[Key, Label] = {}
        self._problems: defaultdict[Key | None, list[Problem]] = defaultdict(list)

    def add(self, file: CocoFile) -> None:
        """Add the annotations of a file and the problems with its entries."""
        for each in chain(file.entry_problems, find_shared_ids(file.images)):
            key = None if each.image_id is None else match_key(each.image_id, self._images)
            self._problems[key].append(Problem(str(file.path), f"{each.entry}: {each.message}"))
        gives_image_classes = file.gives_image_classes
        ids_in_file: set[Key | None] = set()
        for position, annotation in zip(file.positions, file.annotations, strict=True):
            problem = self._find_problem(annotation, ids_in_file)
            # Ids are only matched after a problem: an id that is known as written means itself.
            if problem and self._match_ids(annotation):
                problem = self._find_problem(annotation, ids_in_file)
            if not problem:
                problem = self._classify(annotation) if gives_image_classes else self._merge(annotation)
            ids_in_file.add(annotation.id)
            if problem:
                where = describe_entry(file.section, position, annotation.id)
                self._problems[annotation.image_id].append(Problem(str(file.path), f"{where}: {problem}"))

    def to_records(self, folder: ImageFolder) -> Iterator[ImageRecord | Problem]:
        """Yield the problems that belong to no listed image, then the record or the problems of each image."""
        by_image: defaultdict[Key, list[Annotation]] = defaultdict(list)
        for each in self._annotations.values():
            by_image[each.image_id].append(each)
            if type(each) is DerivedAnnotation:
                self._notes.counts[f"boxes derived from {each.source}"] += 1
        for key, problems in self._problems.items():
            if key not in self._images:
                yield from problems
        for key, image in self._images.items():
            if key in self._problems:  # instead of the record, even if other annotations of the image are valid
                yield from self._problems[key]
            else:
                yield self._to_record(image, by_image.pop(key, []), folder)

    def _match_ids(self, annotation: Annotation) -> bool:
        """Replace ids that are text here and numbers elsewhere, or the reverse; return whether any was replaced."""
        ids = annotation.image_id, annotation.category_id
        annotation.image_id = match_key(annotation.image_id, self._images)
        annotation.category_id = match_key(annotation.category_id, self._classes.labels)
        is_changed = ids != (annotation.image_id, annotation.category_id)
        if is_changed:
            self._notes.counts[_MATCHED] += 1
        return is_changed

    def _find_problem(self, annotation: Annotation, ids_in_file: set[Key | None]) -> str | None:
        """Return why an annotation cannot be used; None if it can."""
        if annotation.id in ids_in_file:
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
        """Add an object, or add its keypoints to the object with the same id from an earlier file."""
        if annotation.bbox is None:
            return NO_BOX.format("nothing")
        known = self._annotations.setdefault(annotation.id, annotation)
        known.keypoints = known.keypoints or annotation.keypoints
        if type(known) is DerivedAnnotation and type(annotation) is Annotation:
            annotation.keypoints = known.keypoints  # a stated box replaces a derived one
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
    """Return whether all numbers are finite, as JSON needs: sums and products of large numbers may be infinite."""
    # One infinity or NaN carries over into the sum of all.
    columns = (objects.area, objects.bbox.xmax, objects.bbox.ymax, objects.parts.x, objects.parts.y)
    return math.isfinite(sum(map(sum, columns)))


def _find_size(image: Image, folder: ImageFolder) -> tuple[int, int] | None:
    """Return width and height in pixels, as stated, else as read from the file; None if neither is known."""
    if image.width and image.height:
        return image.width, image.height
    return inspect_image(folder.locate(image.file_name)).upright
