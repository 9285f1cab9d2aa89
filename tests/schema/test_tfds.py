"""The values of the keys for TensorFlow Datasets: lists with one entry per box."""

import pytest

from tfrec_stage.records import Boxes, Objects
from tfrec_stage.schema.tfds import areas_in_pixels, corners, one_per_box

TWO = Boxes(xmin=[0.1, 0.5], xmax=[0.4, 1.0], ymin=[0.2, 0.0], ymax=[0.6, 0.5])


def test_corners_are_grouped_by_box() -> None:
    """Each box has four numbers in a row, ymin first."""
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
    ids=["given", "omitted", "no object", "objects without boxes"],
)
def test_every_list_has_one_entry_per_box(objects: Objects, values: list[int], expected: list[int]) -> None:
    """An omitted list is filled with the default; without boxes it is empty."""
    assert one_per_box(objects, values, -1) == expected


def test_areas_are_in_square_pixels() -> None:
    """The stated area is used, otherwise that of the box; it is 0 for a reversed box."""
    assert areas_in_pixels(Objects(area=[0.25, 0.5], bbox=TWO), 20, 10) == [50.0, 100.0]
    assert areas_in_pixels(Objects(bbox=TWO), 20, 10) == pytest.approx([24.0, 50.0])
    reversed_boxes = Boxes(xmin=[0.9, 0.0], xmax=[0.1, 1.0], ymin=[0.0, 0.9], ymax=[1.0, 0.1])
    assert areas_in_pixels(Objects(bbox=reversed_boxes), 20, 10) == [0.0, 0.0]
    assert areas_in_pixels(Objects(count=1, area=[0.5]), 20, 10) == []


@pytest.mark.parametrize("read", [corners, lambda boxes: areas_in_pixels(Objects(bbox=boxes), 20, 10)])
def test_edges_of_unequal_number_are_an_error(read) -> None:
    """Lists of unequal length are never shortened to the shortest, which would lose boxes."""
    with pytest.raises(ValueError, match="zip"):
        read(Boxes(xmin=[0.1, 0.5], xmax=[0.4, 1.0], ymin=[0.2], ymax=[0.6]))
