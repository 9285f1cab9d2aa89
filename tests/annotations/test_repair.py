"""Annotations out of range are repaired as the policy says, and every repair is counted."""

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
LISTS = {"difficult": [1, 0], "truncated": [0, 1], "pose": ["Left", "Rear"]}


def repair_record(record, policy=AnnotationPolicy()):  # noqa: B008 - never changed
    result = validate_annotations(record, policy, *SIZE)
    return result.record.object, dict(result.repaired)


class TestRounding:
    """Up to a twentieth of a pixel outside is rounding: moved to the edge with every policy, and counted."""

    @pytest.mark.parametrize("policy", [AnnotationPolicy(), CLIP, DROP, KEEP], ids=["error", "clip", "drop", "keep"])
    def test_edges_are_moved_to_the_image(self, make_record, policy):
        """A twentieth of a pixel is 0.0005 of 100 pixels and 0.001 of 50."""
        record = make_record(
            object__bbox__xmin=[-0.0005, 0.5],
            object__bbox__xmax=[0.3, 1.0005],
            object__bbox__ymin=[-0.001, 0.6],
            object__bbox__ymax=[0.4, 1.001],
        )
        objects, repaired = repair_record(record, policy)
        assert (objects.bbox.xmin, objects.bbox.xmax) == ([0, 0.5], [0.3, 1])
        assert (objects.bbox.ymin, objects.bbox.ymax) == ([0, 0.6], [0.4, 1])
        assert repaired == {"rounding_snapped": 4}

    @pytest.mark.parametrize(
        ("path", "value"),
        [("object__bbox__xmin", [-0.0006, 0.5]), ("object__bbox__ymax", [0.4, 1.0011]), ("object__area", [1.002, 0.1])],
    )
    def test_more_is_not_rounding(self, make_record, path, value):
        """Coordinates outside by more than rounding fail."""
        with pytest.raises(RecordError, match=r"expected a number in \[0, 1\]"):
            repair_record(make_record(**{path: value}))

    def test_parts_and_areas_too(self, make_record):
        """Keypoints are snapped like boxes; areas by the tolerances of both sides together."""
        record = make_record(
            object__parts__x=[-0.0005, 1.0005, 0, 0], object__parts__y=[0, 0, 1.001, -0.001], object__area=[1.0015, 0.1]
        )
        objects, repaired = repair_record(record)
        assert (objects.parts.x, objects.parts.y, objects.area) == ([0, 1, 0, 0], [0, 0, 1, 0], [1, 0.1])
        assert repaired == {"rounding_snapped": 5}

    @pytest.mark.parametrize("policy", [AnnotationPolicy(), CLIP], ids=["error", "clip"])
    def test_parts_that_are_not_in_the_image_are_unchanged(self, make_record, policy):
        """A keypoint with v = 0 keeps its position, even just outside, when something else is repaired."""
        record = make_record(
            object__bbox__xmax=[0.3, 1.0005],
            object__parts__x=[0.1, -0.0005, 300, 0.6],
            object__parts__y=[0.1, 1.001, 0.1, -7],
            object__parts__v=[2, 0, 0, 0],
        )
        objects, repaired = repair_record(record, policy)
        assert objects.parts == record.object.parts
        assert repaired == {"rounding_snapped": 1}

    def test_objects_without_boxes_keep_their_count(self, make_record):
        """Objects with keypoints and no boxes are repaired too, and are not dropped as degenerate."""
        parts = {"x": [0.1, 1.0004], "y": [0.1, 0.2]}
        objects, repaired = repair_record(make_record(object={"count": 2, "parts": parts}), DROP)
        assert (objects.count, objects.parts.x, repaired) == (2, [0.1, 1], {"rounding_snapped": 1})

    def test_a_zero_keeps_its_sign(self, make_record):
        """-0.0 is inside the image, and is stored unchanged when another edge is moved."""
        objects, _ = repair_record(make_record(object__bbox__xmin=[-0.0, -0.0004]))
        assert list(map(str, objects.bbox.xmin)) == ["-0.0", "0.0"]

    def test_coordinates_inside_are_not_rounded(self, make_record):
        """Only coordinates outside are moved: 0.9999 is unchanged."""
        record = make_record(object__bbox__xmax=[0.3, 0.9999])
        assert validate_annotations(record, CLIP, *SIZE).record is record


class TestClip:
    """`out_of_range: clip`."""

    def test_boxes_are_clipped_to_the_image(self, make_record):
        """A box clipped on two sides counts once. Its area is unchanged, as the part outside is unknown."""
        record = make_record(object__bbox__xmin=[-0.5, 0.5], object__bbox__ymax=[1.5, 0.9])
        objects, repaired = repair_record(record, CLIP)
        assert (objects.bbox.xmin, objects.bbox.ymax, objects.area) == ([0, 0.5], [1, 0.9], [0.04, 0.09])
        assert repaired == {"boxes_clipped": 1}

    def test_areas_are_at_most_the_image(self, make_record):
        """An area larger than the image becomes that of the image."""
        objects, repaired = repair_record(make_record(object__area=[3.0, 0.1]), CLIP)
        assert (objects.area, repaired) == ([1.0, 0.1], {"areas_clipped": 1})

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
        """A keypoint outside the image gets v = 0 and position (0, 0), as in COCO, and counts once."""
        parts = {"x": [0.1, x, 0.5, 0.6], "y": [0.3, y, 0.7, 0.8], "v": [2, v, 2, 1]}
        objects, repaired = repair_record(
            make_record(**{f"object__parts__{name}": each for name, each in parts.items()}), CLIP
        )
        assert (objects.parts.x, objects.parts.y) == ([0.1, 0, 0.5, 0.6], [0.3, 0, 0.7, 0.8])
        assert objects.parts.v == [2, 0, 2, 1]
        assert repaired == {"parts_hidden": 1}

    def test_parts_in_the_corners_are_in_the_image(self, make_record):
        """Keypoints at 0 and 1 are inside, and those with v = 0 are unchanged, when something else is clipped."""
        corners = {"object__parts__x": [0, 1, 0, 9.0], "object__parts__y": [1, 0, 0, 0.5]}
        record = make_record(object__area=[3.0, 0.1], object__parts__v=[2, 1, 2, 0], **corners)
        objects, repaired = repair_record(record, CLIP)
        assert objects.parts == record.object.parts
        assert repaired == {"areas_clipped": 1}

    def test_parts_without_visibility_are_moved_to_the_edge(self, make_record):
        """Without visibilities a keypoint cannot be hidden, so it is moved to the edge."""
        outside = {"object__parts__x": [0.1, 1.2, 0.5, 0.6], "object__parts__y": [0.3, 0.3, -0.7, 0.8]}
        objects, repaired = repair_record(make_record(object__parts__v=[], **outside), CLIP)
        assert (objects.parts.x, objects.parts.y) == ([0.1, 1, 0.5, 0.6], [0.3, 0.3, 0, 0.8])
        assert (objects.parts.v, repaired) == ([], {"parts_clipped": 2})

    @pytest.mark.parametrize("policy", [AnnotationPolicy(), CLIP], ids=["error", "clip"])
    @pytest.mark.parametrize("x", [-1.0, -0.0001, 300.0])
    def test_parts_that_are_not_in_the_image_may_be_anywhere(self, make_record, policy, x):
        """The position of a keypoint with v = 0 is never a problem, and is not repaired."""
        record = make_record(object__parts__x=[0.1, x, 0.5, 0.6], object__parts__v=[2, 0, 2, 1])
        assert validate_annotations(record, policy, *SIZE).record is record

    def test_a_box_outside_the_image_has_no_area_left(self, make_record):
        """A box outside the image is degenerate once clipped: an error, unless the policy drops it."""
        record = make_record(object__bbox__xmin=[1.2, 0.5], object__bbox__xmax=[1.4, 0.8])
        with pytest.raises(RecordError, match=r"xmin\[0\]: expected less than xmax, but got 1.0 and 1.0: .* no area"):
            repair_record(record, CLIP)
        both = AnnotationPolicy(OutOfRange.clip, DegenerateBoxes.drop)
        objects, repaired = repair_record(record, both)
        assert (objects.count, repaired) == (1, {"boxes_clipped": 1, "boxes_dropped": 1})


class TestDegenerate:
    """`degenerate_boxes: keep | drop`."""

    def test_dropping_removes_all_values_of_the_object(self, make_record):
        """Every list loses the entry of the object, and the lists of keypoints all of its keypoints."""
        objects, repaired = repair_record(make_record(object__bbox__xmax=[0.1, 0.8]), DROP)
        expected = {"count": 1, "area": [0.09], "id": ["q"], "is_crowd": [1]}
        assert {name: getattr(objects, name) for name in expected} == expected
        boxes = {"xmin": [0.5], "xmax": [0.8], "ymin": [0.6], "ymax": [0.9], "label": [2], "text": ["finch"]}
        boxes |= {"score": [0.8], "conf": [1.0]}
        assert {name: getattr(objects.bbox, name) for name in objects.bbox.__struct_fields__} == boxes
        parts = {"x": [0.5, 0.6], "y": [0.7, 0.8], "v": [2, 1], "score": [0.3, 0.4]}
        assert {name: getattr(objects.parts, name) for name in objects.parts.__struct_fields__} == parts
        assert repaired == {"boxes_dropped": 1}

    def test_all_objects_may_be_dropped(self, make_record):
        """An image whose boxes are all degenerate is kept, without objects."""
        objects, repaired = repair_record(make_record(object__bbox__ymax=[0.1, 0.1]), DROP)
        assert (objects.count, objects.bbox.xmin, objects.parts.x, repaired) == (0, [], [], {"boxes_dropped": 2})

    def test_empty_lists_stay_empty(self, make_record):
        """Dropping adds no values to lists that the record omits."""
        boxes = {"xmin": [0.1, 0.5], "xmax": [0.1, 0.8], "ymin": [0.2, 0.6], "ymax": [0.4, 0.9]}
        objects, _ = repair_record(make_record(object={"bbox": boxes}), DROP)
        assert (objects.bbox.label, objects.area, objects.parts.x, objects.count) == ([], [], [], 1)

    @pytest.mark.parametrize("xmax", [0.1, 0.05])
    def test_kept_boxes_are_unchanged(self, make_record, xmax):
        """`keep` stores degenerate boxes unchanged and counts nothing."""
        record = make_record(object__bbox__xmax=[xmax, 0.8])
        assert validate_annotations(record, KEEP, *SIZE) == (record, {}, 0)


class TestExtra:
    """`extra` is kept, except for the list entries of removed objects."""

    @pytest.mark.parametrize("extra", ["text", ["a", "b"], {"folder": "VOC"}, LISTS])
    def test_it_is_kept_when_values_are_repaired(self, make_record, extra):
        """Snapping and clipping do not change `extra`."""
        for xmax in (1.0003, 1.4):
            record = make_record(extra=extra, object__bbox__xmax=[0.3, xmax])
            result = validate_annotations(record, CLIP, *SIZE).record
            assert result.object.bbox.xmax == [0.3, 1]
            assert result.extra == extra

    @pytest.mark.parametrize(
        ("extra", "expected"),
        [
            pytest.param(LISTS, {"difficult": [0], "truncated": [1], "pose": ["Rear"]}, id="flags"),
            pytest.param({"difficult": [1, 0], "a": [1, 2]}, {"difficult": [0], "a": [1, 2]}, id="other lists stay"),
            pytest.param(
                {"difficult": [1], "pose": "Left"}, {"difficult": [1], "pose": "Left"}, id="not one per object"
            ),
            pytest.param("text", "text", id="text"),
            pytest.param([1, 0], [1, 0], id="a list"),
        ],
    )
    def test_list_entries_are_removed_with_their_object(self, make_record, extra, expected):
        """The lists that the VOC importer writes lose the entry of a dropped object; nothing else changes."""
        record = make_record(extra=extra, object__bbox__xmax=[0.1, 0.8])
        assert validate_annotations(record, DROP, *SIZE).record.extra == expected


@pytest.mark.parametrize("options", [OutOfRange, DegenerateBoxes])
def test_values_of_options_equal_their_names(options):
    """Fingerprints contain the values and the command line takes the names, so both have to be the same."""
    assert [each.value for each in options] == [each.name for each in options]


def test_listed_repairs_are_used():
    """Statistics count by these names, so every name in `REPAIRS` is used."""
    source = Path(repair.__file__).read_text()
    assert all(source.count(f'"{code}"') == 2 for code in REPAIRS)
