"""JSON or Python values → an image record, or what is wrong with it.

Nearly all records are decoded by msgspec in one step. Those that it refuses are looked at again, slowly: what has only
an unusual type (`None` for a key that is absent, `3.0` or `"3"` for 3) is taken as what it means; what makes no sense
makes the record invalid, which is a failure of this record alone; and what puts the whole manifest in doubt (an
unknown key, no id, no JSON) is raised.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tfrec_stage.manifest.json_values import find_unstorable, has_set_without_order, to_builtins
from tfrec_stage.manifest.shape import shape_faults, without_nulls
from tfrec_stage.records import MAX_NESTING, ImageRecord, Int64, InvalidRecord, ParsedRecord

_REFUSED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder(ImageRecord).decode


class UnusableRecordError(ValueError):
    """A record that puts the whole manifest in doubt.

    Attributes:
        faults: everything that is wrong with it, a line each.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def decode_record(data: bytes | msgspec.Raw) -> ParsedRecord:
    """The record that stands in JSON.

    Raises:
        UnusableRecordError: it is no JSON object, has an unknown key or no id.
    """
    try:
        return _decode(data)
    except _REFUSED:
        return _explain_json(bytes(data))


def convert_record(values: Mapping[str, Any]) -> ParsedRecord:
    """The record that stands in Python's values; they are not changed.

    NumPy's numbers and arrays, tuples, sets and paths may stand for numbers, lists and strings, and anything with a
    buffer of bytes for `encoded`.

    Raises:
        UnusableRecordError: it is no mapping, has an unknown key or no id.
    """
    if not isinstance(values, Mapping):
        raise UnusableRecordError([str(fault) for fault in shape_faults(values)])
    try:
        plain = to_builtins(_with_bytes(values))
        is_unstorable = has_set_without_order(values.get("extra"))  # elsewhere no set may hold sets
    except (TypeError, ValueError, RecursionError):
        is_unstorable = True
    if is_unstorable:
        return _explain_values(values)
    try:
        return msgspec.convert(plain, ImageRecord)
    except msgspec.ValidationError:
        return _convert_leniently(plain)


def _convert_leniently(values: Any) -> ParsedRecord:
    """Convert what the strict conversion refused; an image may be bytes or base64."""
    present = without_nulls(values) if isinstance(values, dict) else values
    try:
        return msgspec.convert(present, ImageRecord, strict=False)
    except msgspec.ValidationError:
        return _invalid(present, [])


def _invalid(values: Any, faults: list[str]) -> InvalidRecord:
    found = shape_faults(values)
    told = [*faults, *map(str, found)]
    if any(fault.stops_all for fault in found):
        raise UnusableRecordError(told)
    filename = values.get("filename")
    return InvalidRecord(_convert_id(values["id"]), "; ".join(told), filename if isinstance(filename, str) else "")


def _convert_id(value: Any) -> str:
    """An id as a sound record would have it: 7 for 7.0, or two records with one id would not be seen."""
    return str(msgspec.convert(value, str | Int64, strict=False))


def _explain_json(data: bytes) -> ParsedRecord:
    try:
        return _convert_leniently(msgspec.json.decode(data))
    except RecursionError:
        raise UnusableRecordError([f"expected at most {MAX_NESTING} levels of lists and objects"]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as not_json:
        raise UnusableRecordError([f"expected a JSON object, but {not_json}"]) from None


def _explain_values(values: Mapping[str, Any]) -> InvalidRecord:
    """What cannot be stored, key by key; the others are checked as ever."""
    faults, storable = [], {}
    for key, value in values.items():
        fault = find_unstorable(value, f"$.{key}")
        if fault is None:
            storable[str(key)] = to_builtins(value)
        else:
            faults.append(fault)
    absent = [key for key in ("filename",) if key in values and key not in storable]
    return _invalid(storable | dict.fromkeys(absent, ""), faults)


def _with_bytes(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record with the bytes of `encoded` where it has a buffer of bytes: a bytearray, a view, a NumPy array."""
    encoded = values.get("encoded")
    if encoded is None or isinstance(encoded, (bytes, str)):
        return values
    try:
        view = memoryview(encoded)
    except TypeError:
        return values
    # Of other items, for example 64-bit integers, the buffer is not the list of their values.
    return {**values, "encoded": view.tobytes()} if view.itemsize == 1 and view.ndim == 1 else values
