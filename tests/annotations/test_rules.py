"""Every problem of annotations is reported with its path, and all problems of a record together."""

import math

import pytest

from tfrec_stage.annotations.policy import AnnotationPolicy, DegenerateBoxes, OutOfRange, validate_annotations
from tfrec_stage.annotations.rules import SHOWN
from tfrec_stage.errors import RecordError

SIZE = (100, 50)
"""Width and height of the image: a twentieth of a pixel is 0.0005 wide and 0.001 high."""
STRICT = AnnotationPolicy()
LENIENT = AnnotationPolicy(OutOfRange.clip, DegenerateBoxes.drop)
NAN, INF = math.nan, math.inf


def problems_of(record, policy=STRICT):
    """The problems that validation reports, one by one."""
    with pytest.raises(RecordError) as caught:
        validate_annotations(record, policy, *SIZE)
    assert caught.value.reason == "annotation_invalid"
    return str(caught.value).split("; ")


def test_a_valid_record_is_returned_itself(make_record):
    """A valid record is returned as the same object, and nothing is counted."""
    record = make_record()
    for policy in (STRICT, LENIENT):
        result = validate_annotations(record, policy, *SIZE)
        assert result.record is record
        assert result.repaired == {}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("id", "\udce9", r"$.id: expected text in UTF-8, but got '\udce9'", id="id-not-utf8"),
        pytest.param("class__label", -1, "$.class.label: expected 0 or more, but got -1", id="class-label"),
        pytest.param(
            "class__text", "\ud800", r"$.class.text: expected text in UTF-8, but got '\ud800'", id="class-text"
        ),
        pytest.param("id", "a\udfffb", r"$.id: expected text in UTF-8, but got 'a\udfffb'", id="id-last-surrogate"),
        pytest.param("class__conf", NAN, "$.class.conf: expected a finite number, but got nan", id="class-conf"),
        pytest.param("width", 90, "$.width: expected 100, the image's, but got 90", id="width"),
        pytest.param("height", 90, "$.height: expected 50, the image's, but got 90", id="height"),
        pytest.param("object__area", [0.1, -0.1], "$.object.area[1]: expected a finite number from 0, but got -0.1"),
        pytest.param("object__area", [INF, 0.1], "$.object.area[0]: expected a finite number from 0, but got inf"),
        pytest.param("object__id", ["p", "\udce9"], r"$.object.id[1]: expected text in UTF-8, but got '\udce9'"),
        pytest.param("object__is_crowd", [0, 2], "$.object.is_crowd[1]: expected 0 or 1, but got 2"),
        pytest.param("object__bbox__xmin", [NAN, 0.5], "$.object.bbox.xmin[0]: expected a finite number, but got nan"),
        pytest.param("object__bbox__ymax", [0.4, INF], "$.object.bbox.ymax[1]: expected a finite number, but got inf"),
        pytest.param(
            "object__bbox__score", [0, -INF], "$.object.bbox.score[1]: expected a finite number, but got -inf"
        ),
        pytest.param("object__bbox__conf", [NAN, 0], "$.object.bbox.conf[0]: expected a finite number, but got nan"),
        pytest.param("object__bbox__label", [1, -2], "$.object.bbox.label[1]: expected 0 or more, but got -2"),
        pytest.param("object__bbox__label", ["1", "-2"], "$.object.bbox.label[1]: expected 0 or more, but got -2"),
        pytest.param(
            "object__bbox__text", ["\udcff", ""], r"$.object.bbox.text[0]: expected text in UTF-8, but got '\udcff'"
        ),
        pytest.param("object__parts__x", [0, 0, 0, NAN], "$.object.parts.x[3]: expected a finite number, but got nan"),
        pytest.param(
            "object__parts__y", [0, -INF, 0, 0], "$.object.parts.y[1]: expected a finite number, but got -inf"
        ),
        pytest.param("object__parts__v", [0, 1, 2, 3], "$.object.parts.v[3]: expected 0, 1 or 2, but got 3"),
        pytest.param("object__parts__v", [0, -1, 2, 1], "$.object.parts.v[1]: expected 0, 1 or 2, but got -1"),
        pytest.param(
            "object__parts__score", [0, INF, 0, 0], "$.object.parts.score[1]: expected a finite number, but got inf"
        ),
    ],
)
def test_invalid_values(make_record, path, value, message):
    """A value that no policy can repair is reported with its path, what was expected and what it is."""
    record = make_record(**{path: value})
    assert problems_of(record) == problems_of(record, LENIENT) == [message]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param("object__count", -1, "$.object.count: expected 0 or more, but got -1", id="negative-count"),
        pytest.param("object__bbox__xmax", [0.3], "$.object.bbox.xmax: expected 2 entries, one per object, but got 1"),
        pytest.param("object__bbox__ymin", [], "$.object.bbox.ymin: expected 2 entries, one per object, but got 0"),
        pytest.param(
            "object__bbox__label", [1], "$.object.bbox.label: expected 2 entries, one per object, or none, but got 1"
        ),
        pytest.param(
            "object__bbox__text",
            ["a"] * 3,
            "$.object.bbox.text: expected 2 entries, one per object, or none, but got 3",
        ),
        pytest.param(
            "object__bbox__score", [1], "$.object.bbox.score: expected 2 entries, one per object, or none, but got 1"
        ),
        pytest.param(
            "object__bbox__conf", [1], "$.object.bbox.conf: expected 2 entries, one per object, or none, but got 1"
        ),
        pytest.param("object__area", [0.1], "$.object.area: expected 2 entries, one per object, or none, but got 1"),
        pytest.param("object__id", ["p"], "$.object.id: expected 2 entries, one per object, or none, but got 1"),
        pytest.param(
            "object__is_crowd", [0], "$.object.is_crowd: expected 2 entries, one per object, or none, but got 1"
        ),
        pytest.param("object__parts__y", [0], "$.object.parts.y: expected 4 entries, as in x, but got 1"),
        pytest.param("object__parts__v", [2], "$.object.parts.v: expected 4 entries, as in x, or none, but got 1"),
        pytest.param(
            "object__parts__score", [2], "$.object.parts.score: expected 4 entries, as in x, or none, but got 1"
        ),
    ],
)
def test_lists_of_the_wrong_length(make_record, path, value, message):
    """Lists have one entry per object; only those that may be omitted can be empty."""
    record = make_record(**{path: value})
    assert problems_of(record) == problems_of(record, LENIENT) == [message]


def test_a_count_that_differs_from_the_boxes(make_record):
    """If a count is stated, every list of another length is reported."""
    problems = problems_of(make_record(object__count=3))
    assert "$.object.bbox.xmin: expected 3 entries, one per object, but got 2" in problems
    assert "$.object.area: expected 3 entries, one per object, or none, but got 2" in problems
    assert "$.object.parts.x: expected as many parts for each of 3 objects, but got 4 in all" in problems
    assert len(problems) == 12


def test_parts_without_objects(make_record):
    """Keypoints belong to objects, so without objects they are a problem."""
    record = make_record(object={"parts": {"x": [0.1], "y": [0.1]}})
    assert problems_of(record) == ["$.object.parts.x: expected as many parts for each of 0 objects, but got 1 in all"]


def test_objects_without_boxes(make_record):
    """A count without boxes is valid: objects may have only keypoints."""
    objects = {"count": 2, "parts": {"x": [0.1, 0.2], "y": [0.1, 0.2]}}
    record = make_record(object=objects)
    assert validate_annotations(record, STRICT, *SIZE).record is record
    assert problems_of(make_record(object=objects, class__label=-1)) == [
        "$.class.label: expected 0 or more, but got -1"
    ]


def test_an_area_may_be_zero(make_record):
    """An area of 0 is not reported, even in a record that has another problem."""
    problems = problems_of(make_record(object__area=[0.0, 0.1], class__label=-1))
    assert problems == ["$.class.label: expected 0 or more, but got -1"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param(
            "object__bbox__xmin", [-0.2, 0.5], "$.object.bbox.xmin[0]: expected a number in [0, 1], but got -0.2"
        ),
        pytest.param(
            "object__bbox__xmax", [0.3, 1.2], "$.object.bbox.xmax[1]: expected a number in [0, 1], but got 1.2"
        ),
        pytest.param(
            "object__bbox__ymin", [0.2, -1], "$.object.bbox.ymin[1]: expected a number in [0, 1], but got -1.0"
        ),
        pytest.param(
            "object__bbox__ymax", [1.002, 0.9], "$.object.bbox.ymax[0]: expected a number in [0, 1], but got 1.002"
        ),
        pytest.param("object__area", [1.5, 0.1], "$.object.area[0]: expected a number in [0, 1], but got 1.5"),
        pytest.param(
            "object__parts__x", [1.1, 0, 0, 0], "$.object.parts.x[0]: expected a number in [0, 1], but got 1.1"
        ),
        pytest.param(
            "object__parts__y", [0, 0, 0, -0.1], "$.object.parts.y[3]: expected a number in [0, 1], but got -0.1"
        ),
    ],
)
def test_values_out_of_range(make_record, path, value, message):
    """Values outside the image fail with `error` and are repaired with `clip`."""
    record = make_record(**{path: value})
    assert problems_of(record) == [message]
    assert validate_annotations(record, LENIENT, *SIZE).repaired.total() > 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("object__bbox__xmax", [30.0, 80.0], id="boxes"),
        pytest.param("object__parts__y", [15, 15, 35, 40], id="parts"),
        pytest.param("object__area", [400, 900], id="areas"),
        pytest.param("object__bbox__ymax", [0.4, 2.0], id="two"),
    ],
)
def test_pixels_are_recognised(make_record, path, value):
    """Numbers of 2 and more are assumed to be pixels, and the message says what to divide by."""
    assert problems_of(make_record(**{path: value}))[-1] == (
        "these look like pixels: divide x by the image's width, y by its height and area by width times height"
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param(
            "object__bbox__xmax",
            [0.1, 0.8],
            "$.object.bbox.xmin[0]: expected less than xmax, but got 0.1 and 0.1: the box has no area",
        ),
        pytest.param(
            "object__bbox__xmax",
            [0.3, 0.4],
            "$.object.bbox.xmin[1]: expected less than xmax, but got 0.5 and 0.4: the box is reversed",
        ),
        pytest.param(
            "object__bbox__ymin",
            [0.2, 0.9],
            "$.object.bbox.ymin[1]: expected less than ymax, but got 0.9 and 0.9: the box has no area",
        ),
        pytest.param(
            "object__bbox__ymin",
            [0.5, 0.6],
            "$.object.bbox.ymin[0]: expected less than ymax, but got 0.5 and 0.4: the box is reversed",
        ),
    ],
)
def test_degenerate_boxes(make_record, path, value, message):
    """Boxes without area and reversed ones fail with `error`, reported for each pair of edges."""
    assert problems_of(make_record(**{path: value})) == [message]


@pytest.mark.parametrize("edge", [1.99, 1.2])
def test_numbers_below_2_are_not_pixels(make_record, edge):
    """Numbers below 2 may be boxes that are partly outside the image, so there is no hint."""
    problems = problems_of(make_record(object__bbox__xmax=[0.3, edge]))
    assert problems == [f"$.object.bbox.xmax[1]: expected a number in [0, 1], but got {edge}"]


def test_all_problems_of_a_record_are_reported_together(make_record):
    """One message lists problems of every kind: size, length, value, range and order."""
    record = make_record(
        width=7,
        height=7,
        id="\udce9",
        class__label=-1,
        class__text="\udce9",
        class__conf=NAN,
        object__area=[0.1],
        object__bbox__xmin=[NAN, 1.5],
        object__bbox__ymax=[0.1, 0.9],
        object__parts__v=[9, 2, 2, 2],
    )
    assert [problem.partition(":")[0] for problem in problems_of(record)] == [
        "$.width",
        "$.height",
        "$.id",
        "$.class.label",
        "$.class.text",
        "$.class.conf",
        "$.object.area",
        "$.object.bbox.xmin[0]",
        "$.object.parts.v[0]",
        "$.object.bbox.xmin[1]",
        "$.object.bbox.xmin[1]",
        "$.object.bbox.ymin[0]",
    ]


def test_many_problems_of_one_list_are_counted(make_record):
    """For a list with many problems the first are listed, and the number of the others is given."""
    edges = [250.0] * 1000
    record = make_record(object={"bbox": {"xmin": [0.0] * 1000, "xmax": edges, "ymin": [0.0] * 1000, "ymax": edges}})
    problems = problems_of(record)
    assert problems[SHOWN - 1].startswith(f"$.object.bbox.xmax[{SHOWN - 1}]: ")
    assert problems[SHOWN] == f"$.object.bbox.xmax: {1000 - SHOWN} more like these"
    assert len(problems) == 2 * (SHOWN + 1) + 1


@pytest.mark.parametrize("count", [SHOWN - 1, SHOWN, SHOWN + 1])
def test_nothing_is_counted_if_all_problems_are_listed(make_record, count):
    """The line with the number of other problems appears only if there are others."""
    record = make_record(object={"count": count, "area": [-1.0] * count})
    shown = [f"$.object.area[{number}]: expected a finite number from 0, but got -1.0" for number in range(count)]
    more = ["$.object.area: 1 more like these"] if count > SHOWN else []
    assert problems_of(record) == shown[:SHOWN] + more
