"""COCO: instances and person_keypoints files → image records.

Source: the data format on https://cocodataset.org/#format-data.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.folders import ImageFolder
from tfrec_stage.importers.instances import Box, Instance, Part, to_objects
from tfrec_stage.importers.outlines import RunLengths, mask_area, polygon_area
from tfrec_stage.importers.pins import inspect_image
from tfrec_stage.importers.values import AnnotationError, ImportedDataset, Problem
from tfrec_stage.labels import Label
from tfrec_stage.records import ImageRecord, Size

Key = int | str
_NO_OUTLINE: Final = msgspec.Raw(b"null")


def read(annotations: tuple[Path, ...], images: Path, images_root: Path) -> ImportedDataset:
    """Read COCO files; several of the same images are merged by annotation id.

    Labels are numbered in the order of category ids, and images come in the order of theirs. With instances
    and person_keypoints of the same images, keypoints go to the instance of the same annotation id. Where any
    category has keypoints, every object has as many parts as the category with the most, the missing ones as
    (0, 0, 0). Boxes stay as annotated, also where they stick out of the image by rounding. An absent `area`
    is that of the outline, else that of the box.

    Args:
        annotations: the JSON files.
        images: folder that `file_name` starts from.
        images_root: folder that records' `filename` starts from.

    Raises:
        SourceError: a file cannot be read or is not COCO, or one id stands for two images or two categories.
    """
    if not annotations:
        raise SourceError("expected JSON files in `annotations`, but got none")
    folder = ImageFolder(images, images_root)
    files = {path: _decode(path) for path in annotations}
    classes = _Classes.from_files(files)
    found = _Found(_unite_images(files))
    for path, file in files.items():
        found.add(str(path), file.annotations, classes)
    return ImportedDataset(tuple(classes.labels.values()), found.to_records(classes, folder))


class _Image(msgspec.Struct, frozen=True, gc=False):
    id: Key
    file_name: str
    width: Size | None = None
    height: Size | None = None


class _Category(msgspec.Struct, frozen=True, gc=False):
    id: Key
    name: str
    keypoints: tuple[str, ...] = ()


class _Annotation(msgspec.Struct, gc=False):
    id: Key
    image_id: Key
    category_id: Key
    bbox: tuple[float, float, float, float]  # x, y, width, height in pixels
    area: float | None = None  # in square pixels
    iscrowd: int | bool = 0
    keypoints: tuple[float, ...] = ()  # x, y in pixels and visibility of each
    segmentation: msgspec.Raw = _NO_OUTLINE

    def __post_init__(self) -> None:
        """Settle the area and let go of the outline: outlines are most of the file."""
        if self.area is None:
            self.area = _outline_area(self.segmentation) or max(self.bbox[2], 0) * max(self.bbox[3], 0)
        self.segmentation = _NO_OUTLINE


class _File(msgspec.Struct, frozen=True):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def _decode(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise SourceError(f"{path}: expected COCO annotations, but: {error}") from error


def _outline_area(segmentation: msgspec.Raw) -> float:
    outline = msgspec.json.decode(segmentation, type=list[list[float]] | RunLengths | None)
    if isinstance(outline, RunLengths):
        return mask_area(outline)
    return sum(polygon_area(polygon) for polygon in outline or ())


def _unite_images(files: Mapping[Path, _File]) -> dict[Key, _Image]:
    images: dict[Key, _Image] = {}
    for path, file in files.items():
        for image in file.images:
            _expect_same("image", path, image.id, images.setdefault(image.id, image).file_name, image.file_name)
    return {key: images[key] for key in _sort(images)}


def _unite_categories(files: Mapping[Path, _File]) -> list[_Category]:
    categories: dict[Key, _Category] = {}
    for path, file in files.items():
        for category in file.categories:
            earlier = categories.get(category.id, category)
            _expect_same("category", path, category.id, earlier.name, category.name)
            categories[category.id] = earlier if earlier.keypoints else category
    return [categories[key] for key in _sort(categories)]


def _expect_same(what: str, path: Path, key: Key, earlier: str, name: str) -> None:
    if earlier != name:
        raise SourceError(f"{path}: expected one name for {what} {key!r}, but got {earlier!r} and then {name!r}")


def _sort(keys: Iterable[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (isinstance(key, str), key))


@dataclass(frozen=True, slots=True)
class _Classes:
    labels: Mapping[Key, Label]
    """By category id, in its order."""
    num_parts: int
    """Number of parts of every object."""

    @classmethod
    def from_files(cls, files: Mapping[Path, _File]) -> "_Classes":
        categories = enumerate(_unite_categories(files))
        labels = {each.id: Label(number, each.name, each.id, each.keypoints) for number, each in categories}
        named = max((len(label.keypoints) for label in labels.values()), default=0)
        return cls(labels, named or _max_keypoints(files.values()))

    def find_fault(self, annotation: _Annotation) -> str | None:
        """Say what keeps an annotation from becoming an instance."""
        label = self.labels.get(annotation.category_id)
        if label is None:
            return f"category {annotation.category_id!r} is not in `categories`"
        expected = 3 * (len(label.keypoints) or self.num_parts)
        if annotation.keypoints and len(annotation.keypoints) != expected:
            return f"expected {expected} numbers in `keypoints`, but got {len(annotation.keypoints)}"
        if any(v not in {0, 1, 2} for v in annotation.keypoints[2::3]):
            return f"expected 0, 1 or 2 as visibility of keypoints, but got {annotation.keypoints[2::3]}"
        return None

    def to_instance(self, annotation: _Annotation, width: int, height: int) -> Instance:
        x, y, box_width, box_height = annotation.bbox
        return Instance(
            label=self.labels[annotation.category_id],
            box=Box(x / width, (x + box_width) / width, y / height, (y + box_height) / height),
            area=(annotation.area or 0.0) / (width * height),
            id=str(annotation.id),
            is_crowd=bool(annotation.iscrowd),
            parts=_to_parts(annotation.keypoints, width, height),
        )


def _max_keypoints(files: Iterable[_File]) -> int:
    return max((len(each.keypoints) // 3 for file in files for each in file.annotations), default=0)


def _to_parts(keypoints: tuple[float, ...], width: int, height: int) -> tuple[Part, ...]:
    triples = zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True)
    return tuple((x / width, y / height, int(v)) for x, y, v in triples)


class _Found:
    """The annotations of all files, merged, and what is wrong with them."""

    def __init__(self, images: Mapping[Key, _Image]) -> None:
        self._images = images
        self._annotations: dict[Key, _Annotation] = {}
        self._problems: defaultdict[Key, list[Problem]] = defaultdict(list)

    def add(self, path: str, annotations: Iterable[_Annotation], classes: _Classes) -> None:
        """Add a file's annotations; the keypoints of one that is known already go to the known one."""
        in_this_file: set[Key] = set()
        for each in annotations:
            fault = self._find_fault(each, in_this_file) or classes.find_fault(each)
            in_this_file.add(each.id)
            if fault:
                self._problems[each.image_id].append(Problem(path, f"annotation {each.id!r}: {fault}"))
            else:
                known = self._annotations.setdefault(each.id, each)
                known.keypoints = known.keypoints or each.keypoints

    def to_records(self, classes: _Classes, folder: ImageFolder) -> Iterator[ImageRecord | Problem]:
        """Yield the problems that belong to no image, then each image's record or its problems."""
        by_image: defaultdict[Key, list[_Annotation]] = defaultdict(list)
        for each in self._annotations.values():
            by_image[each.image_id].append(each)
        for key, problems in self._problems.items():
            if key not in self._images:
                yield from problems
        for key, image in self._images.items():
            if key in self._problems:
                yield from self._problems[key]
            else:
                yield _to_record(image, by_image.pop(key, []), classes, folder)

    def _find_fault(self, annotation: _Annotation, in_this_file: set[Key]) -> str | None:
        if annotation.id in in_this_file:
            return "expected each annotation id once in a file, but it is there again"
        if annotation.image_id not in self._images:
            return f"image {annotation.image_id!r} is not in `images`"
        known = self._annotations.get(annotation.id, annotation)
        if known.image_id != annotation.image_id:
            return f"it belongs to image {annotation.image_id!r} here, but to {known.image_id!r} in another file"
        return None


def _to_record(
    image: _Image, annotations: list[_Annotation], classes: _Classes, folder: ImageFolder
) -> ImageRecord | Problem:
    try:
        filename = folder.filename(image.file_name)
    except AnnotationError as error:
        return error.to_problem(image.file_name)
    size = _find_size(image, folder)
    if size is None and annotations:
        return Problem(filename, f"image {image.id!r}: expected `width` and `height`, here or in the image file")
    width, height = size or (None, None)
    instances = [classes.to_instance(each, *size) for each in annotations if size]
    objects = to_objects(instances, classes.num_parts)
    return ImageRecord(filename=filename, id=str(image.id), object=objects, width=width, height=height)


def _find_size(image: _Image, folder: ImageFolder) -> tuple[int, int] | None:
    if image.width and image.height:
        return image.width, image.height
    return inspect_image(folder.path / image.file_name).upright
