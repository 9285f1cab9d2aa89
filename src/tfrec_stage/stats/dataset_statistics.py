"""Statistics of a dataset: classes, boxes, keypoints, sizes."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.dataset_info import Label
from tfrec_stage.reading.columns import Columns, mismatched_rows

_BINS_PER_OCTAVE: Final = 512
"""Bins per factor of two. A bin ends at 1.0014 times its start, so its middle is right to 1 in 1,000."""
_LOWEST_BIN: Final = -40 * _BINS_PER_OCTAVE
_HIGHEST_BIN: Final = 40 * _BINS_PER_OCTAVE
"""Numbers below 2^-40 or above 2^40 are counted in the first or last bin."""


class Histogram:
    """Counts whole numbers. Results are exact up to the final rounding; memory grows with the distinct values."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, numbers: NDArray[np.int64]) -> None:
        """Add numbers."""
        values, counts = np.unique(numbers, return_counts=True)
        self._counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def as_dict(self) -> dict[str, float]:
        """Return `min`, `mean`, `median` and `max`; empty if there were no numbers."""
        if not self._counts:
            return {}
        values = sorted(self._counts)
        total = self._counts.total()
        # The median of an even count is the mean of the two values in the middle.
        ranks = np.cumsum([self._counts[value] for value in values])
        low, high = (values[int(np.searchsorted(ranks, rank, side="right"))] for rank in ((total - 1) // 2, total // 2))
        mean = sum(value * count for value, count in self._counts.items()) / total
        return _rounded({"min": values[0], "mean": mean, "median": (low + high) / 2, "max": values[-1]})


class Distribution:
    """Counts numbers above 0 in logarithmic bins, in constant memory.

    Between 2^-40 and 2^40 the median is right to a thousandth of itself. The other results use the numbers themselves.
    """

    def __init__(self) -> None:
        self._bins: NDArray[np.int64] = np.zeros(_HIGHEST_BIN - _LOWEST_BIN + 1, np.int64)
        self._sum, self._min, self._max = 0.0, math.inf, 0.0

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Add numbers."""
        if not len(numbers):
            return
        # `fsum` rounds once per batch, not once per number.
        self._sum = math.fsum((self._sum, *numbers.tolist()))
        self._min, self._max = min(self._min, float(numbers.min())), max(self._max, float(numbers.max()))
        bins = np.clip(np.floor(np.log2(numbers) * _BINS_PER_OCTAVE), _LOWEST_BIN, _HIGHEST_BIN).astype(np.int64)
        self._bins += np.bincount(bins - _LOWEST_BIN, minlength=len(self._bins))

    def as_dict(self) -> dict[str, float]:
        """Return `min`, `mean`, `median` and `max`; empty if there were no numbers."""
        ranks = np.cumsum(self._bins)
        total = int(ranks[-1])
        if not total:
            return {}
        # Of an even count, the upper of the two values in the middle: bins need no exact median.
        index = int(np.searchsorted(ranks, total // 2, side="right"))
        # The middle of the first or last bin may lie outside the numbers.
        median = min(max(2 ** ((index + _LOWEST_BIN + 0.5) / _BINS_PER_OCTAVE), self._min), self._max)
        return _rounded({"min": self._min, "mean": self._sum / total, "median": median, "max": self._max})


def _rounded(values: dict[str, float]) -> dict[str, Any]:
    """Round to six significant digits, as later ones depend on the order of addition; whole numbers become `int`."""
    rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
    return {name: int(value) if value.is_integer() else value for name, value in rounded.items()}


SMALL_PX: Final = 32**2
"""Boxes with fewer square pixels are small, as in COCO's evaluation, which prefers the area of outlines."""
LARGE_PX: Final = 96**2
"""Boxes with more square pixels are large; those between are medium."""
_NAMES_KEPT: Final = 5
"""How many names of one label are kept."""
_MISSING_KEPT: Final = 1000
"""How many labels without boxes are listed: a single box with label 1,000,000 may leave that many below it."""
_VISIBILITY: Final = ("not_in_image", "occluded", "visible")
"""Names of the values of `object.parts.v`: 0, 1, 2."""
_SHAPES: Final = ("width_px", "height_px", "area_px", "aspect_ratio")


class DatasetStatistics:
    """Counts over all records of a split. Memory grows with the number of classes, not with that of records."""

    def __init__(self, labels: Sequence[Label] = ()) -> None:
        self._labels = labels
        self._counts: Counter[str] = Counter()
        self._sizes = {"width": Histogram(), "height": Histogram()}
        self._boxes_per_image = Histogram()
        self._shapes = {name: Distribution() for name in _SHAPES}
        self._visibility: Counter[str] = Counter()
        self._image_classes = _ClassCounts()
        self._box_classes = _ClassCounts()

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
        self._boxes_per_image.add(boxes)
        self._add_classes(columns)
        self._add_shapes(columns)
        self._add_parts(columns)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, in the form of `data/stats/<split>.json`."""
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
                "an_image": self._boxes_per_image.as_dict(),
                **{name: count[name] for name in ("small", "medium", "large", "no_area", "reversed")},
                **{name: shapes.as_dict() for name, shapes in self._shapes.items()},
            },
            "parts": {"count": self._visibility.total(), **self._visibility},
        }

    def warnings(self) -> list[str]:
        """Return warnings about what is valid but rarely intended: labels with several names."""
        return [*self._image_classes.warnings("images"), *self._box_classes.warnings("boxes")]

    def _add_classes(self, columns: Columns) -> None:
        label, text, conf = (columns.scalars[f"image/class/{name}"] for name in ("label", "text", "conf"))
        # Every record has these keys. With the defaults it states no class, so label 0 is not counted for it.
        has_class = (label != 0) | (text != b"") | (conf != 1)
        self._image_classes.add(label[has_class], np.flatnonzero(has_class), text[has_class])
        labels, texts = columns.lists["image/object/bbox/label"], columns.lists["image/object/bbox/text"]
        # Names can be assigned to labels only in records with as many of one as of the other.
        has_names = labels.lengths == texts.lengths
        for rows, names in ((has_names, texts.of_rows(has_names)), (~has_names, ())):
            self._box_classes.add(labels.of_rows(rows), labels.owners[np.repeat(rows, labels.lengths)], names)

    def _add_shapes(self, columns: Columns) -> None:
        edges = [columns.lists[f"image/object/bbox/{edge}"] for edge in ("xmin", "xmax", "ymin", "ymax")]
        # If the four lists of a record have different lengths, it is unknown which edges belong together.
        has_boxes = np.logical_and.reduce([edge.lengths == edges[0].lengths for edge in edges])
        xmin, xmax, ymin, ymax = (edge.of_rows(has_boxes).astype(np.float64) for edge in edges)
        owners = edges[0].owners[np.repeat(has_boxes, edges[0].lengths)]
        width = (xmax - xmin) * columns.scalars["image/width"][owners]
        height = (ymax - ymin) * columns.scalars["image/height"][owners]
        is_reversed = (width < 0) | (height < 0)
        has_area = (width > 0) & (height > 0)
        self._counts["reversed"] += int(is_reversed.sum())
        self._counts["no_area"] += int((~is_reversed & ~has_area).sum())
        width, height = _in_hundredths(width[has_area]), _in_hundredths(height[has_area])
        area = width * height
        self._counts["small"] += int((area < SMALL_PX).sum())
        self._counts["large"] += int((area > LARGE_PX).sum())
        self._counts["medium"] += int(((area >= SMALL_PX) & (area <= LARGE_PX)).sum())
        for name, values in zip(_SHAPES, (width, height, area, width / height), strict=True):
            self._shapes[name].add(values)

    def _add_parts(self, columns: Columns) -> None:
        x, visibility = columns.lists["image/object/parts/x"], columns.lists["image/object/parts/v"]
        for number, name in enumerate(_VISIBILITY):
            self._visibility[name] += int((visibility.values == number).sum())
        self._visibility["without_visibility"] += int(x.lengths[visibility.lengths == 0].sum())


def _in_hundredths(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to hundredths of a pixel; what would become 0 stays as it is."""
    # Edges are stored as 32-bit floats. Without rounding, 32 pixels may come back as 31.99999, and count as small.
    rounded = np.round(pixels, 2)
    return np.where(rounded > 0, rounded, pixels)


class _ClassCounts:
    """Counts by label, and the names that records give to labels."""

    def __init__(self) -> None:
        self.images: Counter[int] = Counter()
        """Number of images that have the label, each counted once."""
        self.values: Counter[int] = Counter()
        """Number of times that the label occurs."""
        self._texts: dict[int, set[str]] = {}

    def add(self, labels: NDArray[Any], owners: NDArray[Any], texts: Iterable[bytes] = ()) -> None:
        """Count the labels of a batch.

        Args:
            labels: all labels of the batch.
            owners: for each label, the row of the record that has it.
            texts: for each label, its name; none if the records do not name them.
        """
        self.values.update(labels.tolist())
        self.images.update(label for label, _ in {*zip(labels.tolist(), owners.tolist(), strict=True)})
        for label, text in {*zip(labels.tolist(), texts, strict=False)}:
            if text and len(names := self._texts.setdefault(label, set())) < _NAMES_KEPT:
                names.add(text.decode(errors="backslashreplace"))

    def name(self, label: int, labels: Sequence[Label]) -> str:
        """Return the name in the records, all names if they disagree, or else that of `labels.json`."""
        from_labels = next((known.text for known in labels if known.label == label), "")
        return " | ".join(sorted(self._texts.get(label, ()))) or from_labels

    def missing(self, labels: Sequence[Label]) -> list[int]:
        """Return the first labels that no record has, from 0 to the highest one in the records or in `labels.json`."""
        highest = max((*self.values, *(label.label for label in labels)), default=-1)
        missing = (label for label in range(highest + 1) if label not in self.values)
        return list(islice(missing, _MISSING_KEPT))

    def warnings(self, what: str) -> Iterator[str]:
        """Iterate over warnings about labels that have several names."""
        for label, texts in sorted(self._texts.items()):
            if len(texts) > 1:
                yield f"{what} with label {label} have several names: {', '.join(map(repr, sorted(texts)))}"
