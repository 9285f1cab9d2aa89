"""The EXIF orientation is found as by Pillow, and the frame that was annotated is chosen."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tfrec_stage.errors import RecordError
from tfrec_stage.images.exif import Orientation, find_orientation

STORED = (40, 30)
SQUARE = (30, 30)


def _exif(value: int, order: str = "<", kind: int = 3, number: str = "H") -> bytes:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    maker = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"Abc\0")
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + struct.pack(order + number, value).ljust(4, b"\0")
    return head + struct.pack(order + "H", 2) + maker + entry + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_value_is_found(value, order):
    """All eight values are read in both byte orders."""
    assert find_orientation(_exif(value, order)).value == value


def test_agrees_with_pillow():
    """The orientation that Pillow writes is found."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x0131] = "Maker", 8, "Software"
    assert find_orientation(exif.tobytes().removeprefix(b"Exif\0\0")).value == 8


@pytest.mark.parametrize(("kind", "number"), [(1, "B"), (3, "H"), (4, "I"), (9, "H")])
def test_numbers_of_other_types_are_read(kind, number):
    """The number may be a BYTE, SHORT or LONG; with any other type it is read as a SHORT."""
    assert find_orientation(_exif(6, ">", kind, number)).value == 6


MALFORMED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"II*\0", id="no-directory"),
    pytest.param(b"II*\0\x08\0\0", id="offset-cut"),
    pytest.param(b"XX" + _exif(6)[2:], id="no-byte-order"),
    pytest.param(b"II*\0\xff\xff\xff\xff", id="directory-beyond-the-end"),
    pytest.param(_exif(6)[:30], id="entry-cut"),
    pytest.param(_exif(6, ">", 4, "I")[:-5], id="number-cut"),
    pytest.param(_exif(0), id="value-0"),
    pytest.param(_exif(9), id="value-9"),
    pytest.param(b"II*\0\x08\0\0\0\0\0", id="no-entries"),
]


@pytest.mark.parametrize("exif", MALFORMED)
def test_malformed_exif_means_upright(exif):
    """A malformed block counts as upright."""
    assert find_orientation(exif) == Orientation()
    assert (find_orientation(exif).value, find_orientation(exif).at, find_orientation(exif).format) == (1, 0, "")


@pytest.mark.parametrize("exif", MALFORMED)
@pytest.mark.parametrize("behind", [b"", _exif(6)[30:], b"\0" * 40])
def test_nothing_after_the_block_is_read(exif, behind):
    """A block inside a file ends at `end`, whatever follows."""
    assert find_orientation(b"before" + exif + behind, 6, 6 + len(exif)) == Orientation()


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_directory_ends_where_its_count_says(order):
    """Entries after the number that the directory states are ignored."""
    head, entries = _exif(6, order)[:8], _exif(6, order)[10:]
    assert find_orientation(head + struct.pack(order + "H", 2) + entries).value == 6
    assert find_orientation(head + struct.pack(order + "H", 1) + entries) == Orientation()


def test_the_last_of_many_entries_is_found():
    """The tag is found in the last entry, at the very end of the block."""
    exif = _exif(6)
    maker, orientation = exif[10:22], exif[22:34]
    assert find_orientation(exif[:8] + struct.pack("<H", 21) + maker * 20 + orientation).value == 6


def test_entries_are_read_from_their_start():
    """Bytes inside another entry that look like the tag are ignored."""
    entry = struct.pack("<6H", 0x010F, 0x0112, 3, 1, 0, 6)
    assert find_orientation(b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + bytes(4)) == Orientation()


@given(st.binary(max_size=80))
def test_no_exif_raises(tail):
    """Any bytes give one of the eight values."""
    assert 1 <= find_orientation(b"MM\0*\0\0\0\x08" + tail).value <= 8


@given(st.integers(1, 8), st.sampled_from("<>"), st.binary(max_size=9), st.binary(max_size=9))
def test_clear_sets_the_number_to_1(value, order, before, after):
    """`clear` sets the value to 1 and changes no other byte."""
    data = before + _exif(value, order) + after
    found = find_orientation(data, len(before), len(data) - len(after))
    cleared = found.clear(data)
    assert find_orientation(cleared, len(before)).value == 1
    assert sum(a != b for a, b in zip(data, cleared, strict=True)) == (value != 1)


@pytest.mark.parametrize(
    ("value", "stored", "annotated", "chosen", "ambiguous"),
    [
        pytest.param(1, STORED, None, 1, False, id="upright"),
        pytest.param(1, STORED, STORED, 1, False, id="upright-annotated"),
        pytest.param(6, STORED, None, 6, True, id="nothing-annotated"),
        pytest.param(6, STORED, (30, 40), 6, False, id="upright-frame-annotated"),
        pytest.param(6, STORED, STORED, 1, False, id="stored-frame-annotated"),
        pytest.param(3, STORED, STORED, 3, True, id="rotation-by-180-keeps-the-size"),
        pytest.param(8, SQUARE, SQUARE, 8, True, id="square"),
    ],
)
def test_the_annotated_frame_is_chosen(value, stored, annotated, chosen, ambiguous):
    """The upright frame is chosen, unless the annotated size can only be that of the stored frame."""
    orientation = Orientation(value)
    assert orientation.choose(stored, annotated).value == chosen
    assert orientation.is_ambiguous(stored, annotated) is ambiguous


@pytest.mark.parametrize(
    ("value", "frames"),
    [(1, "40 x 30, but the record says 41 x 30"), (6, "30 x 40 upright or 40 x 30 as stored")],
)
def test_a_size_of_neither_frame_is_refused(value, frames):
    """A size of neither frame fails, with a message that has all sizes."""
    with pytest.raises(RecordError, match=frames) as caught:
        Orientation(value).choose(STORED, (41, 30))
    assert caught.value.reason == "annotation_invalid"


@pytest.mark.parametrize("value", range(1, 9))
def test_rotations_by_90_degrees_swap_width_and_height(value):
    """Orientations 5 to 8 swap width and height, the others do not."""
    assert Orientation(value).apply(STORED) == ((30, 40) if value >= 5 else (40, 30))
