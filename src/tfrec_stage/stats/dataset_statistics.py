"""Statistics of a dataset: classes, boxes, keypoints, sizes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.dataset_info import Label
from tfrec_stage.reading.columns import Columns
from tfrec_stage.stats.distribution import Distribution, Histogram
from tfrec_stage.verify.annotations import mismatched_rows

SMALL_PX: Final = 32**2
"""Boxes of fewer square pixels are small, as COCO's evaluation says; it goes by the area of outlines where it can."""
LARGE_PX: Final = 96**2
"""Boxes of more are large; those between are medium."""
_NAMES_KEPT: Final = 5
_MISSING_KEPT: Final = 1000
_VISIBILITY: Final = ("not_in_image", "occluded", "visible")
_SHAPES: Final = ("width_px", "height_px", "area_px", "aspect_ratio")


class DatasetStatistics:
    """Counts over all records of a split; memory grows only with the number of classes."""

    def __init__(self, labels: Sequence[Label] = ()) -> None:
        self._labels = labels
        self._counts: Counter[str] = Counter()
        self._sizes = {"width": Histogram(), "height": Histogram()}
        self._boxes_an_image = Histogram()
        self._shapes = {name: Distribution() for name in _SHAPES}
        self._visibility: Counter[str] = Counter()
        self._image_classes = _Classes()
        self._box_classes = _Classes()

    def add(self, columns: Columns) -> None:
        """Count a batch."""
        if not columns.size:
            return
        scalars, boxes = columns.scalars, columns.lists["image/object/bbox/xmin"].lengths
        self._counts["images"] += columns.size
        self._counts["bytes_of_images"] += sum(map(len, scalars["image/encoded"]))
        self._counts["images_without_objects"] += int((scalars["image/object/count"] == 0).sum())
        self._counts["images_with_mismatched_lists"] += int(mismatched_rows(columns).sum())
        self._counts["boxes"] += int(boxes.sum())
        for name, sizes in self._sizes.items():
            sizes.add(scalars[f"image/{name}"])
        self._boxes_an_image.add(boxes)
        self._add_classes(columns)
        self._add_shapes(columns)
        self._add_parts(columns)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        count = self._counts
        return {
            "images": count["images"],
            "bytes_of_images": count["bytes_of_images"],
            "images_without_objects": count["images_without_objects"],
            "images_with_mismatched_lists": count["images_with_mismatched_lists"],
            "image_size": {name: sizes.as_dict() for name, sizes in self._sizes.items()},
            "image_classes": [
                {"label": label, "name": self._image_classes.name(label, self._labels), "images": images}
                for label, images in sorted(self._image_classes.images.items())
            ],
            "classes": [
                {
                    "label": label,
                    "name": self._box_classes.name(label, self._labels),
                    "images": self._box_classes.images[label],
                    "boxes": boxes,
                }
                for label, boxes in sorted(self._box_classes.values.items())
            ],
            "missing_labels": self._box_classes.missing(self._labels),
            "boxes": {
                "count": count["boxes"],
                "an_image": self._boxes_an_image.as_dict(),
                **{name: count[name] for name in ("small", "medium", "large", "no_area", "reversed")},
                **{name: shapes.as_dict() for name, shapes in self._shapes.items()},
            },
            "parts": {"count": self._visibility.total(), **self._visibility},
        }

    def warnings(self) -> list[str]:
        """Return what is valid but rarely intended."""
        return [*self._image_classes.warnings("images"), *self._box_classes.warnings("boxes")]

    def _add_classes(self, columns: Columns) -> None:
        label, text, conf = (columns.scalars[f"image/class/{name}"] for name in ("label", "text", "conf"))
        stated = (label != 0) | (text != b"") | (conf != 1)  # a record without a class has that of the defaults
        self._image_classes.add(label[stated], np.flatnonzero(stated), text[stated])
        labels, texts = columns.lists["image/object/bbox/label"], columns.lists["image/object/bbox/text"]
        named = labels.lengths == texts.lengths
        for rows, names in ((named, texts.of_rows(named)), (~named, ())):
            self._box_classes.add(labels.of_rows(rows), labels.owners[np.repeat(rows, labels.lengths)], names)

    def _add_shapes(self, columns: Columns) -> None:
        edges = [columns.lists[f"image/object/bbox/{edge}"] for edge in ("xmin", "xmax", "ymin", "ymax")]
        whole = np.logical_and.reduce([edge.lengths == edges[0].lengths for edge in edges])
        xmin, xmax, ymin, ymax = (edge.of_rows(whole).astype(np.float64) for edge in edges)
        owners = edges[0].owners[np.repeat(whole, edges[0].lengths)]
        width = (xmax - xmin) * columns.scalars["image/width"][owners]
        height = (ymax - ymin) * columns.scalars["image/height"][owners]
        is_reversed = (width < 0) | (height < 0)
        is_proper = (width > 0) & (height > 0)
        self._counts["reversed"] += int(is_reversed.sum())
        self._counts["no_area"] += int((~is_reversed & ~is_proper).sum())
        width, height = _in_hundredths(width[is_proper]), _in_hundredths(height[is_proper])
        area = width * height
        self._counts["small"] += int((area < SMALL_PX).sum())
        self._counts["large"] += int((area > LARGE_PX).sum())
        self._counts["medium"] += int(((area >= SMALL_PX) & (area <= LARGE_PX)).sum())
        for name, values in zip(_SHAPES, (width, height, area, width / height), strict=True):
            self._shapes[name].add(values)

    def _add_parts(self, columns: Columns) -> None:
        places, visible = columns.lists["image/object/parts/x"], columns.lists["image/object/parts/v"]
        for number, name in enumerate(_VISIBILITY):
            self._visibility[name] += int((visible.values == number).sum())
        self._visibility["without_visibility"] += int(places.lengths[visible.lengths == 0].sum())


def _in_hundredths(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to hundredths: edges are 32-bit floats, so 32 pixels would come back as 31.99999, which counts as small."""
    rounded = np.round(pixels, 2)
    return np.where(rounded > 0, rounded, pixels)


class _Classes:
    """Images and values by label."""

    def __init__(self) -> None:
        self.images: Counter[int] = Counter()
        self.values: Counter[int] = Counter()
        self._texts: dict[int, set[str]] = {}

    def add(self, labels: NDArray[Any], owners: NDArray[Any], texts: Iterable[bytes] = ()) -> None:
        """Count labels of some records, each given by its number in the batch, and note their names."""
        self.values.update(labels.tolist())
        self.images.update(label for label, _ in {*zip(labels.tolist(), owners.tolist(), strict=True)})
        for label, text in {*zip(labels.tolist(), texts, strict=False)}:
            if text and len(names := self._texts.setdefault(label, set())) < _NAMES_KEPT:
                names.add(text.decode(errors="backslashreplace"))

    def name(self, label: int, labels: Sequence[Label]) -> str:
        """Return the name in the records, all names if they disagree, or that of `labels.json`."""
        known = next((known.text for known in labels if known.label == label), "")
        return " | ".join(sorted(self._texts.get(label, ()))) or known

    def missing(self, labels: Sequence[Label]) -> list[int]:
        """Return the first numbers from 0 to the highest label in use, or in `labels.json`, that nothing has."""
        highest = max((*self.values, *(label.label for label in labels)), default=-1)
        absent = (label for label in range(highest + 1) if label not in self.values)
        return list(islice(absent, _MISSING_KEPT))

    def warnings(self, what: str) -> Iterator[str]:
        """Labels that have several names."""
        for label, texts in sorted(self._texts.items()):
            if len(texts) > 1:
                yield f"{what} with label {label} have several names: {', '.join(map(repr, sorted(texts)))}"
