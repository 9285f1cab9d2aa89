"""Laws of the fast path and of validation, for any record."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.annotations.fast_path import passes_fast_path
from tfrec_stage.annotations.policy import (
    AnnotationPolicy,
    DegenerateBoxes,
    DuplicateBoxes,
    OutOfRange,
    validate_annotations,
)
from tfrec_stage.annotations.repair import REPAIRS, find_duplicates
from tfrec_stage.annotations.rules import degenerate_problems, range_problems, value_problems
from tfrec_stage.errors import RecordError
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, Objects, Parts

SIZE = (100, 50)

_near = st.sampled_from([0.0, 1.0, 0.5, -0.0002, 1.0002, -0.001, 1.001, -0.3, 1.7, 250.0])
_inside = st.floats(0, 1, width=32)
_finite = st.one_of(_inside, _near, st.floats(-1e6, 1e6))
_any_float = st.one_of(_inside, _near, st.floats())


def _list(values: st.SearchStrategy, length: int, *, is_optional: bool = True) -> st.SearchStrategy:
    whole = st.lists(values, min_size=length, max_size=length)
    return st.one_of(st.just([]), whole) if is_optional else whole


@st.composite
def consistent_records(
    draw, values: st.SearchStrategy = _finite, sizes: st.SearchStrategy | None = None
) -> ImageRecord:
    """Records with lists of the right lengths and known codes; `values` are their coordinates."""
    count = draw(sizes or st.integers(0, 4))
    parts = count * draw(st.integers(0, 3))
    boxes = Boxes(
        **{name: draw(_list(values, count, is_optional=False)) for name in ("xmin", "xmax", "ymin", "ymax")},
        **{name: draw(_list(_finite, count)) for name in ("score", "conf")},
        label=draw(_list(st.integers(0, 9), count)),
        text=draw(_list(st.text(st.characters(exclude_categories=("Cs",)), max_size=3), count)),
    )
    return ImageRecord(
        filename="a.jpg",
        id="a",
        class_=ImageClass(label=draw(st.integers(0, 9)), conf=draw(_finite)),
        object=Objects(
            count=draw(st.sampled_from([None, count])),
            area=draw(_list(st.floats(0, 2), count)),
            id=draw(_list(st.sampled_from(["a", "é"]), count)),
            is_crowd=draw(_list(st.integers(0, 1), count)),
            bbox=boxes,
            parts=Parts(
                x=draw(_list(values, parts, is_optional=False)),
                y=draw(_list(values, parts, is_optional=False)),
                v=draw(_list(st.integers(0, 2), parts)),
                score=draw(_list(_finite, parts)),
            ),
        ),
    )


@st.composite
def any_records(draw) -> ImageRecord:
    """Records of the right shape with any content: lists of any length, any numbers, lone surrogates."""
    floats, labels = st.lists(_any_float, max_size=3), st.lists(st.integers(-1, 3), max_size=3)
    texts = st.lists(st.sampled_from(["", "a", "é", "\udce9"]), max_size=3)
    boxes = {name: draw(floats) for name in ("xmin", "xmax", "ymin", "ymax", "score", "conf")}
    parts = {name: draw(floats) for name in ("x", "y", "score")}
    return ImageRecord(
        filename="a.jpg",
        id=draw(st.sampled_from(["a", "é", "\ud800"])),
        class_=ImageClass(draw(st.integers(-1, 3)), draw(st.sampled_from(["", "\udce9"])), draw(_any_float)),
        object=Objects(
            count=draw(st.sampled_from([None, 0, 1, 2, -1])),
            area=draw(floats),
            id=draw(texts),
            is_crowd=draw(labels),
            bbox=Boxes(**boxes, label=draw(labels), text=draw(texts)),
            parts=Parts(**parts, v=draw(labels)),
        ),
    )


TWO_BOXES = {"xmin": [0.1, 0.2], "xmax": [0.3, 0.4], "ymin": [0.1, 0.2], "ymax": [0.3, 0.4]}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="every list filled"),
        pytest.param({"object": {}}, id="no object"),
        pytest.param({"object": {"count": 2}}, id="objects without boxes"),
        pytest.param({"class__label": 0, "object__bbox__label": [0, 0]}, id="label 0"),
        pytest.param({"object__area": [0.0, 1.0]}, id="areas 0 and 1"),
        pytest.param({"object__bbox__xmin": [0.0, 0.0], "object__bbox__xmax": [1.0, 1.0]}, id="as wide as the image"),
        pytest.param({"object__bbox__ymin": [0.0, 0.0], "object__bbox__ymax": [1.0, 1.0]}, id="as high as the image"),
        pytest.param({"object__is_crowd": [0, 0]}, id="no crowd"),
        pytest.param({"object__is_crowd": [1, 1]}, id="crowds alone"),
        pytest.param({"object__parts__v": [0, 1, 2, 0]}, id="every visibility"),
        pytest.param({"object__parts__v": []}, id="no visibilities"),
        pytest.param({"object__parts__x": [0, 1, 0, 1], "object__parts__y": [1, 0, 1, 0]}, id="parts in the corners"),
        pytest.param({"object__parts__x": [9, 0, 0, 0], "object__parts__v": [0, 1, 1, 1]}, id="a hidden part outside"),
    ],
)
def test_valid_records_take_the_fast_path(make_record, changes):
    """Values at the limits of their range are valid, and are not checked one by one."""
    assert passes_fast_path(make_record(**changes)) is True


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"class__label": -1}, id="class"),
        pytest.param({"class__conf": math.nan}, id="confidence"),
        pytest.param({"id": "\udce9"}, id="text"),
        pytest.param({"object": {"count": -1}}, id="negative count"),
        pytest.param({"object": {"count": 3, "bbox": TWO_BOXES}}, id="a box too few"),
        pytest.param({"object": {"count": 1, "bbox": TWO_BOXES}}, id="a box too many"),
        pytest.param({"object__area": [0.1, -0.001]}, id="area below 0"),
        pytest.param({"object__area": [0.1, 1.001]}, id="area above 1"),
        pytest.param({"object__is_crowd": [0, -1]}, id="crowd -1"),
        pytest.param({"object__is_crowd": [0, 2]}, id="crowd 2"),
        pytest.param({"object__bbox__label": [0, -1]}, id="label"),
        pytest.param({"object__bbox__xmin": [0.1, 0.8]}, id="box without width"),
        pytest.param({"object__bbox__ymin": [0.1, 0.9]}, id="box without height"),
        pytest.param({"object__bbox__score": [0.1, math.inf]}, id="score"),
        pytest.param({"object__parts__v": [0, 1, 2, 3]}, id="visibility 3"),
        pytest.param({"object__parts__v": [0, 1, 2, -1]}, id="visibility -1"),
        pytest.param({"object__parts__x": [0, 0, 0, 1.001]}, id="a visible part outside"),
        pytest.param({"object__parts__x": [math.nan, 0, 0, 0], "object__parts__v": [0, 1, 1, 1]}, id="a hidden NaN"),
        pytest.param({"object": {"bbox": TWO_BOXES, "parts": {"x": [0] * 3, "y": [0] * 3}}}, id="3 parts of 2 objects"),
        pytest.param({"object": {"count": 0, "parts": {"x": [0], "y": [0]}}}, id="a part without an object"),
    ],
)
def test_invalid_records_do_not_take_the_fast_path(make_record, changes):
    """Values just outside their range, and lists of another length, are checked one by one."""
    assert passes_fast_path(make_record(**changes)) is False


POLICIES = [
    AnnotationPolicy(range_, boxes, duplicates)
    for range_ in OutOfRange
    for boxes in DegenerateBoxes
    for duplicates in DuplicateBoxes
]
any_policy = st.sampled_from(POLICIES)
_inside = consistent_records(st.floats(0, 1))


@given(st.one_of(any_records(), consistent_records(), _inside))
def test_the_fast_path_agrees_with_the_rules(record):
    """A record passes if and only if the rules find no problem."""
    objects = record.object
    problems = value_problems(record, *SIZE) + range_problems(objects) + degenerate_problems(objects.bbox)
    assert passes_fast_path(record) == (not problems), problems


@given(st.one_of(any_records(), consistent_records(), _inside), any_policy)
def test_records_on_the_fast_path_are_unchanged(record, policy):
    """A valid record without duplicates is returned as the same object, whatever the policy."""
    if passes_fast_path(record) and not find_duplicates(record.object):
        result = validate_annotations(record, policy, *SIZE)
        assert result.record is record
        assert result.repaired == {}


@given(consistent_records())
def test_clip_and_drop_repair_every_consistent_record(record):
    """Finite numbers in lists of the right lengths are valid after clipping and dropping."""
    policy = AnnotationPolicy(OutOfRange.clip, DegenerateBoxes.drop)
    assert passes_fast_path(validate_annotations(record, policy, *SIZE).record)


@given(st.one_of(any_records(), consistent_records()), any_policy)
def test_validating_again_changes_nothing(record, policy):
    """A validated record is returned as the same object, and no repair is counted again."""
    try:
        result = validate_annotations(record, policy, *SIZE)
    except RecordError:
        return
    again = validate_annotations(result.record, policy, *SIZE)
    assert again.duplicate_boxes == result.duplicate_boxes
    assert again.record is result.record
    assert again.repaired == {}
    assert result.repaired.keys() <= REPAIRS


@given(st.one_of(any_records(), consistent_records()), any_policy)
def test_validation_raises_only_record_errors(record, policy):
    """Any record of the right shape is valid or fails with a reason, and every message can be stored as JSON."""
    failure = None
    try:
        validate_annotations(record, policy, *SIZE)
    except RecordError as error:
        failure = error
    assert failure is None or failure.reason == "annotation_invalid"
    assert str(failure).encode()


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: "-".join(each.name for each in vars(p).values()))
def test_validation_does_not_change_its_argument(make_record, policy):
    """The record that was passed in keeps its values."""
    record = make_record(object__bbox__xmax=[1.0003, 0.8])
    before = repr(record)
    validate_annotations(record, policy, *SIZE)
    assert repr(record) == before
