"""Python values of any type → what JSON can hold, and a record → a line of JSON Lines.

Dicts from Python may hold anything. Whatever is stored or written has to be the same in every process, so values whose
text depends on memory addresses or on hash seeds are refused or named by their type.
"""

import os
from collections.abc import Mapping
from math import isnan
from typing import Any, Final

import msgspec

from tfrec_stage.records import MAX_NESTING

_TOO_DEEP: Final = f"expected at most {MAX_NESTING} levels of lists and objects, but got more"
_UNORDERABLE: Final = "expected a set whose values can be sorted, or a list, but got {}"
_LONG_BITS: Final = 10_000
"""Longer integers are named by their type. Python refuses to write integers of more than 4,300 decimal digits, by
default, which are about 14,000 bits."""


def to_builtins(record: Any) -> Any:
    """Convert to dicts, lists, numbers, strings and bytes. NumPy values, tuples, sets and paths are converted.

    Sets become sorted lists, because their own order depends on the process (PYTHONHASHSEED). Not all of them can be
    sorted: see `has_unorderable_set`.

    Raises:
        TypeError: a value is not like anything in JSON, or is a set of values that cannot be compared.
        RecursionError: it is nested too deep, for example because it contains itself.
    """
    return msgspec.to_builtins(
        record, builtin_types=(bytes, bytearray, memoryview), str_keys=True, enc_hook=_convert, order="deterministic"
    )


def has_unorderable_set(value: Any) -> bool:
    """Whether a value holds a set that sorts without an error, but into another order in every process.

    Python compares sets by inclusion, so of two sets neither may be the smaller one. NaN is neither smaller nor larger
    than any number.

    Args:
        value: any value that `to_builtins` converts.

    >>> has_unorderable_set({"a": [{1, 2}]}), has_unorderable_set([{frozenset("a"), frozenset("b")}])
    (False, True)
    """
    if isinstance(value, (set, frozenset)):
        return any(map(_is_unorderable, value))
    if not isinstance(value, (Mapping, list, tuple)):
        return False
    return any(map(has_unorderable_set, value.values() if isinstance(value, Mapping) else value))


def find_unstorable(value: Any, path: str) -> str | None:
    """Path and message of the first value that `to_builtins` cannot convert; None if it converts all.

    Args:
        value: any value.
        path: name of the value in the message, for example `$.extra`.
    """
    # A stack and no recursion: the value may be nested deeper than Python can call, or contain itself. Children are
    # pushed in reverse, so that they are checked in their order.
    waiting = [(path, value, 0)]
    while waiting:
        where, item, level = waiting.pop()
        if level > MAX_NESTING:
            return f"`{path}`: {_TOO_DEEP}"
        if isinstance(item, Mapping):
            waiting += [(f"{where}.{key}", child, level + 1) for key, child in reversed([*item.items()])]
        elif isinstance(item, (list, tuple)):
            waiting += [(f"{where}[{index}]", child, level + 1) for index, child in reversed([*enumerate(item)])]
        elif message := _refusal(item):
            return f"`{where}`: {message}"
    return _refusal(value)  # a problem of the whole alone, for example two keys that cannot be compared


def encode_line(record: Mapping[str, Any]) -> bytes:
    r"""A record as a line of a manifest. What JSON cannot hold is escaped or named by its type, so people recognise it.

    >>> encode_line({"filename": "caf\udce9.jpg", "id": "a"})
    b'{"filename":"caf\\\\udce9.jpg","id":"a"}\n'
    """
    try:
        # Key by key, since converting the whole record would sort its keys. They stay as written, file name first.
        builtins = {key: to_builtins(value) for key, value in record.items()}
        is_storable = not has_unorderable_set(record)
    except (TypeError, ValueError, RecursionError):
        is_storable = False
    if not is_storable:
        builtins = {
            key: _describe(value) if _is_too_deep(value) else _replace_unstorable(value)
            for key, value in record.items()
        }
    try:
        return msgspec.json.encode(builtins) + b"\n"
    except ValueError:  # a lone surrogate, or an integer of thousands of digits
        return msgspec.json.encode(_escape(builtins)) + b"\n"


def _convert(value: Any) -> Any:
    """Convert a type that msgspec does not know."""
    if isinstance(value, Mapping):  # a mapping that is not a dict, for example a UserDict
        return dict(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"expected JSON-like values, but got {_describe(value)}")


def _is_unorderable(item: Any) -> bool:
    """Whether a member of a set has no fixed place among the others. Of a tuple, one such value is enough."""
    if isinstance(item, tuple):
        return any(map(_is_unorderable, item))
    return isinstance(item, frozenset) or (isinstance(item, float) and isnan(item))


def _is_too_deep(value: Any) -> bool:
    return _TOO_DEEP in (find_unstorable(value, "") or "")


def _refusal(value: Any) -> str | None:
    """Why a value cannot be stored; None if it can."""
    is_set = isinstance(value, (set, frozenset))
    try:
        to_builtins(value)
    except TypeError as error:
        return _UNORDERABLE.format(_describe(value)) if is_set else str(error)
    except (ValueError, RecursionError) as error:
        return f"this value cannot be stored: {error}"
    return _UNORDERABLE.format(_describe(value)) if is_set and has_unorderable_set(value) else None


def _replace_unstorable(value: Any) -> Any:
    """The value, with a description in place of everything that JSON cannot hold."""
    if find_unstorable(value, "") is None:
        return to_builtins(value)
    if isinstance(value, Mapping):
        return {str(key): _replace_unstorable(item) for key, item in value.items()}
    return [_replace_unstorable(item) for item in value] if isinstance(value, (list, tuple)) else _describe(value)


def _describe(value: Any) -> str:
    """The type of a value, in words. Not its `repr`, which has memory addresses and the order of sets."""
    return f"a value of type {type(value).__name__}"


def _escape(value: Any) -> Any:
    """The same values, with lone surrogates escaped and long integers described."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_escape(key): _escape(item) for key, item in value.items()}
    if isinstance(value, int) and value.bit_length() > _LONG_BITS:
        return _describe(value)
    return [_escape(item) for item in value] if isinstance(value, list) else value
