"""Dicts from Python, whatever they hold → JSON-like values, and a line of JSON Lines."""

import os
from collections.abc import Mapping
from math import isnan
from typing import Any, Final

import msgspec

from tfrec_stage.records import MAX_NESTING

_TOO_DEEP: Final = f"expected at most {MAX_NESTING} levels of lists and objects, but got more"
_UNSORTED: Final = "expected a set whose values can be sorted, or a list, but got {}"
_LONG_BITS: Final = 10_000
"""Python refuses to write longer integers in decimal digits (4,300 of them, by default)."""


def to_builtins(record: Any) -> Any:
    """Plain dicts, lists, numbers, strings and bytes; NumPy's values, tuples, sets and paths may stand for them.

    Sets come sorted, for their own order depends on the process (PYTHONHASHSEED); see also `has_set_without_order`.

    Raises:
        TypeError: a value is nothing like JSON, or a set of values that have no order.
        RecursionError: it is nested too deep, for example holds itself.
    """
    return msgspec.to_builtins(
        record, builtin_types=(bytes, bytearray, memoryview), str_keys=True, enc_hook=_plain, order="deterministic"
    )


def has_set_without_order(value: Any) -> bool:
    """Whether there is a set that can be sorted, but comes in another order in every process.

    For Python a set is smaller than another if it is a part of it, so that of two neither may be; and NaN is neither
    smaller nor larger than any number.

    Args:
        value: what `to_builtins` takes.

    >>> has_set_without_order({"a": [{1, 2}]}), has_set_without_order([{frozenset("a"), frozenset("b")}])
    (False, True)
    """
    if isinstance(value, (set, frozenset)):
        return any(map(_has_no_order, value))
    if not isinstance(value, (Mapping, list, tuple)):
        return False
    return any(map(has_set_without_order, value.values() if isinstance(value, Mapping) else value))


def _has_no_order(item: Any) -> bool:
    """Whether a value in a set has no place among the others; a tuple has none if one of its values has none."""
    if isinstance(item, tuple):
        return any(map(_has_no_order, item))
    return isinstance(item, frozenset) or (isinstance(item, float) and isnan(item))


def _is_too_deep(value: Any) -> bool:
    return _TOO_DEEP in (find_unstorable(value, "") or "")


def find_unstorable(value: Any, path: str) -> str | None:
    """The first thing within a value that `to_builtins` cannot take, and its path; None if it takes all.

    Args:
        value: anything.
        path: what it is called, for example `$.extra`.
    """
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
    return _refusal(value)  # only as a whole, for example two keys that cannot be compared


def _refusal(value: Any) -> str | None:
    is_set = isinstance(value, (set, frozenset))
    try:
        to_builtins(value)
    except TypeError as error:
        return _UNSORTED.format(_show(value)) if is_set else str(error)
    except (ValueError, RecursionError) as error:
        return f"this value cannot be stored: {error}"
    return _UNSORTED.format(_show(value)) if is_set and has_set_without_order(value) else None


def encode_line(record: Mapping[str, Any]) -> bytes:
    r"""A record as a line of a manifest; what no JSON can hold is escaped, so that people see what it was.

    >>> encode_line({"filename": "caf\udce9.jpg", "id": "a"})
    b'{"filename":"caf\\\\udce9.jpg","id":"a"}\n'
    """
    try:
        plain = {key: to_builtins(value) for key, value in record.items()}  # the file name first, as it was given
        is_storable = not has_set_without_order(record)
    except (TypeError, ValueError, RecursionError):
        is_storable = False
    if not is_storable:
        plain = {key: _show(value) if _is_too_deep(value) else _storable(value) for key, value in record.items()}
    try:
        return msgspec.json.encode(plain) + b"\n"
    except ValueError:  # a lone surrogate, or an integer of thousands of digits
        return msgspec.json.encode(_escape(plain)) + b"\n"


def _storable(value: Any) -> Any:
    """The value, with words in place of what no JSON can hold."""
    if find_unstorable(value, "") is None:
        return to_builtins(value)
    if isinstance(value, Mapping):
        return {str(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, (list, tuple)) else _show(value)


def _show(value: Any) -> str:
    """A value in a few words, the same in every process: `repr` has addresses in memory, and the order of sets."""
    return f"a value of type {type(value).__name__}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):  # another one than dict, for example a UserDict
        return dict(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, without importing NumPy
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"expected JSON-like values, but got {_show(value)}")


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_escape(key): _escape(item) for key, item in value.items()}
    if isinstance(value, int) and value.bit_length() > _LONG_BITS:
        return _show(value)
    return [_escape(item) for item in value] if isinstance(value, list) else value
