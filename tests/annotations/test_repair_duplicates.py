"""Boxes that repeat a box of their image are found, and counted or dropped as the policy says."""

import pytest

from tfrec_stage.annotations.policy import (
    AnnotationPolicy,
    DegenerateBoxes,
    DuplicateBoxes,
    OutOfRange,
    validate_annotations,
)
from tfrec_stage.annotations.repair import find_duplicates

SIZE = (100, 50)
"""Width and height of the image."""
DROP = AnnotationPolicy(duplicate_boxes=DuplicateBoxes.drop)
TWICE = {
    "object__bbox__xmin": [0.1, 0.1],
    "object__bbox__xmax": [0.3, 0.3],
    "object__bbox__ymin": [0.2, 0.2],
    "object__bbox__ymax": [0.4, 0.4],
    "object__bbox__label": [1, 1],
    "object__bbox__text": ["wren", "wren"],
    "object__is_crowd": [0, 0],
    "object__parts__x": [0.1, 0.2, 0.1, 0.2],
    "object__parts__y": [0.3, 0.3, 0.3, 0.3],
    "object__parts__v": [2, 1, 2, 1],
}
"""Two objects that differ only in area, id, score and conf."""


@pytest.mark.parametrize(
    ("changes", "duplicates"),
    [
        ({}, [1]),  # area, id, score and conf are ignored
        ({"object__bbox__xmin": [0.1, 0.2]}, []),
        ({"object__bbox__xmax": [0.3, 0.4]}, []),
        ({"object__bbox__ymin": [0.2, 0.3]}, []),
        ({"object__bbox__ymax": [0.4, 0.5]}, []),
        ({"object__bbox__label": [1, 2]}, []),
        (
            {"object__bbox__text": ["wren", "finch"]},
            [],
        ),  # labels may be missing, and then only texts distinguish classes
        ({"object__is_crowd": [0, 1]}, []),
        ({"object__parts__x": [0.1, 0.2, 0.1, 0.3]}, []),
        ({"object__parts__y": [0.3, 0.3, 0.4, 0.3]}, []),
        ({"object__parts__v": [2, 1, 2, 2]}, []),
        ({"object__parts": {}}, [1]),
        ({"object__is_crowd": [], "object__bbox__label": [], "object__bbox__text": []}, [1]),
    ],
)
def test_equal_objects(make_record, changes, duplicates):
    """Objects are duplicates if label, edges, crowd flag and keypoints are all equal."""
    assert find_duplicates(make_record(**(TWICE | changes)).object) == duplicates


@pytest.mark.parametrize(
    ("xmin", "duplicates"),
    [([], []), ([0.1], []), ([0.1, 0.1, 0.1], [1, 2]), ([0.1, 0.2, 0.1, 0.2], [2, 3])],
)
def test_the_first_is_not_a_duplicate(make_record, xmin, duplicates):
    """Only the later ones are duplicates."""
    edges = {name: [value] * len(xmin) for name, value in {"xmax": 0.9, "ymin": 0.1, "ymax": 0.9}.items()}
    assert find_duplicates(make_record(object={"bbox": {"xmin": xmin, **edges}}).object) == duplicates


def test_kept_boxes_are_counted_and_unchanged(make_record):
    """By default the record is the same object, and duplicates are counted apart from repairs."""
    record = make_record(**TWICE)
    result = validate_annotations(record, AnnotationPolicy(), *SIZE)
    assert result.record is record
    assert (result.repaired, result.duplicate_boxes) == ({}, 1)


def test_dropping_removes_all_values_of_the_object(make_record):
    """All values of the first object are kept, and none of the second, also in `extra`."""
    record = make_record(**TWICE, extra={"pose": ["Left", "Right"], "note": ["a", "b"]})
    result = validate_annotations(record, DROP, *SIZE)
    objects, first = result.record.object, result.record.object.bbox
    assert (objects.count, objects.area, objects.id, objects.is_crowd) == (1, [0.04], ["p"], [0])
    assert (first.xmin, first.label, first.score, first.conf) == ([0.1], [1], [0.7], [0.9])
    assert (objects.parts.x, objects.parts.v, objects.parts.score) == ([0.1, 0.2], [2, 1], [0.1, 0.2])
    assert result.record.extra == {"pose": ["Left"], "note": ["a", "b"]}
    assert (result.repaired, result.duplicate_boxes) == ({"duplicates_dropped": 1}, 0)


def test_boxes_are_compared_after_snapping_and_clipping(make_record):
    """Two boxes that are outside by different amounts are equal once they are clipped to the image."""
    record = make_record(**(TWICE | {"object__bbox__xmax": [1.0003, 1.4]}))
    policy = AnnotationPolicy(OutOfRange.clip, DegenerateBoxes.error, DuplicateBoxes.drop)
    result = validate_annotations(record, policy, *SIZE)
    assert result.record.object.bbox.xmax == [1.0]
    assert result.repaired == {"rounding_snapped": 1, "boxes_clipped": 1, "duplicates_dropped": 1}


def test_boxes_dropped_as_degenerate_are_not_duplicates(make_record):
    """Two equal degenerate boxes are both dropped as degenerate, and counted once each."""
    record = make_record(**(TWICE | {"object__bbox__xmax": [0.1, 0.1]}))
    result = validate_annotations(record, AnnotationPolicy(degenerate_boxes=DegenerateBoxes.drop), *SIZE)
    assert (result.repaired, result.duplicate_boxes) == ({"boxes_dropped": 2}, 0)
