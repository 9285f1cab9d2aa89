"""JSON or Python values → an image record, or the problems that it has.

msgspec decodes nearly all records in one fast, strict step that stops at the first problem. Only a record that it
refuses is looked at again, slowly:

    an unusual type (`None` for an absent key, `3.0` or `"3"` for 3)   is converted to what it means
    a wrong value                                                      makes this record an `InvalidRecord`, a failure
    an unknown key, no id, not JSON                                    raises, since it puts the whole manifest in doubt
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

import msgspec

from tfrec_stage.manifest.json_values import find_unstorable, has_unorderable_set, to_builtins
from tfrec_stage.records import MAX_NESTING, ImageRecord, Int64, InvalidRecord, ParsedRecord

_REFUSED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder(ImageRecord).decode


class UnusableRecordError(ValueError):
    """A record that puts the whole manifest in doubt.

    Attributes:
        problems: all problems of the record, one message each.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ShapeProblem(NamedTuple):
    """One unknown key, missing key or wrong type in a record."""

    message: str
    """What was expected and found, with its path."""
    refuses_manifest: bool = False
    """Whether the whole manifest is refused, not this record alone."""

    def __str__(self) -> str:
        """Give the message."""
        return self.message


def decode_record(data: bytes) -> ParsedRecord:
    """Parse a record from JSON.

    Raises:
        UnusableRecordError: it is not a JSON object, has an unknown key or has no id.
    """
    try:
        return _decode(data)
    except _REFUSED:
        return _decode_leniently(data)


def convert_record(values: Mapping[str, Any]) -> ParsedRecord:
    """Parse a record from Python values, which are not changed.

    NumPy numbers and arrays, tuples, sets and paths may stand for numbers, lists and strings; `encoded` may be anything
    with a buffer of bytes.

    Raises:
        UnusableRecordError: it is not a mapping, has an unknown key or has no id.
    """
    if not isinstance(values, Mapping):
        raise UnusableRecordError([str(problem) for problem in shape_problems(values)])
    try:
        builtins = to_builtins(_with_bytes(values))
        # Only `extra` may hold any value: a set within a set is a wrong type under every other key.
        is_unstorable = has_unorderable_set(values.get("extra"))
    except (TypeError, ValueError, RecursionError):
        is_unstorable = True
    if is_unstorable:
        return _explain_unstorable(values)
    try:
        return msgspec.convert(builtins, ImageRecord)
    except msgspec.ValidationError:
        return _convert_leniently(builtins)


def _decode_leniently(data: bytes) -> ParsedRecord:
    try:
        return _convert_leniently(msgspec.json.decode(data))
    except RecursionError:
        raise UnusableRecordError([f"expected at most {MAX_NESTING} levels of lists and objects"]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnusableRecordError([f"expected a JSON object, but {error}"]) from None


def _convert_leniently(values: Any) -> ParsedRecord:
    """Convert what the strict conversion refused. `encoded` may be bytes or base64."""
    present = without_nulls(values) if isinstance(values, dict) else values
    try:
        return msgspec.convert(present, ImageRecord, strict=False)
    except msgspec.ValidationError:
        return _invalid(present, [])


def _explain_unstorable(values: Mapping[str, Any]) -> InvalidRecord:
    """The problems of a record with values that cannot be stored; its other values are checked as usual."""
    problems, storable = [], {}
    for key, value in values.items():
        problem = find_unstorable(value, f"$.{key}")
        if problem is None:
            storable[str(key)] = to_builtins(value)
        else:
            problems.append(problem)
    # A file name that cannot be stored is one problem. Without the placeholder it would be reported as missing too.
    placeholder = {"filename": ""} if "filename" in values and "filename" not in storable else {}
    return _invalid(storable | placeholder, problems)


def _invalid(values: Any, problems: list[str]) -> InvalidRecord:
    found = shape_problems(values)
    messages = [*problems, *map(str, found)]
    if any(problem.refuses_manifest for problem in found):
        raise UnusableRecordError(messages)
    filename = values.get("filename")
    return InvalidRecord(_convert_id(values["id"]), "; ".join(messages), filename if isinstance(filename, str) else "")


def _convert_id(value: Any) -> str:
    """The id that a valid record would have: 7 for 7.0. Otherwise two records with one id would not be noticed."""
    return str(msgspec.convert(value, str | Int64, strict=False))


def _with_bytes(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record, with `encoded` as bytes if it is a buffer of bytes: a bytearray, a view, a NumPy array."""
    encoded = values.get("encoded")
    if encoded is None or isinstance(encoded, (bytes, str)):
        return values
    try:
        view = memoryview(encoded)
    except TypeError:
        return values
    # With larger items, for example 64-bit integers, the buffer does not hold one byte per value.
    return {**values, "encoded": view.tobytes()} if view.itemsize == 1 and view.ndim == 1 else values


def shape_problems(value: Any, path: str = "$") -> list[ShapeProblem]:
    """Problems of a decoded JSON value that should be an image record, in the order of its keys.

    An unknown key refuses the manifest: it is most likely misspelt in every record, and its annotations would be
    dropped silently. So does a record without an id, which can be neither placed nor named.

    Args:
        value: dicts, lists, strings, bytes and numbers.
        path: name of the record itself, for example `$` or `$[3]`.

    >>> [problem.message for problem in shape_problems({"filename": "a.jpg", "id": "a", "object": {"boxes": {}}})]
    ['unknown key `$.object.boxes`: did you mean `bbox`?']
    """
    if not isinstance(value, dict):
        return [ShapeProblem(f"expected an object at `{path}`, but got {_type_name(value)}", refuses_manifest=True)]
    return list(_struct_problems(value, ImageRecord, path))


def without_nulls(value: dict[str, Any], struct: type[msgspec.Struct] = ImageRecord) -> dict[str, Any]:
    """The record without the keys whose value is None, which means an absent value.

    `extra` keeps its None, which is a JSON value there. So do unknown keys, which are problems with any value.
    """
    types = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    return {
        key: without_nulls(item, types[key]) if isinstance(item, dict) and _is_struct(types.get(key)) else item
        for key, item in value.items()
        if item is not None or key == "extra" or key not in types
    }


def _struct_problems(value: Any, struct: type[msgspec.Struct], path: str) -> Iterator[ShapeProblem]:
    if not isinstance(value, dict):
        yield ShapeProblem(f"expected an object at `{path}`, but got {_type_name(value)}")
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    has_problems = False
    for key, item in value.items():
        for problem in _field_problems(key, item, fields, path):
            has_problems = True
            yield problem
    missing = [name for name, field in fields.items() if field.required and name not in value]
    for name in missing:
        yield ShapeProblem(f"`{path}` has no `{name}`, which every record needs", refuses_manifest=name == "id")
    # Checks across keys (`encoded` needs five others) run when the whole struct converts, which a problem found above
    # prevents.
    if not has_problems and not missing:
        yield from _conversion_problems(value, struct, path)


def _field_problems(
    key: Any, item: Any, fields: dict[str, msgspec.structs.FieldInfo], path: str
) -> Iterator[ShapeProblem]:
    field = fields.get(key)
    if field is None:
        near = get_close_matches(str(key), fields, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(fields)}"
        yield ShapeProblem(f"unknown key `{path}.{key}`: {hint}", refuses_manifest=True)
    elif _is_struct(field.type):
        yield from _struct_problems(item, field.type, f"{path}.{key}")
    else:
        yield from _conversion_problems(item, field.type, f"{path}.{key}", refuses_manifest=key == "id")


def _conversion_problems(value: Any, kind: Any, path: str, *, refuses_manifest: bool = False) -> Iterator[ShapeProblem]:
    """The first problem that msgspec finds, with our path in front of its own."""
    try:
        msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        # msgspec ends its message with the path within the value, such as " - at `$[1]`".
        message, _, inner = str(error).partition(" - at `$")
        yield ShapeProblem(f"{message} at `{path}{inner.rstrip('`')}`", refuses_manifest)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _type_name(value: Any) -> str:
    """What JSON calls the type of a value."""
    names = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
    }
    return names.get(type(value), f"a {type(value).__name__}")
