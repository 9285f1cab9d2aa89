"""Dicts from Python, whatever they hold → JSON-like values, and a line of JSON Lines."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec


def to_builtins(record: Any) -> Any:
    """Plain dicts, lists, numbers, strings and bytes; NumPy's values, tuples and paths may stand for them.

    Raises:
        TypeError: a value is nothing like JSON.
    """
    return msgspec.to_builtins(record, builtin_types=(bytes,), str_keys=True, enc_hook=_plain)


def encode_line(record: Mapping[str, Any]) -> bytes:
    r"""A record as a line of a manifest; what no JSON can hold is escaped, so that people see what it was.

    >>> encode_line({"filename": "caf\udce9.jpg", "id": "a"})
    b'{"filename":"caf\\\\udce9.jpg","id":"a"}\n'
    """
    plain = to_builtins(record)
    try:
        return msgspec.json.encode(plain) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(_escape(plain)) + b"\n"


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, without importing NumPy
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"expected JSON-like values, but got a {type(value).__name__}: {value!r:.100}")


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_escape(key): _escape(item) for key, item in value.items()}
    return [_escape(item) for item in value] if isinstance(value, list) else value
