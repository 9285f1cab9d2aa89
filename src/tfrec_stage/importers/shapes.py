"""Areas and bounding boxes of COCO segmentations: polygons and run-length encoded masks."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec


class RunLengths(msgspec.Struct, frozen=True):
    """A mask as the lengths of its runs, column by column, starting with background."""

    counts: list[int] | str
    """Lengths in pixels: numbers, or the text that COCO packs them into."""
    size: tuple[int, int] | None = None
    """Height and width of the image, in pixels."""


Segmentation = list[list[float]] | RunLengths | None
"""What `segmentation` holds: polygons as x0, y0, x1, y1, … in pixels, a mask, or nothing."""

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels, as COCO writes boxes."""


def segmentation_area(segmentation: Segmentation) -> float:
    """Return the area of a segmentation in square pixels; 0 if there is none.

    Raises:
        ValueError: a polygon has an odd number of coordinates, or packed run lengths are malformed or cut off.
    """
    if isinstance(segmentation, RunLengths):
        return mask_area(segmentation)
    return sum(polygon_area(polygon) for polygon in _check_even(segmentation or []))


def segmentation_box(segmentation: Segmentation) -> Box | None:
    """Return the box around a segmentation; None if it is empty.

    Raises:
        ValueError: a polygon has an odd number of coordinates, run lengths are malformed, or the size of their image is
            missing.
    """
    if isinstance(segmentation, RunLengths):
        return mask_box(segmentation)
    points = [number for polygon in _check_even(segmentation or []) for number in polygon]
    return points_box(points[0::2], points[1::2])


def _check_even(polygons: list[list[float]]) -> list[list[float]]:
    odd = next((polygon for polygon in polygons if len(polygon) % 2), None)
    if odd is not None:
        raise ValueError(f"expected x and y of each point of a polygon, but got {len(odd)} numbers")
    return polygons


def points_box(xs: Sequence[float], ys: Sequence[float]) -> Box | None:
    """Return the box around points; None if there are none.

    >>> points_box([1, 4, 2], [3, 3, 8])
    (1, 3, 3, 5)
    """
    if not xs or not ys:
        return None
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def mask_box(mask: RunLengths) -> Box | None:
    """Return the box around the foreground of a mask, in whole pixels; None if there is no foreground.

    It is computed from the runs alone, without a pixel array.

    Raises:
        ValueError: the run lengths are malformed, or the size of their image is missing.

    >>> mask_box(RunLengths([5, 2, 2, 3], size=(4, 3)))  # columns of 4: pixels 5 and 6, then 9 to 11
    (1, 1, 2, 3)
    """
    runs = _list_runs(mask)
    if mask.size is None or mask.size[0] < 1 or min(runs, default=0) < 0:
        raise ValueError(f"expected run lengths from 0 and the image's height, but got {mask.size} as its size")
    height, ends = mask.size[0], list(accumulate(runs))
    # Runs alternate, background first: each foreground run lies between the end of the one before it and its own.
    spans = [(start, end - 1) for start, end in zip(ends[0::2], ends[1::2], strict=False) if end > start]
    if not spans:
        return None
    left, right = spans[0][0] // height, spans[-1][1] // height
    # A run that continues in the next column touches both the bottom and the top.
    is_full_height = any(first // height != last // height for first, last in spans)
    top = 0 if is_full_height else min(first % height for first, _ in spans)
    bottom = height - 1 if is_full_height else max(last % height for _, last in spans)
    return left, top, right - left + 1, bottom - top + 1


def polygon_area(xy: Sequence[float]) -> float:
    """Return the area that x0, y0, x1, y1, … enclose, in the square of their unit, in either direction.

    Source: the shoelace formula.

    >>> polygon_area([0, 0, 4, 0, 4, 3])
    6.0
    """
    xs, ys = xy[0::2], xy[1::2]
    # At i = 0, the index -1 closes the polygon from its last point to its first.
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def mask_area(mask: RunLengths) -> int:
    """Return the number of foreground pixels of a mask.

    Raises:
        ValueError: packed run lengths are malformed or cut off.
    """
    return sum(_list_runs(mask)[1::2])


def _list_runs(mask: RunLengths) -> list[int]:
    return list(_unpack(mask.counts)) if isinstance(mask.counts, str) else mask.counts


def _unpack(text: str) -> Iterator[int]:
    """Yield the run lengths of a packed mask.

    From the fourth on, each number is the difference to the length two places before: neighbouring columns have runs of
    similar length, and small numbers take fewer characters.

    Source: the format of `counts` in COCO's annotation files.
    """
    lengths = [0, 0]
    for place, number in enumerate(_unpack_numbers(text)):
        lengths.append(number + (lengths[-2] if place > 2 else 0))
        yield lengths[-1]


def _unpack_numbers(text: str) -> Iterator[int]:
    """Yield signed numbers: five bits per character, low bits first; bit 32: more follow, bit 16: negative."""
    number, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"expected run lengths in the characters '0' to 'o', but got {character!r}")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            # Two's complement: bit 16 of the last character is the sign.
            yield number - (1 << shift if bits & 16 else 0)
            number, shift = 0, 0
    if shift:
        raise ValueError("expected run lengths, but the last one is cut off")
