"""Statistics are what counting by hand gives."""

import io
import random
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ShardError
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.reading.columns import columns_of
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, Objects, Parts
from tfrec_stage.schema.fields import FIELDS
from tfrec_stage.stats.count import print_statistics
from tfrec_stage.stats.dataset_statistics import DatasetStatistics, Distribution, Histogram
from tfrec_stage.tfrecord.example import Feature

IMAGE = EncodedImage(b"12345", width=1000, height=500)


def features_of(objects: Objects, of_image: ImageClass | None = None) -> dict[str, Feature]:
    """Return a record as it is read back."""
    record = ImageRecord(filename="a.jpg", id="a", object=objects, class_=of_image or ImageClass())
    return {field.key: Feature(field.kind, list(field.values(record, IMAGE))) for field in FIELDS}


def count(records: Sequence[dict[str, Feature]], labels: Sequence[Label] = (), batch: int = 2) -> dict[str, Any]:
    """Count records in batches."""
    dataset_statistics = DatasetStatistics(labels)
    for start in range(0, len(records), batch):
        dataset_statistics.add(columns_of(records[start : start + batch]))
    return dataset_statistics.as_dict()


def boxes(*edges: tuple[float, float, float, float], **others: list) -> Boxes:
    """Return boxes in pixels: left, top, right, bottom."""
    columns = list(zip(*edges, strict=True)) or [()] * 4
    xmin, xmax = ([value / IMAGE.width for value in columns[index]] for index in (0, 2))
    ymin, ymax = ([value / IMAGE.height for value in columns[index]] for index in (1, 3))
    return Boxes(xmin=xmin, xmax=xmax, ymin=ymin, ymax=ymax, **others)


def test_no_records() -> None:
    """Without records there are zeros, and no minimum or maximum."""
    found = count([])
    assert (found["images"], found["boxes"]["count"], found["classes"], found["missing_labels"]) == (0, 0, [], [])
    assert found["image_size"]["width"] == found["boxes"]["width_px"] == {}


def test_classes() -> None:
    """Images and boxes are counted by class; names come from the records, or else from labels.json."""
    records = [
        features_of(Objects(bbox=boxes((0, 0, 9, 9), (0, 0, 9, 9), label=[1, 1], text=["dog", "dog"]))),
        features_of(Objects(bbox=boxes((0, 0, 9, 9), (0, 0, 9, 9), label=[1, 4]))),
        features_of(Objects(), ImageClass(label=2, text="forest")),
    ]
    found = count(records, [Label(4, "kite"), Label(5, "bus"), Label(1, "hound")])
    assert found["classes"] == [
        {"label": 1, "name": "dog", "images": 2, "boxes": 3},
        {"label": 4, "name": "kite", "images": 1, "boxes": 1},
    ]
    assert found["image_classes"] == [{"label": 2, "name": "forest", "images": 1}]
    assert found["missing_labels"] == [0, 2, 3, 5]
    assert found["images_without_objects"] == 1


def test_box_sizes() -> None:
    """Boxes are small, medium or large as COCO defines it; boxes without area and reversed ones are counted apart."""
    sides = [(31, 31), (32, 32), (96, 96), (97, 97), (0, 5), (-5, 5)]
    found = count([features_of(Objects(bbox=boxes(*((10, 10, 10 + w, 10 + h) for w, h in sides))))])["boxes"]
    assert [found[name] for name in ("small", "medium", "large", "no_area", "reversed")] == [1, 2, 1, 1, 1]
    assert found["an_image"] == {"min": 6, "mean": 6, "median": 6, "max": 6}
    assert found["width_px"]["min"] == 31
    assert found["area_px"]["max"] == 97**2
    assert found["aspect_ratio"]["median"] == pytest.approx(1, rel=1e-3)


def test_parts_by_visibility() -> None:
    """Keypoints are counted by visibility, and those without it apart."""
    seen = Objects(bbox=boxes((0, 0, 9, 9)), parts=Parts(x=[0.1] * 4, y=[0.1] * 4, v=[0, 1, 2, 2]))
    unseen = Objects(bbox=boxes((0, 0, 9, 9)), parts=Parts(x=[0.1] * 3, y=[0.1] * 3))
    assert count([features_of(seen), features_of(unseen)])["parts"] == {
        "count": 7,
        "not_in_image": 1,
        "occluded": 1,
        "visible": 2,
        "without_visibility": 3,
    }


def test_mismatched_lists() -> None:
    """Images with mismatched lists are counted, and boxes with an incomplete set of edges are not measured."""
    cut_short = features_of(Objects(count=2, bbox=Boxes(xmin=[0.1, 0.2], xmax=[0.3], ymin=[0.1], ymax=[0.2])))
    found = count([cut_short, features_of(Objects(bbox=boxes((0, 0, 40, 40))))])
    assert found["images_with_mismatched_lists"] == 1
    assert found["boxes"]["width_px"]["max"] == pytest.approx(40, rel=1e-5)


def test_batches_do_not_matter() -> None:
    """The same records in other batches give the same numbers."""
    source = random.Random(0)
    sides = [[(0.0, 0.0, source.uniform(1, 999), source.uniform(1, 499))] * number for number in range(9)]
    records = [features_of(Objects(bbox=boxes(*edges))) for edges in sides]
    assert count(records, batch=1) == count(records, batch=4) == count(records, batch=9)


def test_a_record_of_another_schema() -> None:
    """The error names the first missing key, and refers to verify for the others."""
    record = features_of(Objects())
    del record["image/height"]
    with pytest.raises(ShardError, match=r"^image/height: expected one value of kind int64, .* stage=verify lists"):
        columns_of([record])


@given(st.lists(st.floats(1e-9, 1e9), min_size=1), st.integers(1, 7))
def test_distributions(numbers: list[float], batch: int) -> None:
    """Minimum, mean and maximum are right to six digits, the median to a thousandth."""
    distribution = Distribution()
    for start in range(0, len(numbers), batch):
        distribution.add(np.array(numbers[start : start + batch]))
    found = distribution.as_dict()
    assert found["min"] == pytest.approx(min(numbers), rel=1e-5)
    assert found["max"] == pytest.approx(max(numbers), rel=1e-5)
    assert found["mean"] == pytest.approx(statistics.fmean(numbers), rel=1e-5)
    assert found["median"] == pytest.approx(statistics.median_high(numbers), rel=1e-3)


@given(st.lists(st.integers(-5, 1000), min_size=1), st.integers(1, 7))
def test_histograms_are_exact(numbers: list[int], batch: int) -> None:
    """Statistics of whole numbers are exact."""
    histogram = Histogram()
    for start in range(0, len(numbers), batch):
        histogram.add(np.array(numbers[start : start + batch], np.int64))
    found = histogram.as_dict()
    assert (found["min"], found["median"], found["max"]) == (min(numbers), statistics.median(numbers), max(numbers))
    assert found["mean"] == pytest.approx(statistics.fmean(numbers), rel=1e-5, abs=1e-9)


def test_tables_have_every_class() -> None:
    """The tables show every class, and the first of the missing labels."""
    classes = [boxes((0, 0, 9, 9), label=[label], text=[f"class {label}"]) for label in (0, 40)]
    stream = io.StringIO()
    print_statistics("val", count([features_of(Objects(bbox=of_class)) for of_class in classes]), stream)
    text = stream.getvalue()
    assert text.startswith("val: 2 images (0.0 MB), 2 boxes, 0 parts\n")
    assert "class 0" in text
    assert "class 40" in text
    assert "labels that no box has: 1, 2, 3" in text
    assert text.rstrip().endswith("20, …")
