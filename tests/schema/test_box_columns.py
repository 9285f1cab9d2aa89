"""Objects as lists that run in parallel, one entry a box."""

import pytest

from tfrec_stage.records import Boxes, Objects
from tfrec_stage.schema.tfds import areas_in_pixels, corners, one_per_box

TWO = Boxes(xmin=[0.1, 0.5], xmax=[0.4, 1.0], ymin=[0.2, 0.0], ymax=[0.6, 0.5])


def test_corners_stand_box_by_box() -> None:
    """Four numbers a box, ymin first."""
    assert corners(TWO) == [0.2, 0.1, 0.6, 0.4, 0.0, 0.5, 0.5, 1.0]
    assert corners(Boxes()) == []


@pytest.mark.parametrize(
    ("objects", "values", "expected"),
    [
        (Objects(bbox=TWO), [3, 4], [3, 4]),
        (Objects(bbox=TWO), [], [-1, -1]),
        (Objects(), [], []),
        (Objects(count=2, is_crowd=[0, 1]), [0, 1], []),
    ],
    ids=["given", "left out", "no object", "objects without boxes"],
)
def test_every_list_is_as_long_as_there_are_boxes(objects: Objects, values: list[int], expected: list[int]) -> None:
    """A list that was left out is filled up; without boxes it is empty."""
    assert one_per_box(objects, values, -1) == expected


def test_areas_are_in_square_pixels() -> None:
    """The stated area is taken, else that of the box; a reversed box has none."""
    assert areas_in_pixels(Objects(area=[0.25, 0.5], bbox=TWO), 20, 10) == [50.0, 100.0]
    assert areas_in_pixels(Objects(bbox=TWO), 20, 10) == pytest.approx([24.0, 50.0])
    reversed_boxes = Boxes(xmin=[0.9, 0.0], xmax=[0.1, 1.0], ymin=[0.0, 0.9], ymax=[1.0, 0.1])
    assert areas_in_pixels(Objects(bbox=reversed_boxes), 20, 10) == [0.0, 0.0]
    assert areas_in_pixels(Objects(count=1, area=[0.5]), 20, 10) == []


@pytest.mark.parametrize("read", [corners, lambda boxes: areas_in_pixels(Objects(bbox=boxes), 20, 10)])
def test_no_box_is_lost_where_edges_differ_in_number(read) -> None:
    """Lists of unequal length are an error, never as many boxes as the shortest has."""
    with pytest.raises(ValueError, match="zip"):
        read(Boxes(xmin=[0.1, 0.5], xmax=[0.4, 1.0], ymin=[0.2], ymax=[0.6]))
