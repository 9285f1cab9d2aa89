"""What is wrong with the shape of a record: every unknown key and every wrong type, with its path.

`msgspec` decodes fast and stops at the first fault. Only where it stopped is the record walked again, slowly,
so that all faults of a record are told at once, each with the nearest known key.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from tfrec_stage.records import ImageRecord


class ShapeFault(NamedTuple):
    """One thing that is wrong with the shape of a record."""

    message: str
    """What was expected and found, with its path."""
    stops_all: bool = False
    """Whether the whole manifest is refused for it, and not this record alone."""

    def __str__(self) -> str:
        """Give the message."""
        return self.message


def shape_faults(value: Any, path: str = "$") -> list[ShapeFault]:
    """Faults of a decoded JSON value that ought to be an image record, in the order of its keys.

    An unknown key stops all, for it is most likely misspelt in every record, and would drop annotations in silence.
    So does a record without an id, which can be neither placed nor named.

    Args:
        value: dicts, lists, strings, bytes and numbers.
        path: what the record itself is called, for example `$` or `$[3]`.

    >>> [fault.message for fault in shape_faults({"filename": "a.jpg", "id": "a", "object": {"boxes": {}}})]
    ['unknown key `$.object.boxes`: did you mean `bbox`?']
    """
    if not isinstance(value, dict):
        return [ShapeFault(f"expected an object at `{path}`, but got {_kind(value)}", stops_all=True)]
    return list(_faults(value, ImageRecord, path))


def without_nulls(value: dict[str, Any], shape: type[msgspec.Struct] = ImageRecord) -> dict[str, Any]:
    """The same record without the keys whose value is None: an absent value, whatever its type.

    `extra` is taken as it is, since None is a JSON value too; and so are unknown keys, which are faults with any value.
    """
    types = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
    return {
        key: without_nulls(item, types[key]) if isinstance(item, dict) and _is_shape(types.get(key)) else item
        for key, item in value.items()
        if item is not None or key == "extra" or key not in types
    }


def _faults(value: Any, shape: type[msgspec.Struct], path: str) -> Iterator[ShapeFault]:
    if not isinstance(value, dict):
        yield ShapeFault(f"expected an object at `{path}`, but got {_kind(value)}")
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    nested_faults = False
    for key, item in value.items():
        for fault in _field_faults(key, item, fields, path):
            nested_faults = True
            yield fault
    absent = [name for name, field in fields.items() if field.required and name not in value]
    for name in absent:
        yield ShapeFault(f"`{path}` has no `{name}`, which every record needs", stops_all=name == "id")
    if not nested_faults and not absent:
        yield from _convert_faults(value, shape, path)


def _field_faults(key: Any, item: Any, fields: dict[str, msgspec.structs.FieldInfo], path: str) -> Iterator[ShapeFault]:
    field = fields.get(key)
    if field is None:
        near = get_close_matches(str(key), fields, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(fields)}"
        yield ShapeFault(f"unknown key `{path}.{key}`: {hint}", stops_all=True)
    elif _is_shape(field.type):
        yield from _faults(item, field.type, f"{path}.{key}")
    else:
        yield from _convert_faults(item, field.type, f"{path}.{key}", stops_all=key == "id")


def _convert_faults(value: Any, shape: Any, path: str, *, stops_all: bool = False) -> Iterator[ShapeFault]:
    """What msgspec says, its path put behind ours; bytes may stand for themselves or as base64."""
    try:
        msgspec.convert(value, shape, strict=False)
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at `$")
        yield ShapeFault(f"{message} at `{path}{inner.rstrip('`')}`", stops_all)


def _is_shape(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


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
