"""Formats that the library Datumaro reads (CVAT, KITTI, LabelMe, WIDER FACE and many more) → image records.

Requires the optional group `tfrec-stage[datumaro]`.
"""

import importlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers.image_files import ImageFolder
from tfrec_stage.importers.interface import AnnotationError, ImportedDataset, Problem
from tfrec_stage.importers.objects import Box, Instance, Part, to_objects
from tfrec_stage.importers.pin_images import inspect_image
from tfrec_stage.records import ImageClass, ImageRecord

_CLASS: Final = "label"
_BOX: Final = "bbox"
_POINTS: Final = "points"
_REGION: Final = "region"
"""Stands for all of `_REGIONS`."""
_REGIONS: Final = frozenset({"polygon", "mask", "ellipse", "rotated_bbox"})
"""Shapes with an area of their own, which is more exact than that of a box."""
_SHAPES: Final = _REGIONS | {_BOX, _POINTS}


def read(
    annotations: tuple[Path, ...],
    images: Path,
    images_root: Path,
    *,
    format: str | None = None,  # noqa: A002 - Datumaro's own word
    subset: str | None = None,
) -> ImportedDataset:
    """Read a data set in any format that Datumaro knows.

    Shapes of one group and label are one object. Its box is the group's only box, else the one around its polygons,
    masks, ellipses and rotated boxes, else the one around its points; its area is that of these shapes, else that of
    its box; its parts are the group's points. Shapes without a group, or in a group with several boxes, are one object
    each.

    Labels keep Datumaro's order. A record's id is the item's id; if several subsets are read, the subset's name is put
    before it.

    Args:
        annotations: the folder or file of the data set; exactly one.
        images: folder of the images; Datumaro looks for them by the rules of the format.
        images_root: folder that records' `filename` starts from.
        format: Datumaro's name of the format, such as "cvat"; by default it is recognised.
        subset: the one subset to read, such as "train"; by default all.

    Raises:
        ConfigError: Datumaro is not installed.
        SourceError: Datumaro cannot read the data set, or there is no such subset.
    """
    if len(annotations) != 1:
        raise SourceError(f"expected one data set in `annotations`, but got {len(annotations)}")
    folder = ImageFolder(images, images_root)
    dataset = _load(annotations[0], format)
    labels = _read_labels(dataset.categories())
    subsets = sorted(dataset.subsets())
    if subset is not None and subset not in subsets:
        raise SourceError(f"{annotations[0]}: expected the subset {subset!r}, but got {', '.join(subsets) or 'none'}")
    wanted = subsets if subset is None else [subset]
    items = [(name, item) for name in wanted for item in dataset.subsets()[name]]
    # Two subsets may have items with the same id.
    keyed = ((f"{name}/{item.id}" if len(wanted) > 1 else str(item.id), item) for name, item in items)
    reader = _Reader(folder, labels, _count_parts(item for _, item in items))
    return ImportedDataset(tuple(labels), reader.to_records(keyed), folder.notes)


def _load(path: Path, name: str | None) -> Any:
    try:
        # Imported late: it is optional.
        library = importlib.import_module("datumaro")
    except ImportError as error:
        raise ConfigError(
            "importer datumaro: expected `pip install 'tfrec-stage[datumaro]'` to have been run"
        ) from error
    try:
        return library.Dataset.import_from(str(path), name)
    except Exception as error:  # each of its formats raises its own
        reason = error.__cause__ or error
        raise SourceError(f"{path}: expected a data set that Datumaro reads, but: {reason}") from error


def _read_labels(categories: Mapping[Any, Any]) -> list[Label]:
    by_kind = {kind.name: found for kind, found in categories.items()}
    points = by_kind["points"].items if "points" in by_kind else {}
    names = [each.name for each in by_kind["label"]] if "label" in by_kind else []
    return [
        Label(number, name, source_id=number, keypoints=tuple(points[number].labels) if number in points else ())
        for number, name in enumerate(names)
    ]


def _count_parts(items: Iterable[Any]) -> int:
    """Return the largest number of points of any object."""
    points = (each for item in items for each in item.annotations if each.type.name == _POINTS)
    return max((len(each.points) // 2 for each in points), default=0)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Builds image records from Datumaro's items."""

    folder: ImageFolder
    labels: Sequence[Label]
    num_parts: int
    """Number of parts of every object."""

    def to_records(self, items: Iterable[tuple[str, Any]]) -> Iterator[ImageRecord | Problem]:
        for key, item in items:
            path = getattr(item.media, "path", None)
            try:
                yield self._to_record(key, item, path)
            except AnnotationError as error:
                yield error.to_problem(path or key)

    def _to_record(self, key: str, item: Any, path: str | None) -> ImageRecord:
        if not path:
            raise AnnotationError(
                f"expected an image file for {key!r}, but Datumaro found none; see its format's layout"
            )
        kinds = {each.type.name for each in item.annotations} - _SHAPES - {_CLASS}
        if kinds:
            raise AnnotationError(f"expected classes, boxes, outlines and points, but got {', '.join(sorted(kinds))}")
        shapes = [each for each in item.annotations if each.type.name != _CLASS]
        size = inspect_image(Path(path)).upright
        if size is None and shapes:
            raise AnnotationError("expected a readable image, to normalise its boxes by")
        width, height = size or (None, None)
        instances = [self._to_instance(group, *size) for group in _group(shapes) if size]
        return ImageRecord(
            # Absolute, because Datumaro's paths start from the working directory and `filename` from `images`.
            filename=self.folder.filename(str(Path(path).absolute())),
            id=key,
            class_=self._to_class([each for each in item.annotations if each.type.name == _CLASS]),
            object=to_objects(instances, self.num_parts),
            width=width,
            height=height,
        )

    def _to_class(self, classes: Sequence[Any]) -> ImageClass:
        if len(classes) > 1:
            raise AnnotationError(f"expected one class for the whole image, but got {len(classes)}")
        return ImageClass(classes[0].label, self.labels[classes[0].label].text) if classes else ImageClass()

    def _to_instance(self, group: Sequence[Any], width: int, height: int) -> Instance:
        label = group[0].label
        if label is None:
            raise AnnotationError(f"expected a label of each object, but a {group[0].type.name} has none")
        return Instance(
            label=self.labels[label],
            box=_find_box(group, width, height),
            area=_find_area(group) / (width * height),
            id=str(group[0].id),
            is_crowd=any(each.attributes.get("is_crowd", False) for each in group),
            parts=tuple(part for each in group if each.type.name == _POINTS for part in _to_parts(each, width, height)),
        )


def _group(shapes: Iterable[Any]) -> list[list[Any]]:
    """Return the shapes of each object."""
    # Datumaro's group 0 means no group. The index of the shape then keeps it alone.
    groups: defaultdict[tuple[int, ...], list[Any]] = defaultdict(list)
    for index, shape in enumerate(shapes):
        groups[(shape.group, shape.label) if shape.group else (0, 0, index)].append(shape)
    return [part for group in groups.values() for part in _split_if_several(group)]


def _split_if_several(group: list[Any]) -> list[list[Any]]:
    """Split a group with several boxes into one object per shape: such a group ties objects together."""
    return [group] if len(_by_kind(group)[_BOX]) <= 1 else [[each] for each in group]


def _find_box(group: Iterable[Any], width: int, height: int) -> Box:
    """Return the group's only box, else the one around its regions, else the one around its points."""
    by_kind = _by_kind(group)
    shapes = by_kind[_BOX] or by_kind[_REGION] or by_kind[_POINTS]
    corners = [(x, y, x + w, y + h) for x, y, w, h in (map(float, each.get_bbox()) for each in shapes)]
    left, top, right, bottom = zip(*corners, strict=True)
    return Box(min(left) / width, max(right) / width, min(top) / height, max(bottom) / height)


def _find_area(group: Iterable[Any]) -> float:
    """Return the area of the group's regions, else that of its box, in square pixels."""
    by_kind = _by_kind(group)
    return sum(float(each.get_area()) for each in by_kind[_REGION] or by_kind[_BOX])


def _by_kind(group: Iterable[Any]) -> defaultdict[str, list[Any]]:
    kinds: defaultdict[str, list[Any]] = defaultdict(list)
    for each in group:
        kinds[_REGION if each.type.name in _REGIONS else each.type.name].append(each)
    return kinds


def _to_parts(points: Any, width: int, height: int) -> Iterator[Part]:
    xy = points.points
    for x, y, visibility in zip(xy[0::2], xy[1::2], points.visibility, strict=True):
        # Datumaro's visibility has COCO's numbers: 0 absent, 1 hidden, 2 visible.
        yield float(x) / width, float(y) / height, int(visibility.value)
