"""Objects that have a polygon or a rotated box instead of a box."""

import math

import pytest

from tfrec_stage.importers import find_importer
from tfrec_stage.records import Boxes

POLYGON = "<polygon><x1>2</x1><y1>1</y1><x2>6</x2><y2>1</y2><x3>6</x3><y3>4</y3></polygon>"
LABEL_ME = "<polygon><pt><x>2</x><y>1</y></pt><pt><x>6</x><y>1</y></pt><pt><x>6</x><y>4</y></pt></polygon>"
BOX = "<bndbox><xmin>5</xmin><xmax>15</xmax><ymin>2</ymin><ymax>6</ymax></bndbox>"


def rotated(cx, cy, w, h, angle):
    tags = zip(("cx", "cy", "w", "h", "angle"), (cx, cy, w, h, angle), strict=True)
    return f"<type>robndbox</type><robndbox>{''.join(f'<{tag}>{value}</{tag}>' for tag, value in tags)}</robndbox>"


@pytest.fixture
def read_objects(draw, tmp_path, sort_out):
    """Read an image of 20 x 10 pixels with these objects; return records, problems and notes."""

    def read(*objects):
        draw("images/a.png")
        (tmp_path / "a.xml").write_text(
            "<annotation><size><width>20</width><height>10</height></size>"
            + "".join(f"<object><name>cat</name>{each}</object>" for each in objects)
            + "</annotation>"
        )
        dataset = find_importer("voc")((tmp_path,), tmp_path / "images", tmp_path)
        return *sort_out(dataset.records), dataset.notes

    return read


@pytest.mark.parametrize("outline", [POLYGON, LABEL_ME])
def test_a_polygon_becomes_the_box_around_it(read_objects, outline):
    """An object without a box gets the box around its polygon and the polygon's area, and is counted."""
    (record,), problems, notes = read_objects(outline, BOX)
    boxes = record.object.bbox
    assert (boxes.xmin, boxes.xmax, boxes.ymin, boxes.ymax) == ([0.1, 0.25], [0.3, 0.75], [0.1, 0.2], [0.4, 0.6])
    assert record.object.area == [pytest.approx(6 / 200), pytest.approx(0.2)]
    assert notes.counts == {"boxes derived from outlines": 1}
    assert not problems


def test_a_box_takes_precedence_over_a_polygon(read_objects):
    """If an object has both a box and a polygon, the box is used."""
    (record,), _, notes = read_objects(POLYGON + BOX)
    assert (record.object.bbox.xmin, record.object.area) == ([0.25], [pytest.approx(0.2)])
    assert not notes.counts


def test_several_polygons_are_one_object(read_objects):
    """An object with two polygons has the box around both and the sum of their areas."""
    (record,), _, _ = read_objects(POLYGON + POLYGON.replace(">6<", ">16<"))
    assert (record.object.bbox.xmin, record.object.bbox.xmax) == ([0.1], [0.8])
    assert record.object.area == [pytest.approx((6 + 21) / 200)]


@pytest.mark.parametrize(
    ("box", "edges", "clipped"),
    [
        ((10, 5, 4, 2, 0), (8, 12, 4, 6), 0),
        ((10, 5, 4, 2, math.pi / 2), (9, 11, 3, 7), 0),
        ((10, 5, 4, 2, math.pi / 6), (7.768, 12.232, 3.134, 6.866), 0),
        ((10, 5, 4, 2, -math.pi / 6), (7.768, 12.232, 3.134, 6.866), 0),  # the other direction: the same box
        ((2, 5, 4, 2, math.pi / 6), (0, 4.232, 3.134, 6.866), 1),  # the rotation moved a corner outside
        ((2, 5, 4, 8, 1.5), (-2.131, 6.131, 2.722, 7.278), 0),  # not inside at the nearest right angle either
        (
            (1, 5, 4, 2, math.pi / 6),
            (-1.232, 3.232, 3.134, 6.866),
            0,
        ),  # not inside without rotation either: left to the option
        ((10, 5, 9.6, 4, math.pi / 4), (5.192, 14.808, 0.192, 9.808), 0),
        ((10, 5, 10, 8, math.pi / 4), (3.636, 16.364, 0, 10), 1),  # at the top and at the bottom
    ],
)
def test_a_rotated_box_becomes_the_upright_box_around_it(read_objects, *, box, edges, clipped):
    """The box around the corners is clipped at the image's edges if only the rotation moved them outside."""
    (record,), _, notes = read_objects(rotated(*box))
    found = record.object.bbox
    pixels = (found.xmin[0] * 20, found.xmax[0] * 20, found.ymin[0] * 10, found.ymax[0] * 10)
    assert pixels == pytest.approx(edges, abs=0.001)
    assert record.object.area == [pytest.approx(box[2] * box[3] / 200)]
    assert notes.counts["boxes derived from outlines"] == 1
    assert notes.counts["boxes around rotated ones, cut at the edges of their images"] == clipped


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<polygon/>", "expected 3 or more points in <polygon>, as <x1>, <y1>, … or as <pt>"),
        (POLYGON.replace("y3", "z3"), "expected <y3> in <polygon>"),
        (POLYGON.replace("x2", "x7"), "expected <x2> in <polygon>"),  # a missing point
        (LABEL_ME.replace(">6<", ">six<"), "expected a number in <x>, but got 'six'"),
        (rotated(10, 5, 4, 2, ""), "expected a number in <angle>, but got ''"),
        (
            rotated(10, 5, 4, 2, 45),  # degrees
            "expected w and h of 0 or more and an angle in radians, but got w 4, h 2, angle 45",
        ),
        (
            rotated(10, 5, -4, 2, 0),
            "expected w and h of 0 or more and an angle in radians, but got w -4, h 2, angle 0",
        ),
        ("<bndbox/>", "expected <xmin> in <bndbox>"),
    ],
)
def test_a_malformed_shape_is_a_problem(read_objects, content, message):
    """A malformed polygon or rotated box is a problem, and nothing is counted for the image."""
    records, problems, notes = read_objects(POLYGON, content)
    assert not records
    assert [each.message for each in problems] == [message]
    assert not notes.counts


def test_deleted_objects_are_ignored(read_objects):
    """Objects that LabelMe marks as deleted are ignored."""
    (record,), _, _ = read_objects(LABEL_ME + "<deleted>1</deleted>", BOX + "<deleted>0</deleted>")
    assert record.object.bbox == Boxes(xmin=[0.25], xmax=[0.75], ymin=[0.2], ymax=[0.6], label=[0], text=["cat"])
