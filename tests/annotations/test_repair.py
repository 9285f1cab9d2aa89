"""Annotations out of bounds are mended as the policy says, and whatever is done is counted."""

from pathlib import Path

import pytest

from tfrec_stage.annotations import repair
from tfrec_stage.annotations.policy import AnnotationPolicy, DegenerateBoxes, OutOfRange, validate_annotations
from tfrec_stage.annotations.repair import REPAIRS
from tfrec_stage.errors import RecordError

SIZE = (100, 50)
"""Width and height of the image: a twentieth of a pixel is 0.0005 wide and 0.001 high."""
CLIP = AnnotationPolicy(out_of_range=OutOfRange.clip)
DROP = AnnotationPolicy(degenerate_boxes=DegenerateBoxes.drop)
KEEP = AnnotationPolicy(degenerate_boxes=DegenerateBoxes.keep)
FLAGS = {"difficult": [1, 0], "truncated": [0, 1], "pose": ["Left", "Rear"]}


def settle(record, policy=AnnotationPolicy()):  # noqa: B008 - never changed
    settled = validate_annotations(record, policy, *SIZE)
    return settled.record.object, dict(settled.repaired)


class TestRounding:
    """What sticks out by a twentieth of a pixel is rounding: moved to the edge under every policy, and counted."""

    @pytest.mark.parametrize("policy", [AnnotationPolicy(), CLIP, DROP, KEEP], ids=["error", "clip", "drop", "keep"])
    def test_edges_are_moved_to_the_image(self, make_record, policy):
        """0.0005 is a twentieth of a pixel of 100, 0.001 one of 50."""
        record = make_record(
            object__bbox__xmin=[-0.0005, 0.5],
            object__bbox__xmax=[0.3, 1.0005],
            object__bbox__ymin=[-0.001, 0.6],
            object__bbox__ymax=[0.4, 1.001],
        )
        objects, mended = settle(record, policy)
        assert (objects.bbox.xmin, objects.bbox.xmax) == ([0, 0.5], [0.3, 1])
        assert (objects.bbox.ymin, objects.bbox.ymax) == ([0, 0.6], [0.4, 1])
        assert mended == {"rounding_snapped": 4}

    @pytest.mark.parametrize(
        ("path", "value"),
        [("object__bbox__xmin", [-0.0006, 0.5]), ("object__bbox__ymax", [0.4, 1.0011]), ("object__area", [1.002, 0.1])],
    )
    def test_more_is_no_rounding(self, make_record, path, value):
        """What sticks out by more fails."""
        with pytest.raises(RecordError, match=r"expected a number in \[0, 1\]"):
            settle(make_record(**{path: value}))

    def test_parts_and_areas_too(self, make_record):
        """Parts snap as boxes do; an area by as much as both its sides may."""
        record = make_record(
            object__parts__x=[-0.0005, 1.0005, 0, 0], object__parts__y=[0, 0, 1.001, -0.001], object__area=[1.0015, 0.1]
        )
        objects, mended = settle(record)
        assert (objects.parts.x, objects.parts.y, objects.area) == ([0, 1, 0, 0], [0, 0, 1, 0], [1, 0.1])
        assert mended == {"rounding_snapped": 5}

    @pytest.mark.parametrize("policy", [AnnotationPolicy(), CLIP], ids=["error", "clip"])
    def test_parts_that_are_not_in_the_image_stay(self, make_record, policy):
        """Where something else is mended, a part with v = 0 keeps its position, even one just outside."""
        record = make_record(
            object__bbox__xmax=[0.3, 1.0005],
            object__parts__x=[0.1, -0.0005, 300, 0.6],
            object__parts__y=[0.1, 1.001, 0.1, -7],
            object__parts__v=[2, 0, 0, 0],
        )
        objects, mended = settle(record, policy)
        assert objects.parts == record.object.parts
        assert mended == {"rounding_snapped": 1}

    def test_objects_without_boxes_keep_their_count(self, make_record):
        """Objects known by their parts alone are mended too, and none has a box that could be dropped."""
        parts = {"x": [0.1, 1.0004], "y": [0.1, 0.2]}
        objects, mended = settle(make_record(object={"count": 2, "parts": parts}), DROP)
        assert (objects.count, objects.parts.x, mended) == (2, [0.1, 1], {"rounding_snapped": 1})

    def test_a_zero_keeps_its_sign(self, make_record):
        """-0.0 is inside the image: where another edge is moved, it is stored as it was written."""
        objects, _ = settle(make_record(object__bbox__xmin=[-0.0, -0.0004]))
        assert list(map(str, objects.bbox.xmin)) == ["-0.0", "0.0"]

    def test_inside_nothing_is_rounded(self, make_record):
        """Only what sticks out is moved: 0.9999 stays."""
        record = make_record(object__bbox__xmax=[0.3, 0.9999])
        assert validate_annotations(record, CLIP, *SIZE).record is record


class TestClip:
    """`out_of_range: clip`."""

    def test_boxes_are_cut_at_the_edge(self, make_record):
        """A box that sticks out on two sides counts once; its area stays, for nobody knows what part was outside."""
        record = make_record(object__bbox__xmin=[-0.5, 0.5], object__bbox__ymax=[1.5, 0.9])
        objects, mended = settle(record, CLIP)
        assert (objects.bbox.xmin, objects.bbox.ymax, objects.area) == ([0, 0.5], [1, 0.9], [0.04, 0.09])
        assert mended == {"boxes_clipped": 1}

    def test_areas_are_at_most_the_image(self, make_record):
        """An area larger than the image becomes the image's."""
        objects, mended = settle(make_record(object__area=[3.0, 0.1]), CLIP)
        assert (objects.area, mended) == ([1.0, 0.1], {"areas_clipped": 1})

    @pytest.mark.parametrize(
        ("x", "y", "v"),
        [
            pytest.param(1.2, 0.3, 1, id="right, occluded"),
            pytest.param(1.2, 0.3, 2, id="right, visible"),
            pytest.param(-0.3, 0.3, 2, id="left"),
            pytest.param(0.2, 1.7, 2, id="below"),
            pytest.param(0.2, -0.3, 2, id="above"),
        ],
    )
    def test_parts_outside_are_hidden(self, make_record, x, y, v):
        """A part outside the image is not in the image: v = 0 at (0, 0), as COCO writes it; it counts once."""
        parts = {"x": [0.1, x, 0.5, 0.6], "y": [0.3, y, 0.7, 0.8], "v": [2, v, 2, 1]}
        objects, mended = settle(make_record(**{f"object__parts__{name}": each for name, each in parts.items()}), CLIP)
        assert (objects.parts.x, objects.parts.y) == ([0.1, 0, 0.5, 0.6], [0.3, 0, 0.7, 0.8])
        assert objects.parts.v == [2, 0, 2, 1]
        assert mended == {"parts_hidden": 1}

    def test_parts_in_the_corners_are_in_the_image(self, make_record):
        """Where something else is clipped, parts at 0 and 1 are inside, and parts with v = 0 stay where they are."""
        corners = {"object__parts__x": [0, 1, 0, 9.0], "object__parts__y": [1, 0, 0, 0.5]}
        record = make_record(object__area=[3.0, 0.1], object__parts__v=[2, 1, 2, 0], **corners)
        objects, mended = settle(record, CLIP)
        assert objects.parts == record.object.parts
        assert mended == {"areas_clipped": 1}

    def test_parts_without_visibility_go_to_the_edge(self, make_record):
        """Where no part has a visibility, none can be hidden."""
        outside = {"object__parts__x": [0.1, 1.2, 0.5, 0.6], "object__parts__y": [0.3, 0.3, -0.7, 0.8]}
        objects, mended = settle(make_record(object__parts__v=[], **outside), CLIP)
        assert (objects.parts.x, objects.parts.y) == ([0.1, 1, 0.5, 0.6], [0.3, 0.3, 0, 0.8])
        assert (objects.parts.v, mended) == ([], {"parts_clipped": 2})

    @pytest.mark.parametrize("policy", [AnnotationPolicy(), CLIP], ids=["error", "clip"])
    @pytest.mark.parametrize("x", [-1.0, -0.0001, 300.0])
    def test_parts_that_are_not_in_the_image_may_be_anywhere(self, make_record, policy, x):
        """With v = 0 a position means nothing: it is neither a fault nor mended."""
        record = make_record(object__parts__x=[0.1, x, 0.5, 0.6], object__parts__v=[2, 0, 2, 1])
        assert validate_annotations(record, policy, *SIZE).record is record

    def test_a_box_outside_the_image_has_no_area_left(self, make_record):
        """Clipped to nothing, it is degenerate: an error, unless the policy drops it."""
        record = make_record(object__bbox__xmin=[1.2, 0.5], object__bbox__xmax=[1.4, 0.8])
        with pytest.raises(RecordError, match=r"xmin\[0\]: expected less than xmax, but got 1.0 and 1.0: .* no area"):
            settle(record, CLIP)
        both = AnnotationPolicy(OutOfRange.clip, DegenerateBoxes.drop)
        objects, mended = settle(record, both)
        assert (objects.count, mended) == (1, {"boxes_clipped": 1, "boxes_dropped": 1})


class TestDegenerate:
    """`degenerate_boxes: keep | drop`."""

    def test_dropping_takes_everything_of_the_object(self, make_record):
        """Every parallel list loses the object's entry, the lists of parts all of its parts."""
        objects, mended = settle(make_record(object__bbox__xmax=[0.1, 0.8]), DROP)
        expected = {"count": 1, "area": [0.09], "id": ["q"], "is_crowd": [1]}
        assert {name: getattr(objects, name) for name in expected} == expected
        boxes = {"xmin": [0.5], "xmax": [0.8], "ymin": [0.6], "ymax": [0.9], "label": [2], "text": ["finch"]}
        boxes |= {"score": [0.8], "conf": [1.0]}
        assert {name: getattr(objects.bbox, name) for name in objects.bbox.__struct_fields__} == boxes
        parts = {"x": [0.5, 0.6], "y": [0.7, 0.8], "v": [2, 1], "score": [0.3, 0.4]}
        assert {name: getattr(objects.parts, name) for name in objects.parts.__struct_fields__} == parts
        assert mended == {"boxes_dropped": 1}

    def test_all_objects_may_go(self, make_record):
        """An image whose boxes are all degenerate stays, without objects."""
        objects, mended = settle(make_record(object__bbox__ymax=[0.1, 0.1]), DROP)
        assert (objects.count, objects.bbox.xmin, objects.parts.x, mended) == (0, [], [], {"boxes_dropped": 2})

    def test_lists_that_are_absent_stay_absent(self, make_record):
        """What the record does not have is not made up."""
        boxes = {"xmin": [0.1, 0.5], "xmax": [0.1, 0.8], "ymin": [0.2, 0.6], "ymax": [0.4, 0.9]}
        objects, _ = settle(make_record(object={"bbox": boxes}), DROP)
        assert (objects.bbox.label, objects.area, objects.parts.x, objects.count) == ([], [], [], 1)

    @pytest.mark.parametrize("xmax", [0.1, 0.05])
    def test_kept_boxes_are_as_they_were(self, make_record, xmax):
        """`keep` stores them, and counts nothing, for nothing was done."""
        record = make_record(object__bbox__xmax=[xmax, 0.8])
        assert validate_annotations(record, KEEP, *SIZE) == (record, {}, 0)


class TestExtra:
    """`extra` stays with its record; what it says of each object goes with the object."""

    @pytest.mark.parametrize("extra", ["text", ["a", "b"], {"folder": "VOC"}, FLAGS])
    def test_it_is_kept_where_values_are_mended(self, make_record, extra):
        """Snapped or clipped, a record has the `extra` that it had."""
        for xmax in (1.0003, 1.4):
            record = make_record(extra=extra, object__bbox__xmax=[0.3, xmax])
            settled = validate_annotations(record, CLIP, *SIZE).record
            assert settled.object.bbox.xmax == [0.3, 1]
            assert settled.extra == extra

    @pytest.mark.parametrize(
        ("extra", "expected"),
        [
            pytest.param(FLAGS, {"difficult": [0], "truncated": [1], "pose": ["Rear"]}, id="flags"),
            pytest.param({"difficult": [1, 0], "a": [1, 2]}, {"difficult": [0], "a": [1, 2]}, id="other lists stay"),
            pytest.param(
                {"difficult": [1], "pose": "Left"}, {"difficult": [1], "pose": "Left"}, id="not one an object"
            ),
            pytest.param("text", "text", id="text"),
            pytest.param([1, 0], [1, 0], id="a list"),
        ],
    )
    def test_flags_go_with_their_object(self, make_record, extra, expected):
        """Lists of Pascal VOC's flags lose the entry of an object that is dropped, and nothing else changes."""
        record = make_record(extra=extra, object__bbox__xmax=[0.1, 0.8])
        assert validate_annotations(record, DROP, *SIZE).record.extra == expected


@pytest.mark.parametrize("options", [OutOfRange, DegenerateBoxes])
def test_values_of_options_are_their_names(options):
    """Fingerprints hold their values, the command line takes their names: they are the same."""
    assert [each.value for each in options] == [each.name for each in options]


def test_what_is_counted_is_listed():
    """Statistics count by these codes, so that they are listed and stable."""
    source = Path(repair.__file__).read_text()
    assert all(source.count(f'"{code}"') == 2 for code in REPAIRS)
