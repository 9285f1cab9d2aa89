"""Read the structure of a JPEG, from its headers to the end marker, without decoding a pixel.

    ff d8 │ segment │ … │ segment ff da (start of scan) │ entropy-coded data │ … │ ff d9
    a segment: ff, marker, length (2 bytes, including themselves), content

Entropy-coded data has no length: it ends at the next marker, which has to be searched for.

Source: ITU-T T.81, annex B (segments, frames, scans); Adobe Technical Note 5116 (APP14); EXIF 2.32 (APP1);
CIPA DC-007 (APP2 of multi-picture files).
"""

import re
import struct
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import re2

from tfrec_stage.errors import RecordError
from tfrec_stage.images.exif import UPRIGHT, Orientation, find_orientation

CodingProcess = Literal["baseline", "extended", "progressive", "lossless", "arithmetic", "hierarchical"]

SCAN_LIMIT: Final = 100
"""Maximum number of scans. Encoders write about ten. Each costs a pass over all pixels, so a small file with thousands
of scans would keep a decoder busy for hours."""
SEGMENT_LIMIT: Final = 4096
"""Maximum number of segments: 256 MiB of metadata."""

_EOI, _SOS, _DHP, _APP1, _APP2, _APP14 = 0xD9, 0xDA, 0xDE, 0xE1, 0xE2, 0xEE
_PROCESSES: Final[dict[int, CodingProcess]] = {
    0xC0: "baseline",
    0xC1: "extended",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: "arithmetic",
    0xCA: "arithmetic",
    0xCB: "arithmetic",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    _DHP: "hierarchical",
}
# Frame headers, DHT, DAC, then SOS, DQT, DNL, DRI, DHP, EXP, APP0 to APP15, and COM. No other marker may occur here.
_SEGMENTS: Final = frozenset({*_PROCESSES, 0xC4, 0xCC, *range(_SOS, 0xF0), 0xFE})

_HIERARCHICAL: Final = frozenset(marker for marker, process in _PROCESSES.items() if process == "hierarchical")

_SEGMENT_HEAD: Final = struct.Struct(">BBH")  # 0xff, marker, length
_FRAME_HEAD: Final = struct.Struct(">BHHB")  # precision, height, width, components
# Sampling factors of nearly all JPEGs, which need no check: gray, 4:4:4, 4:2:2, 4:4:0 and 4:2:0.
_USUAL_FACTORS: Final = frozenset({b"\x11", b"\x11\x11\x11", b"\x21\x11\x11", b"\x12\x11\x11", b"\x22\x11\x11"})

# Any marker may be preceded by fill bytes.
_match_marker: Final = re.compile(rb"\xff+[^\x00\xff]").match

_Segments = dict[int, list[tuple[int, int]]]  # by marker: start and end of what follows the length


def compile_search(pattern: bytes) -> Callable[..., Any]:
    """Compile a pattern for RE2, which searches bytes several times as fast as `re` (see `bench_codecs`).

    Returns:
        A function that takes bytes and a start offset, and returns the first match or None.

    Syntax: https://github.com/google/re2/wiki/Syntax
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # otherwise the bytes would have to be UTF-8
    search: Callable[..., Any] = re2.compile(pattern, options).search
    return search


# In entropy-coded data 0xff is followed by 0 (the data byte 0xff), a restart marker, or another 0xff (fill).
_search_marker: Final = compile_search(rb"\xff[^\x00\xd0-\xd7\xff]")


class JpegHeader(NamedTuple):
    """The headers of a structurally complete JPEG."""

    process: CodingProcess
    """How the frame is coded."""
    precision: int
    """Bits per sample: 8 or 12; 2 to 16 if lossless."""
    width: int
    """Width in pixels as stored, before any EXIF rotation."""
    height: int
    """Height in pixels as stored."""
    component_ids: bytes
    """Identifiers of the components in their order, for example 1, 2, 3 or `RGB`."""
    adobe_transform: int | None
    """Colour transform in the Adobe segment: 0 none, 1 YCbCr, 2 YCCK; None without one."""
    orientation: Orientation
    """EXIF orientation, and where it is stored."""
    has_more_pictures: bool
    """Whether it is the first image of a multi-picture file."""
    end: int
    """Offset after the end marker; the bytes that follow do not belong to the image."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as stored."""
        return self.width, self.height

    @property
    def components(self) -> int:
        """Number of components: 1 gray, 3 YCbCr or RGB, 4 CMYK or YCCK."""
        return len(self.component_ids)


class _Frame(NamedTuple):
    process: CodingProcess
    precision: int
    width: int
    height: int
    component_ids: bytes


def parse_jpeg(data: bytes) -> JpegHeader:
    """Read every segment and every scan up to the end marker.

    Raises:
        RecordError: `image_corrupt` if the structure is damaged or ends early; `image_unsupported` if neither Pillow
            nor TensorFlow can decode it, or only in hours.

    Source: ITU-T T.81, annex B.
    """
    segments, end = _find_segments(data)
    frame = _read_frame(data, segments, end)
    _check_scans(data, segments, frame, end)
    return JpegHeader(
        *frame,
        adobe_transform=_read_adobe_transform(data, segments),
        orientation=_read_orientation(data, segments),
        has_more_pictures=bool(_select(data, segments, _APP2, b"MPF\0")),
        end=end,
    )


def _find_segments(data: bytes) -> tuple[_Segments, int]:
    """Return all segments up to the end marker, and the offset after it."""
    if not data.startswith(b"\xff\xd8"):
        raise _damaged("a JPEG, which begins with ff d8", data[:2].hex(" "), 0)
    segments: _Segments = {}
    at, last_head = 2, len(data) - _SEGMENT_HEAD.size  # `unpack_from` raises where fewer bytes are left
    for _ in range(SEGMENT_LIMIT):
        lead, marker, length = _SEGMENT_HEAD.unpack_from(data, at) if at <= last_head else (0, 0, 0)
        if lead != 0xFF or marker not in _SEGMENTS:  # fill bytes, the end marker, or damage
            marker, at = _read_marker(data, at)
            if marker == _EOI:
                return segments, at + 2
            length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise _damaged(f"a segment ff {marker:02x} within the {len(data)} bytes", f"a length of {length}", at + 2)
        segments.setdefault(marker, []).append((at + 4, end))
        at = _find_scan_end(data, end) if marker == _SOS else end
    raise _unsupported(f"at most {SEGMENT_LIMIT} segments", "more", at)


def _read_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker of a segment, or the end marker, and its offset after any fill bytes."""
    match = _match_marker(data, at)
    if match is None:
        raise _damaged("a marker", data[at : at + 2].hex(" ") or "the end of the data", at)
    at = match.end() - 2
    marker = data[at + 1]
    if marker != _EOI and marker not in _SEGMENTS:
        raise _damaged("the marker of a segment", f"ff {marker:02x}", at)
    return marker, at


def _find_scan_end(data: bytes, start: int) -> int:
    """Return the offset of the marker after the entropy-coded data of a scan."""
    match = _search_marker(data, start)
    if match is None:
        raise _damaged("the end marker ff d9", "the end of the data", len(data))
    return int(match.start())


def _read_frame(data: bytes, segments: _Segments, stop: int) -> _Frame:
    markers = segments.keys() & _PROCESSES.keys()
    if not markers:
        raise _damaged("a frame header", "none before the end marker", stop)
    if not markers.isdisjoint(_HIERARCHICAL):
        raise _unsupported("one frame", "the hierarchical process, which neither Pillow nor TensorFlow reads", stop)
    marker, *other_markers = markers
    (start, end), *others = segments[marker]
    if others or other_markers:
        raise _damaged("one frame header", "a second one", max(segments[each][-1][0] for each in markers))
    if end - start < _FRAME_HEAD.size or end - start != _FRAME_HEAD.size + 3 * data[start + 5]:
        raise _damaged("a frame header of 6 bytes and 3 for each component", f"{end - start} bytes", start)
    precision, height, width, components = _FRAME_HEAD.unpack_from(data, start)
    if width == 0 or components == 0:
        raise _damaged("a width and components", f"a width of {width} and {components} components", start)
    if height == 0:
        raise _unsupported("a height in the frame header", "0 (a later segment would define it)", start + 1)
    # A component takes 3 bytes: identifier, sampling factors (4 bits each), quantisation table.
    factors = data[start + 7 : end : 3]
    if factors not in _USUAL_FACTORS:
        _check_sampling(factors, start)
    return _Frame(_PROCESSES[marker], precision, width, height, data[start + 6 : end : 3])


def _check_sampling(factors: bytes, at: int) -> None:
    """Refuse planes whose sizes are not multiples of each other: only decoding in full colour would find them."""
    for axis in ([factor >> 4 for factor in factors], [factor & 15 for factor in factors]):
        if min(axis) < 1 or max(axis) > 4:
            raise _damaged("sampling factors of 1 to 4", f"{axis}", at)
        if any(max(axis) % factor for factor in axis):
            raise _unsupported("sampling factors that divide the largest", f"{axis}", at)


def _check_scans(data: bytes, segments: _Segments, frame: _Frame, stop: int) -> None:
    scans = segments.get(_SOS, [])
    if len(scans) > SCAN_LIMIT:
        raise _unsupported(f"at most {SCAN_LIMIT} scans", f"{len(scans)}", scans[SCAN_LIMIT][0])
    scanned: set[int] = set()
    for start, end in scans:
        # Decoders reject scans with no component or more than four.
        if not 6 <= end - start <= 12 or end - start != 4 + 2 * data[start]:
            expected = "a scan header of 4 bytes and 2 for each of 1 to 4 components"
            raise _damaged(expected, f"{end - start} bytes", start)
        scanned.update(data[start + 1 : end - 3 : 2])  # identifier and tables of each component; 3 bytes follow
    if scanned != set(frame.component_ids):
        raise _damaged(f"scans of the components {[*frame.component_ids]}", f"of {sorted(scanned)}", stop)


def _select(data: bytes, segments: _Segments, marker: int, name: bytes) -> list[tuple[int, int]]:
    """Return the segments with this marker that begin with this name."""
    return [span for span in segments.get(marker, ()) if data.startswith(name, *span)]


def _read_orientation(data: bytes, segments: _Segments) -> Orientation:
    # The same markers have other uses, such as XMP in APP1: the name at the start of a segment tells them apart.
    for start, end in _select(data, segments, _APP1, b"Exif\0\0"):
        return find_orientation(data, start + 6, end)
    return UPRIGHT


def _read_adobe_transform(data: bytes, segments: _Segments) -> int | None:
    for start, end in _select(data, segments, _APP14, b"Adobe"):
        return data[start + 11] if end - start >= 12 else None
    return None


def _damaged(expected: str, got: str, at: int) -> RecordError:
    return RecordError("image_corrupt", f"damaged JPEG: expected {expected}, but got {got}, at byte {at}")


def _unsupported(expected: str, got: str, at: int) -> RecordError:
    return RecordError("image_unsupported", f"unsupported JPEG: expected {expected}, but got {got}, at byte {at}")
