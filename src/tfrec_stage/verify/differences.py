"""Two Examples, key by key: what was expected and what was found, each difference in a few words."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np

from tfrec_stage.tfrecord.example import LIST_ENCODERS, Feature, Kind

_SHORT: Final = 80
"""Characters up to which a list, or an entry of a longer one, is shown whole."""
_BEFORE: Final = 20
"""Characters that are shown before the first that differs."""
_SHOWN: Final = 4
"""Keys of one record that are shown; of the others their number is told."""


def describe_differences(expected: Mapping[str, Feature], found: Mapping[str, Feature]) -> str:
    """What differs, in one line; empty if nothing does.

    Keys that were not found, or have values of another kind, are passed over: the parser tells these.

    Args:
        expected: keys in the order of telling.
        found: what the record has.

    >>> describe_differences({"a": Feature(Kind.INT64, [3])}, {"a": Feature(Kind.INT64, [7])})
    'a: expected [3], but got [7]'
    """
    texts = _differences(expected, found)
    shown = list(islice(texts, _SHOWN))
    more = sum(1 for _ in texts)
    return "; ".join([*shown, *([f"and {more} more keys"] if more else [])])


def _differences(expected: Mapping[str, Feature], found: Mapping[str, Feature]) -> Iterator[str]:
    for key, (kind, values) in expected.items():
        got = found.get(key)
        if got is not None and got.kind is kind and not _is_same(kind, values, got.values):
            yield f"{key}{_describe(kind, values, got.values)}"
    for key in sorted({*found} - {*expected}):
        yield f"{key}: expected no such key, but got {_cut(_show_all(*found[key]), 0)}"


def _describe(kind: Kind, expected: Sequence[Any], got: Sequence[Any]) -> str:
    """Both lists if they are short, else the first entries that differ."""
    lists = [_show_all(kind, values) for values in (expected, got)]
    if max(map(len, lists)) <= _SHORT:
        return f": expected {lists[0]}, but got {lists[1]}"
    first = _first_difference(kind, expected, got)
    entries = [_show(kind, values[first]) if first < len(values) else "no entry" for values in (expected, got)]
    at = next((index for index, pair in enumerate(zip(*entries, strict=False)) if pair[0] != pair[1]), 0)
    sizes = f" ({len(expected)} entries expected, got {len(got)})" if len(expected) != len(got) else ""
    return f"[{first}]: expected {_cut(entries[0], at)}, but got {_cut(entries[1], at)}{sizes}"


def _first_difference(kind: Kind, first: Sequence[Any], second: Sequence[Any]) -> int:
    """Index of the first entries that differ; the length of the shorter list if it begins the longer one."""
    for index, pair in enumerate(zip(first, second, strict=False)):
        if not _is_same(kind, pair[:1], pair[1:]):
            return index
    return min(len(first), len(second))


def _is_same(kind: Kind, first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether both are stored as the same bytes: 0.0 is not -0.0, but NaN is itself."""
    return len(first) == len(second) and LIST_ENCODERS[kind](first) == LIST_ENCODERS[kind](second)


def _show_all(kind: Kind, values: Sequence[Any]) -> str:
    return f"[{', '.join(_show(kind, value) for value in values)}]"


def _show(kind: Kind, value: Any) -> str:
    if kind is Kind.BYTES:
        return repr(value.decode(errors="backslashreplace"))
    return str(np.float32(value) if kind is Kind.FLOAT else value)  # the shortest number that is this one in 32 bits


def _cut(text: str, at: int) -> str:
    """What stands around a place in a text, if all of it is too long."""
    if len(text) <= _SHORT:
        return text
    begin = max(0, min(at - _BEFORE, len(text) - _SHORT))
    end = begin + _SHORT
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
