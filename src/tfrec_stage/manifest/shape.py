"""What is wrong with the shape of a record: every unknown key and every wrong type, with its path.

`msgspec` decodes fast and stops at the first fault. Only where it stopped is the record walked again, slowly,
so that all faults of a record are told at once, each with the nearest known key.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import msgspec

from tfrec_stage.records import ImageRecord


def shape_faults(value: Any, path: str = "$") -> list[str]:
    """Faults of a decoded JSON value that ought to be an image record, in the order of its keys.

    Args:
        value: dicts, lists, strings, bytes and numbers.
        path: what the record itself is called, for example `$` or `$[3]`.

    >>> shape_faults({"filename": "a.jpg", "id": "a", "object": {"boxes": {}}})
    ['unknown key `$.object.boxes`: did you mean `bbox`?']
    """
    return list(_faults(value, ImageRecord, path))


def _faults(value: Any, shape: type[msgspec.Struct], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"expected an object at `{path}`, but got {_kind(value)}"
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    nested_faults = False
    for key, item in value.items():
        for fault in _field_faults(key, item, fields, path):
            nested_faults = True
            yield fault
    absent = [name for name, field in fields.items() if field.required and name not in value]
    yield from (f"`{path}` has no `{name}`, which every record needs" for name in absent)
    if not nested_faults and not absent:
        yield from _convert_faults(value, shape, path)


def _field_faults(key: Any, item: Any, fields: dict[str, msgspec.structs.FieldInfo], path: str) -> Iterator[str]:
    field = fields.get(key)
    if field is None:
        near = get_close_matches(str(key), fields, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(fields)}"
        yield f"unknown key `{path}.{key}`: {hint}"
    elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
        yield from _faults(item, field.type, f"{path}.{key}")
    else:
        yield from _convert_faults(item, field.type, f"{path}.{key}")


def _convert_faults(value: Any, shape: Any, path: str) -> Iterator[str]:
    """What msgspec says, its path put behind ours; bytes may stand for themselves or as base64."""
    try:
        msgspec.convert(value, shape, builtin_types=() if isinstance(value, str) else (bytes,))
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at `$")
        yield f"{message} at `{path}{inner.rstrip('`')}`"


def _kind(value: Any) -> str:
    names = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
    }
    return names.get(type(value), f"a {type(value).__name__}")
