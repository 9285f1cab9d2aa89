"""`image/extra`: what users store besides the annotations, a text or any JSON value as text."""

import json
from typing import Any

from tfrec_stage.errors import RecordError

_NOT_JSON = (TypeError, ValueError, RecursionError)


def extra_text(extra: Any) -> str:
    """The text to store: a string as it is, any other value as JSON with sorted keys.

    Sorted, so that equal values give equal bytes however they were written.

    Raises:
        RecordError: the value is no JSON, for example bytes or NaN; the message has its path.
    """
    if isinstance(extra, str):
        return extra
    try:
        return _dump(extra)
    except _NOT_JSON as error:
        raise RecordError("annotation_invalid", f"image/extra: {_explain(extra, '$.extra') or error}") from error


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _explain(value: Any, path: str) -> str | None:
    """The first value within that is no JSON, with its path; records are nested a hundred levels at most."""
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    for where, child in children:
        if found := _explain(child, where):
            return found
    try:
        _dump(value)
    except _NOT_JSON as error:
        return f"`{path}`: this value cannot be stored as JSON: {error}"
    return None
