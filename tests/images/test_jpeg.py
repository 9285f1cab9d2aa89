"""The structure of JPEGs: which headers are read, and which damage is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tfrec_stage.errors import RecordError
from tfrec_stage.images.jpeg import SCAN_LIMIT, SEGMENT_LIMIT, parse_jpeg

# The smallest JPEG: 8 x 8, gray. Its frame header begins at byte 69 + 4, its scan at 111 + 4.
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
DQT = b"\xff\xdb\0\x43\0" + b"\1" * 64
DHT = b"\xff\xc4\0\x14\0\1" + bytes(15) + b"\0" + b"\xff\xc4\0\x14\x10\1" + bytes(15) + b"\0"
SCAN = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\x3f"


def _frame(marker: int = 0xC0, height: int = 8, width: int = 8, components: bytes = b"\1\x11\0") -> bytes:
    body = b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(components) // 3]) + components
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


SMALL = SOI + DQT + _frame() + DHT + SCAN + EOI


def _scan(*ids: int) -> bytes:
    header = bytes([len(ids)]) + b"".join(bytes([each, 0]) for each in ids) + b"\0\x3f\0"
    return _segment(0xDA, header) + b"\x3f"


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def test_every_field_comes_from_its_segment():
    """Every field of the header is read from its segment."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"
    components = b"R\x22\0G\x11\0B\x11\0"
    scan = b"\xff\xda\0\x0c\3R\0G\0B\0\0\x3f\0" + b"\x3f\xff\0\xff\xd0\x3f"
    segments = _segment(0xE1, exif) + _segment(0xE2, b"MPF\0") + _segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
    data = SOI + segments + DQT + _frame(0xC2, 300, 400, components) + DHT + scan + EOI + b"more"
    header = parse_jpeg(data)
    assert (header.process, header.precision, header.size) == ("progressive", 8, (400, 300))
    assert (header.component_ids, header.components, header.adobe_transform) == (b"RGB", 3, 0)
    assert header.orientation.value == 6
    assert header.has_more_pictures
    assert data[header.end :] == b"more"


def test_defaults_without_metadata():
    """Without metadata an image is upright, is the only one, and has no Adobe transform."""
    header = parse_jpeg(SMALL)
    assert (header.process, header.size, header.components) == ("baseline", (8, 8), 1)
    assert (header.adobe_transform, header.orientation.value, header.has_more_pictures) == (None, 1, False)
    assert header.end == len(SMALL)


@pytest.mark.parametrize(
    ("options", "process"),
    [
        ({}, "baseline"),
        ({"progressive": True}, "progressive"),
        ({"restart_marker_blocks": 1}, "baseline"),
        ({"optimize": True, "subsampling": 0}, "baseline"),
        ({"icc_profile": bytes(100_000), "comment": b"said"}, "baseline"),
    ],
)
def test_real_jpegs_are_read_to_their_end(make_photo, to_bytes, options, process):
    """JPEGs that libjpeg writes are complete, with any options."""
    data = to_bytes(make_photo(70, 50), **options)
    header = parse_jpeg(data)
    assert (header.process, header.size, header.end) == (process, (70, 50), len(data))


@pytest.mark.parametrize(
    ("marker", "process"),
    [(0xC1, "extended"), (0xC3, "lossless"), (0xC9, "arithmetic"), (0xCA, "arithmetic"), (0xCB, "arithmetic")],
)
def test_the_marker_of_the_frame_decides_the_process(marker, process):
    """The coding process follows from the marker of the frame (T.81, table B.1)."""
    assert parse_jpeg(SMALL.replace(_frame(), _frame(marker))).process == process


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(SMALL.replace(DQT, b"\xff\xff" + DQT), id="fill-before-a-segment"),
        pytest.param(SMALL.replace(DQT, b"\xff" + _segment(0xFE, bytes(700)) + DQT), id="fill-before-a-long-segment"),
        pytest.param(SMALL[:-2] + b"\xff\xff" + EOI, id="fill-before-the-end"),
        pytest.param(SMALL[:-2] + b"\xff\xdc\0\4\0\x08" + EOI, id="number-of-lines-repeated"),
        pytest.param(SMALL[:-2] + b"padding" + EOI, id="bytes-between-scan-and-end"),
    ],
)
def test_fill_bytes_and_padding_are_allowed(data):
    """Any marker may be preceded by fill bytes (T.81, B.1.1.2); the other cases are common in real files."""
    assert parse_jpeg(data).end == len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"GIF89a", "begins with ff d8, but got 47 49, at byte 0", id="not-a-jpeg"),
        pytest.param(b"\xff\xd9" + SMALL[2:], "begins with ff d8, but got ff d9, at byte 0", id="begins-with-an-end"),
        pytest.param(SOI, "expected a marker, but got the end of the data, at byte 2", id="only-a-start"),
        pytest.param(SOI + EOI, "expected a frame header", id="nothing-inside"),
        pytest.param(SOI + DQT + SCAN + EOI, "expected a frame header", id="no-frame"),
        pytest.param(SOI + DQT + _frame() + DHT + EOI, r"scans of the components \[1\], but got of \[\]", id="no-scan"),
        pytest.param(SMALL[:-2], "end marker ff d9, but got the end of the data", id="no-end"),
        pytest.param(SMALL[:-1] + b"\0", "end marker ff d9, but got the end of the data", id="end-damaged"),
        pytest.param(SMALL.replace(SCAN, SCAN + b"\0" * 9)[:-2] + b"\0\0", "end marker", id="zero-filled-tail"),
        pytest.param(
            SMALL.replace(DHT, b"\0\0" + DHT), "expected a marker, but got 00 00", id="bytes-between-segments"
        ),
        pytest.param(
            SMALL.replace(DHT, b"\0" + DHT[1:]), "expected a marker, but got 00 c4", id="marker-without-its-lead"
        ),
        pytest.param(SMALL.replace(DHT, b"\xfe" + DHT[1:]), "a marker, but got fe c4", id="marker-of-another-lead"),
        pytest.param(SMALL.replace(DHT, b"\xff\xd0" + DHT), "segment, but got ff d0", id="restart-outside-a-scan"),
        pytest.param(SMALL[:-2] + SOI + EOI, "segment, but got ff d8", id="second-start"),
        pytest.param(SMALL.replace(DHT, DHT + b"\xff\xfe\0\1"), "a length of 1", id="length-below-2"),
        pytest.param(SMALL.replace(DHT, DHT + b"\xff\xfe\xff\xff"), "a length of 65535", id="length-beyond-the-end"),
        pytest.param(SOI + b"\xff\xfe\0", "within the 5 bytes, but got a length of 0", id="length-cut"),
        pytest.param(SMALL.replace(DHT, _frame() + DHT), "one frame header, but got a second", id="second-frame"),
        pytest.param(SMALL.replace(_frame(), _segment(0xC0, b"\x08\0\x08")), "but got 3 bytes", id="frame-too-short"),
        pytest.param(
            SMALL.replace(_frame(), _frame()[:3] + b"\x0c" + _frame()[4:] + b"\0"),
            "but got 10 bytes",
            id="frame-too-long",
        ),
        pytest.param(SMALL.replace(_frame(), _frame(width=0)), "a width of 0", id="no-width"),
        pytest.param(SMALL.replace(_frame(), _frame(components=b"")), "0 components", id="no-components"),
        pytest.param(SMALL.replace(_frame(), _frame(components=b"\1\x01\0")), "factors of 1 to 4", id="factor-0"),
        pytest.param(SMALL.replace(_frame(), _frame(components=b"\1\x15\0")), "factors of 1 to 4", id="factor-5"),
        pytest.param(
            SMALL.replace(_frame(), _frame(components=b"\1\x11\0\2\x01\0")), r"1 to 4, .* \[1, 0\]", id="a-second-of-0"
        ),
        pytest.param(
            SMALL.replace(_frame(), _frame(components=b"\1\x51\0\2\x11\0")), r"1 to 4, .* \[5, 1\]", id="a-first-of-5"
        ),
        pytest.param(SMALL.replace(SCAN, b"\xff\xda\0\x08\2\1\0\0\x3f\0\x3f"), "a scan header", id="scan-too-short"),
        pytest.param(SMALL.replace(SCAN, b"\xff\xda\0\2" + SCAN), "but got 0 bytes", id="scan-without-a-header"),
        pytest.param(SMALL[:-2] + _scan() + EOI, "1 to 4 components, but got 4 bytes", id="scan-of-nothing"),
        pytest.param(SMALL[:-2] + _scan(1, 2, 3, 4, 5) + EOI, "but got 14 bytes", id="scan-of-five"),
        pytest.param(
            SMALL.replace(SCAN, b"\xff\xda\0\x08\1\7\0\0\x3f\0\x3f"), "of .7.", id="scan-of-another-component"
        ),
        pytest.param(SMALL.replace(_frame(), _frame(components=b"\1\x11\0\2\x11\0")), "1, 2", id="component-unscanned"),
    ],
)
def test_a_damaged_structure_is_refused(data, message):
    """The message says what was expected and got, and at which byte."""
    with pytest.raises(RecordError, match=message) as caught:
        parse_jpeg(data)
    assert caught.value.reason == "image_corrupt"
    assert "at byte" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(SMALL.replace(_frame(), _frame(height=0)), "a height", id="height-defined-later"),
        *(
            pytest.param(SMALL.replace(_frame(), _frame(marker)), "hierarchical", id=f"differential-frame-{marker:x}")
            for marker in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
        ),
        pytest.param(SMALL.replace(_frame(), _frame(0xDE) + _frame()), "hierarchical", id="hierarchical"),
        pytest.param(
            SMALL.replace(_frame(), _frame(components=b"\1\x31\0\2\x21\0")),
            r"divide the largest, .* \[3, 2\]",
            id="3-to-2",
        ),
        pytest.param(SMALL[:-2] + SCAN * SCAN_LIMIT + EOI, "at most 100 scans", id="scan-bomb"),
        pytest.param(SMALL.replace(DHT, b"\xff\xfe\0\2" * SEGMENT_LIMIT + DHT), "at most 4096", id="segment-bomb"),
    ],
)
def test_what_decoders_cannot_read_is_refused(data, message):
    """Valid JPEGs are refused if neither Pillow nor TensorFlow can read them, or only very slowly."""
    with pytest.raises(RecordError, match=message) as caught:
        parse_jpeg(data)
    assert caught.value.reason == "image_unsupported"


FRAMES = {*range(0xC0, 0xD0), 0xDE} - {0xC4, 0xC8, 0xCC}
OTHERS = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xDF, *range(0xE0, 0xF0), 0xFE}


@pytest.mark.parametrize("marker", sorted({*range(1, 0xFF)} - FRAMES - {0xD9, 0xDA}))
def test_segments_are_those_of_the_standard(marker):
    """Only tables, metadata and comments may occur in an image (T.81, table B.1); other markers are damage."""
    data = SMALL.replace(DHT, _segment(marker, b"\0\0") + DHT)
    if marker in OTHERS:
        assert parse_jpeg(data).end == len(data)
        return
    with pytest.raises(RecordError, match=f"the marker of a segment, but got ff {marker:02x}, at byte"):
        parse_jpeg(data)


LIMITED = SMALL[:-2] + SCAN * (SCAN_LIMIT - 1) + EOI


@pytest.mark.parametrize(
    ("data", "components"),
    [
        pytest.param(SMALL.replace(_frame(), _frame(components=b"\1\x44\0")), b"\1", id="factors-of-4"),
        pytest.param(
            SOI + DQT + _frame(components=b"\1\x41\0\2\x11\0\3\x11\0") + DHT + _scan(1, 2, 3) + EOI,
            b"\1\2\3",
            id="4:1:1",
        ),
        pytest.param(
            SOI + DQT + _frame(components=b"\1\x42\0\2\x21\0\3\x12\0") + DHT + _scan(1) + _scan(3, 2) + EOI,
            b"\1\2\3",
            id="factors-that-divide-the-largest",
        ),
        pytest.param(
            SOI + DQT + _frame(components=b"\1\x11\0\2\x11\0\3\x11\0\4\x11\0") + DHT + _scan(1, 2, 3, 4) + EOI,
            b"\1\2\3\4",
            id="four-in-one-scan",
        ),
        pytest.param(LIMITED, b"\1", id="as-many-scans-as-are-allowed"),
    ],
)
def test_rare_but_valid_jpegs_are_allowed(data, components):
    """Sampling factors and scans at the limits of decoders are allowed."""
    header = parse_jpeg(data)
    assert (header.component_ids, header.end) == (components, len(data))


AT_FRAME = len(SOI + DQT) + 4
AT_SCAN = SMALL.index(SCAN) + 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            SOI + DQT,
            "damaged JPEG: expected a marker, but got the end of the data, at byte 71",
            id="ends-with-a-segment",
        ),
        pytest.param(
            SMALL.replace(_frame(), b"\0\0\0" + _frame()),
            f"damaged JPEG: expected a marker, but got 00 00, at byte {AT_FRAME - 4}",
            id="bytes-between-segments",
        ),
        pytest.param(
            SMALL.replace(_frame(), b"\xff\xfe\0\1" + _frame()),
            f"damaged JPEG: expected a segment ff fe within the {len(SMALL) + 4} bytes, but got a length of 1, "
            f"at byte {AT_FRAME - 2}",
            id="length",
        ),
        pytest.param(
            SOI + DQT + DHT + SCAN + EOI,
            "damaged JPEG: expected a frame header, but got none before the end marker, "
            f"at byte {len(SMALL) - len(_frame())}",
            id="no-frame",
        ),
        pytest.param(
            SMALL.replace(DHT, _frame() + _frame() + DHT),
            f"damaged JPEG: expected one frame header, but got a second one, at byte {AT_FRAME + 2 * len(_frame())}",
            id="frames-of-one-kind",
        ),
        pytest.param(
            SMALL.replace(_frame(), _frame(0xC2) + _frame(0xC1) + _frame()),
            f"damaged JPEG: expected one frame header, but got a second one, at byte {AT_FRAME + 2 * len(_frame())}",
            id="frames-of-three-kinds",
        ),
        pytest.param(
            SMALL.replace(_frame(), _frame(width=0)),
            f"damaged JPEG: expected a width and components, but got a width of 0 and 1 components, at byte {AT_FRAME}",
            id="no-width",
        ),
        pytest.param(
            SMALL.replace(_frame(), _frame(height=0)),
            "unsupported JPEG: expected a height in the frame header, but got 0 (a later segment would define it), "
            f"at byte {AT_FRAME + 1}",
            id="no-height",
        ),
        pytest.param(
            SMALL.replace(_frame(), _frame(0xC5)),
            "unsupported JPEG: expected one frame, but got the hierarchical process, which neither Pillow nor "
            f"TensorFlow reads, at byte {len(SMALL)}",
            id="hierarchical",
        ),
        pytest.param(
            SMALL.replace(_frame(), _frame(components=b"\1\x15\0")),
            f"damaged JPEG: expected sampling factors of 1 to 4, but got [5], at byte {AT_FRAME}",
            id="factor",
        ),
        pytest.param(
            SMALL.replace(_frame(), _frame(components=b"\1\x31\0\2\x21\0")),
            f"unsupported JPEG: expected sampling factors that divide the largest, but got [3, 2], at byte {AT_FRAME}",
            id="factors",
        ),
        pytest.param(
            LIMITED[:-2] + SCAN + EOI,
            f"unsupported JPEG: expected at most 100 scans, but got 101, at byte {AT_SCAN + 100 * len(SCAN)}",
            id="scans",
        ),
        pytest.param(
            SMALL.replace(DHT, b"\xff\xfe\0\2" * SEGMENT_LIMIT + DHT),
            "unsupported JPEG: expected at most 4096 segments, but got more, "
            f"at byte {AT_FRAME - 4 + len(_frame()) + 4 * (SEGMENT_LIMIT - 2)}",
            id="segments",
        ),
        pytest.param(
            SMALL[:-2] + _scan() + EOI,
            "damaged JPEG: expected a scan header of 4 bytes and 2 for each of 1 to 4 components, but got 4 bytes, "
            f"at byte {AT_SCAN + len(SCAN)}",
            id="scan",
        ),
    ],
)
def test_messages_name_what_was_expected_and_where(data, message):
    """Messages have what was expected, what was found, and its offset."""
    with pytest.raises(RecordError) as caught:
        parse_jpeg(data)
    assert str(caught.value) == message


EXIF = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param(_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + EXIF), id="xmp"),
        pytest.param(_segment(0xE1, b"Exif\0\1" + EXIF), id="not-quite-exif"),
        pytest.param(_segment(0xE1, b"Exif\0\0" + EXIF[:-2]) + b"\xff\xfe\0\2", id="exif-cut-by-its-segment"),
        pytest.param(_segment(0xE2, b"ICC_PROFILE\0\1\1"), id="colour-profile"),
        pytest.param(_segment(0xE2, b"MPF\1"), id="not-quite-mpf"),
        pytest.param(_segment(0xEE, b"Adobf\0\x64\0\0\0\0\2"), id="not-quite-adobe"),
        pytest.param(_segment(0xEE, b"Adobe\0\x64\0\0\0\0"), id="adobe-without-a-transform"),
    ],
)
def test_segments_with_other_names_are_ignored(segments):
    """The same markers have other uses: a segment counts only with the right name and length."""
    for before in (SOI, SOI + DQT):
        header = parse_jpeg(before + segments + SMALL[2:])
        assert (header.adobe_transform, header.orientation.value, header.has_more_pictures) == (None, 1, False)


def test_metadata_is_found_after_other_segments():
    """Exif may follow XMP, and the index of pictures may follow a colour profile."""
    others = _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0") + _segment(0xE2, b"ICC_PROFILE\0\1\1")
    ours = _segment(0xE1, b"Exif\0\0" + EXIF) + _segment(0xE2, b"MPF\0") + _segment(0xEE, b"Adobe\0\x64\0\0\0\0\2")
    header = parse_jpeg(SOI + others + _segment(0xEE, b"Ducky") + ours + SMALL[2:])
    assert (header.adobe_transform, header.orientation.value, header.has_more_pictures) == (2, 6, True)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_no_prefix_of_a_jpeg_is_complete(make_photo, to_bytes, options):
    """A JPEG that is truncated anywhere is refused."""
    data = to_bytes(make_photo(24, 16), **options)
    for length in range(len(data)):
        with pytest.raises(RecordError):
            parse_jpeg(data[:length])


@given(st.binary(max_size=200), st.integers(0, len(SMALL)))
def test_any_bytes_are_parsed_or_refused(noise, at):
    """Any bytes give a header or a RecordError."""
    try:
        header = parse_jpeg(SMALL[:at] + noise + SMALL[at:])
    except RecordError:
        return
    assert header.end <= len(SMALL) + len(noise)


def test_pillow_reads_the_smallest_jpeg(to_bytes):
    """The JPEG that these tests modify is valid: Pillow reads it as flat gray."""
    image = Image.frombytes("L", (8, 8), SMALL, "jpeg", ("L", "", 1, 0))
    assert image.getextrema() == (128, 128)
