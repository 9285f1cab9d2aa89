"""Areas of outlines: polygons and COCO's run-length encoded masks."""

from collections.abc import Iterator, Sequence

import msgspec


class RunLengths(msgspec.Struct, frozen=True):
    """A mask as the lengths of its runs, column by column, beginning with the background."""

    counts: list[int] | str
    """Lengths in pixels: plain numbers, or the text that COCO packs them into."""


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
    runs = list(_unpack(mask.counts)) if isinstance(mask.counts, str) else mask.counts
    return sum(runs[1::2])


def _unpack(text: str) -> Iterator[int]:
    """Unpack run lengths: from the fourth on, each number is the difference to the one two places before.

    Source: the format of `counts` in COCO's annotation files.
    """
    lengths = [0, 0]
    for place, number in enumerate(_read_numbers(text)):
        lengths.append(number + (lengths[-2] if place > 2 else 0))
        yield lengths[-1]


def _read_numbers(text: str) -> Iterator[int]:
    """Read signed numbers: five bits a character, low bits first; 32: more follow, 16: negative."""
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
