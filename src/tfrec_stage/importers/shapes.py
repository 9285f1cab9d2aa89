"""Areas and bounding boxes of outlines: polygons and COCO's run-length encoded masks."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec


class RunLengths(msgspec.Struct, frozen=True):
    """A mask as the lengths of its runs, column by column, starting with background."""

    counts: list[int] | str
    """Lengths in pixels: plain numbers, or the text that COCO packs them into."""
    size: tuple[int, int] | None = None
    """Height and width of the image, in pixels."""


Outline = list[list[float]] | RunLengths | None
"""What `segmentation` holds: polygons as x0, y0, x1, y1, … in pixels, a mask, or nothing."""

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels, as COCO writes boxes."""


def outline_area(outline: Outline) -> float:
    """Give the area of an outline in square pixels; 0 where there is none.

    Raises:
        ValueError: a polygon has a number too many, or the text of the run lengths is cut off or is none.
    """
    if isinstance(outline, RunLengths):
        return mask_area(outline)
    return sum(polygon_area(polygon) for polygon in _expect_pairs(outline or []))


def outline_box(outline: Outline) -> Box | None:
    """Give the box around an outline; None where it is empty.

    Raises:
        ValueError: a polygon has a number too many, the run lengths are none, or the size of their image is missing.
    """
    if isinstance(outline, RunLengths):
        return mask_box(outline)
    points = [number for polygon in _expect_pairs(outline or []) for number in polygon]
    return points_box(points[0::2], points[1::2])


def _expect_pairs(polygons: list[list[float]]) -> list[list[float]]:
    odd = next((polygon for polygon in polygons if len(polygon) % 2), None)
    if odd is not None:
        raise ValueError(f"expected x and y of each point of a polygon, but got {len(odd)} numbers")
    return polygons


def points_box(xs: Sequence[float], ys: Sequence[float]) -> Box | None:
    """Give the box around points; None where there are none.

    >>> points_box([1, 4, 2], [3, 3, 8])
    (1, 3, 3, 5)
    """
    if not xs or not ys:
        return None
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def mask_box(mask: RunLengths) -> Box | None:
    """Give the box around the foreground of a mask, whole pixels; None where there is none.

    Raises:
        ValueError: the run lengths are none, or the size of their image is missing.

    >>> mask_box(RunLengths([5, 2, 2, 3], size=(4, 3)))  # columns of 4: pixels 5 and 6, then 9 to 11
    (1, 1, 2, 3)
    """
    runs = _list_runs(mask)
    if mask.size is None or mask.size[0] < 1 or min(runs, default=0) < 0:
        raise ValueError(f"expected run lengths from 0 and the image's height, but got {mask.size} as its size")
    height, ends = mask.size[0], list(accumulate(runs))
    spans = [(start, end - 1) for start, end in zip(ends[0::2], ends[1::2], strict=False) if end > start]
    if not spans:
        return None
    left, right = spans[0][0] // height, spans[-1][1] // height
    # A run that goes on in the next column touches both the bottom and the top.
    is_whole = any(first // height != last // height for first, last in spans)
    top = 0 if is_whole else min(first % height for first, _ in spans)
    bottom = height - 1 if is_whole else max(last % height for _, last in spans)
    return left, top, right - left + 1, bottom - top + 1


def polygon_area(xy: Sequence[float]) -> float:
    """Give the area that x0, y0, x1, y1, … enclose, in the square of their unit, whichever way round they go.

    Source: the shoelace formula.

    >>> polygon_area([0, 0, 4, 0, 4, 3])
    6.0
    """
    xs, ys = xy[0::2], xy[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def mask_area(mask: RunLengths) -> int:
    """Give the number of foreground pixels of a mask.

    Raises:
        ValueError: the text of the run lengths is cut off or is none.
    """
    return sum(_list_runs(mask)[1::2])


def _list_runs(mask: RunLengths) -> list[int]:
    return list(_unpack(mask.counts)) if isinstance(mask.counts, str) else mask.counts


def _unpack(text: str) -> Iterator[int]:
    """Decode run lengths: from the fourth on, each number is the difference to the one two places before.

    Source: the format of `counts` in COCO's annotation files.
    """
    lengths = [0, 0]
    for place, number in enumerate(_read_numbers(text)):
        lengths.append(number + (lengths[-2] if place > 2 else 0))
        yield lengths[-1]


def _read_numbers(text: str) -> Iterator[int]:
    """Read signed numbers: five bits per character, low bits first; bit 32: more follow, bit 16: negative."""
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"expected run lengths in the characters '0' to 'o', but got {character!r}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            yield number - (1 << shift if bits & 16 else 0)
            number, shift = 0, 0
    if shift:
        raise ValueError("expected run lengths, but the last one is cut off")
