"""Boxes that repeat a box of their image: found, counted, and dropped where the policy says so."""

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
"""Two objects that differ in area, id, score and conf alone."""


@pytest.mark.parametrize(
    ("changes", "duplicates"),
    [
        ({}, [1]),  # area, id, score and conf do not count
        ({"object__bbox__xmin": [0.1, 0.2]}, []),
        ({"object__bbox__xmax": [0.3, 0.4]}, []),
        ({"object__bbox__ymin": [0.2, 0.3]}, []),
        ({"object__bbox__ymax": [0.4, 0.5]}, []),
        ({"object__bbox__label": [1, 2]}, []),
        ({"object__bbox__text": ["wren", "finch"]}, []),  # labels may be absent, and texts alone tell classes apart
        ({"object__is_crowd": [0, 1]}, []),
        ({"object__parts__x": [0.1, 0.2, 0.1, 0.3]}, []),
        ({"object__parts__y": [0.3, 0.3, 0.4, 0.3]}, []),
        ({"object__parts__v": [2, 1, 2, 2]}, []),
        ({"object__parts": {}}, [1]),
        ({"object__is_crowd": [], "object__bbox__label": [], "object__bbox__text": []}, [1]),
    ],
)
def test_what_is_the_same(make_record, changes, duplicates):
    """Label, edges, crowd flag and parts make an object; another of either is another object."""
    assert find_duplicates(make_record(**(TWICE | changes)).object) == duplicates


@pytest.mark.parametrize(
    ("xmin", "duplicates"),
    [([], []), ([0.1], []), ([0.1, 0.1, 0.1], [1, 2]), ([0.1, 0.2, 0.1, 0.2], [2, 3])],
)
def test_the_first_is_no_duplicate(make_record, xmin, duplicates):
    """Only the later ones repeat."""
    edges = {name: [value] * len(xmin) for name, value in {"xmax": 0.9, "ymin": 0.1, "ymax": 0.9}.items()}
    assert find_duplicates(make_record(object={"bbox": {"xmin": xmin, **edges}}).object) == duplicates


def test_kept_boxes_are_counted_and_left_alone(make_record):
    """By default the record is the same object, and the number is told apart from what was mended."""
    record = make_record(**TWICE)
    settled = validate_annotations(record, AnnotationPolicy(), *SIZE)
    assert settled.record is record
    assert (settled.repaired, settled.duplicate_boxes) == ({}, 1)


def test_dropping_takes_everything_of_the_object(make_record):
    """The first object stays with all of its own; nothing of the second does, in `extra` neither."""
    record = make_record(**TWICE, extra={"pose": ["Left", "Right"], "note": ["a", "b"]})
    settled = validate_annotations(record, DROP, *SIZE)
    objects, first = settled.record.object, settled.record.object.bbox
    assert (objects.count, objects.area, objects.id, objects.is_crowd) == (1, [0.04], ["p"], [0])
    assert (first.xmin, first.label, first.score, first.conf) == ([0.1], [1], [0.7], [0.9])
    assert (objects.parts.x, objects.parts.v, objects.parts.score) == ([0.1, 0.2], [2, 1], [0.1, 0.2])
    assert settled.record.extra == {"pose": ["Left"], "note": ["a", "b"]}
    assert (settled.repaired, settled.duplicate_boxes) == ({"duplicates_dropped": 1}, 0)


def test_boxes_are_compared_once_they_are_snapped_and_clipped(make_record):
    """Two boxes that stick out by different amounts are one box within the image."""
    record = make_record(**(TWICE | {"object__bbox__xmax": [1.0003, 1.4]}))
    policy = AnnotationPolicy(OutOfRange.clip, DegenerateBoxes.error, DuplicateBoxes.drop)
    settled = validate_annotations(record, policy, *SIZE)
    assert settled.record.object.bbox.xmax == [1.0]
    assert settled.repaired == {"rounding_snapped": 1, "boxes_clipped": 1, "duplicates_dropped": 1}


def test_boxes_that_are_dropped_already_are_not_counted_again(make_record):
    """A degenerate box that is there twice goes as degenerate."""
    record = make_record(**(TWICE | {"object__bbox__xmax": [0.1, 0.1]}))
    settled = validate_annotations(record, AnnotationPolicy(degenerate_boxes=DegenerateBoxes.drop), *SIZE)
    assert (settled.repaired, settled.duplicate_boxes) == ({"boxes_dropped": 2}, 0)
