import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.importers.shapes import (
    RunLengths,
    mask_area,
    mask_box,
    polygon_area,
    segmentation_area,
    segmentation_box,
)

corners = st.tuples(st.integers(0, 100), st.integers(0, 100))


@given(corners, corners)
def test_a_rectangle_has_the_area_of_its_sides(first, second):
    """The area of a rectangle is width times height, in either direction."""
    (x0, y0), (x1, y1) = first, second
    around = [x0, y0, x1, y0, x1, y1, x0, y1]
    assert polygon_area(around) == abs(x1 - x0) * abs(y1 - y0)


@pytest.mark.parametrize("points", [[], [1, 2], [1, 2, 3, 4]])
def test_fewer_than_three_points_have_no_area(points):
    """Fewer than three points have no area."""
    assert polygon_area(points) == 0


@pytest.mark.parametrize(
    ("counts", "area"),
    [
        ([], 0),
        ([200], 0),  # background only
        ([0, 200], 200),  # foreground only
        ([5, 3, 190, 2], 5),
        (
            "P137000]1NiN7j1",
            18,
        ),  # packed by pycocotools: a 3x3 square, a dot and a bar of 8 in a mask of 10x20
        ("T6", 0),
    ],
)
def test_the_area_of_a_mask_is_the_sum_of_its_odd_runs(counts, area):
    """The area of a mask is the sum of every second run, as numbers or packed."""
    assert mask_area(RunLengths(counts)) == area


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_packing_does_not_change_the_area(runs):
    """Packing run lengths into text does not change the area."""
    assert mask_area(RunLengths(pack(runs))) == sum(runs[1::2])


@pytest.mark.parametrize(("text", "message"), [("5 3", "but got ' '"), ("P", "the last one is cut off")])
def test_malformed_packed_runs_are_refused(text, message):
    """A character outside the alphabet, or an end inside a number, is an error."""
    with pytest.raises(ValueError, match=message):
        mask_area(RunLengths(text))


def test_real_polygons_have_their_stated_area(tiny_coco):
    """Polygons of real objects have the area that their annotation states."""
    content = (tiny_coco / "annotations" / "instances_train2017.json").read_bytes()
    objects = [each for each in json.loads(content)["annotations"] if not each["iscrowd"]]
    areas = [sum(polygon_area(polygon) for polygon in each["segmentation"]) for each in objects]
    assert areas == pytest.approx([each["area"] for each in objects])
    assert len(areas) == 465


def pack(runs):
    """Pack run lengths: five bits per character, from the fourth on as the difference to two places before."""
    differences = [run - (runs[place - 2] if place > 2 else 0) for place, run in enumerate(runs)]
    return "".join(pack_number(number) for number in differences)


def pack_number(number):
    text = ""
    while True:
        bits, number = number & 31, number >> 5
        is_last = number == (-1 if bits & 16 else 0)
        text += chr(48 + bits + (0 if is_last else 32))
        if is_last:
            return text


@given(st.integers(1, 6), st.lists(st.integers(0, 9), max_size=12))
def test_a_mask_has_the_box_around_its_pixels(height, runs):
    """The box from the runs equals the box from all pixels."""
    pixels = [place % 2 for place, length in enumerate(runs) for _ in range(length)]
    xs = [place // height for place, is_set in enumerate(pixels) if is_set]
    ys = [place % height for place, is_set in enumerate(pixels) if is_set]
    around = (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1) if xs else None
    assert mask_box(RunLengths(runs, (height, 99))) == around


def test_a_packed_mask_has_a_box():
    """The box of a packed mask encloses a square, a dot and a bar."""
    assert mask_box(RunLengths("P137000]1NiN7j1", (10, 20))) == (3, 1, 10, 8)


@pytest.mark.parametrize("mask", [RunLengths([1, 2]), RunLengths([1, 2], (0, 5)), RunLengths([1, -2], (3, 5))])
def test_a_mask_without_a_height_has_no_box(mask):
    """A mask without a height, or with negative runs, is an error."""
    with pytest.raises(ValueError, match="expected run lengths from 0 and the image's height"):
        mask_box(mask)


def test_several_polygons_have_one_box():
    """The box of several polygons encloses all of them; without points there is none."""
    assert segmentation_box([[1, 2, 3, 4], [0, 7, 2, 3]]) == (0, 2, 3, 5)
    assert segmentation_box([[]]) is None
    assert segmentation_box(None) is None


@pytest.mark.parametrize("measure", [segmentation_area, segmentation_box])
def test_a_point_has_two_coordinates(measure):
    """An odd number of coordinates is an error."""
    with pytest.raises(ValueError, match="expected x and y of each point of a polygon, but got 5 numbers"):
        measure([[1, 2, 3, 4, 5]])
