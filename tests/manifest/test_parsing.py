"""One record: taken as what it means, or told what is wrong with it, or refused with the whole manifest."""

import json
import math
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tfrec_stage.manifest.parsing import UnusableRecordError, convert_record, decode_record
from tfrec_stage.records import MAX_NESTING, ImageRecord, InvalidRecord

GOOD = {"filename": "a.jpg", "id": "a"}
IMAGE = {"height": 1, "width": 1, "format": "JPEG", "colorspace": "RGB", "channels": 3}


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


BOTH = [
    pytest.param({"class": None}, {}, id="no class"),
    pytest.param({"object": None}, {}, id="no object"),
    pytest.param({"class": {"label": None, "text": "cat"}}, {"class": {"text": "cat"}}, id="no label"),
    pytest.param({"object": {"bbox": None, "parts": {"x": None}}}, {}, id="no boxes and no parts"),
    pytest.param({"class": {"label": 1.0}}, {"class": {"label": 1}}, id="integral float as label"),
    pytest.param({"object": {"bbox": {"label": [1.0, 2]}}}, {"object": {"bbox": {"label": [1, 2]}}}, id="in a list"),
    pytest.param({"id": 7.0}, {"id": "7"}, id="integral float as id"),
    pytest.param({"height": "3", "width": 4.0}, {"height": 3, "width": 4}, id="digits as a size"),
    pytest.param({"class": {"label": 1.0}, "extra": None}, {"class": {"label": 1}, "extra": None}, id="extra of None"),
]


@pytest.mark.parametrize(("given", "meant"), BOTH)
def test_unusual_types_are_taken_as_what_they_mean(given: dict, meant: dict) -> None:
    """The same record comes of them as of the usual types, in JSON and in Python."""
    expected = convert_record({**GOOD, **meant})
    assert isinstance(expected, ImageRecord)
    assert convert_record({**GOOD, **given}) == expected
    assert decode_record(json.dumps({**GOOD, **given}).encode()) == expected


INVALID = [
    pytest.param({"class": {"label": 1.5}}, "Expected `int | str`, got `float` at `$.class.label`", id="half a label"),
    pytest.param({"class": {"label": True}}, "Expected `int | str`, got `bool` at `$.class.label`", id="true"),
    pytest.param(
        {"object": {"bbox": {"label": [1, None]}}},
        "Expected `int | str`, got `null` at `$.object.bbox.label[1]`",
        id="None within a list has a place, and no value",
    ),
    pytest.param({"channels": "three"}, "Expected `int | null`, got `str` at `$.channels`", id="a word as a number"),
    pytest.param({"filename": 3}, "Expected `str`, got `int` at `$.filename`", id="no file name"),
    pytest.param(
        {"encoded": "aaaa"},
        "`encoded` needs height, width, format, colorspace, channels as well, "
        "but height, width, format, colorspace, channels is absent at `$`",
        id="an image without its size",
    ),
    pytest.param(
        {"extra": nested(MAX_NESTING + 1)},
        "Expected at most 100 levels of lists and objects in `extra`, but got more at `$`",
        id="nested too deep",
    ),
    pytest.param(
        {"class": 3, "object": []},
        "expected an object at `$.class`, but got a number; expected an object at `$.object`, but got an array",
        id="two faults",
    ),
]


@pytest.mark.parametrize(("given", "message"), INVALID)
def test_what_makes_no_sense_concerns_its_record_alone(given: dict, message: str) -> None:
    """The record comes back by its id, with all that is wrong, each with its path, the same from JSON and Python."""
    filename = "" if "filename" in given else "a.jpg"
    expected = InvalidRecord("a", message, filename)
    assert convert_record({**GOOD, **given}) == expected
    assert decode_record(json.dumps({**GOOD, **given}).encode()) == expected


class Closed:
    """An array, as it looks, that gives nothing any more."""

    def tolist(self) -> list[int]:
        """Refuse."""
        raise ValueError("it was closed")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"extra": [Closed()]}, "`$.extra[0]`: this value cannot be stored: it was closed", id="closed"),
        pytest.param({"extra": object()}, "`$.extra`: expected JSON-like values, but got a value of type object"),
        pytest.param(
            {"extra": {"a": [1, {"b": object()}]}},
            "`$.extra.a[1].b`: expected JSON-like values, but got a value of type object",
            id="deep within",
        ),
        pytest.param(
            {"extra": {"tags": {1, "a"}}},
            "`$.extra.tags`: expected a set whose values can be sorted, or a list, but got a value of type set",
            id="a set without an order",
        ),
        pytest.param(
            {"extra": [{frozenset("ab"), frozenset("cd")}]},
            "`$.extra[0]`: expected a set whose values can be sorted, or a list, but got a value of type set",
            id="of two sets neither is the smaller one",
        ),
        pytest.param(
            {"extra": {("a", frozenset("b")), ("a", frozenset("c"))}},
            "`$.extra`: expected a set whose values can be sorted, or a list, but got a value of type set",
            id="nor of two tuples that hold sets",
        ),
        pytest.param(
            {"extra": {math.nan, 1.0}},
            "`$.extra`: expected a set whose values can be sorted, or a list, but got a value of type set",
            id="nor NaN and a number",
        ),
        pytest.param(
            {"extra": cyclic()},
            "`$.extra`: expected at most 100 levels of lists and objects, but got more",
            id="an object that holds itself",
        ),
        pytest.param(
            {"object": {"bbox": {"xmin": [object()]}}},
            "`$.object.bbox.xmin[0]`: expected JSON-like values, but got a value of type object",
            id="not in extra",
        ),
    ],
)
def test_values_that_no_json_holds_concern_their_record_alone(given: dict, message: str) -> None:
    """Python values that cannot be stored are told with their path, in the same words by every process."""
    assert convert_record({**GOOD, **given}) == InvalidRecord("a", message, "a.jpg")


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([("filename", "a")], id="no mapping"),
        pytest.param({"filename": "a"}, id="no id"),
        pytest.param({"filename": "a", "id": object()}, id="an id that is nothing"),
        pytest.param({**GOOD, "clas": {}, "extra": object()}, id="an unknown key beside what cannot be stored"),
        pytest.param({**GOOD, "object": {"bbox": {"zmin": []}}}, id="an unknown key deep within"),
        pytest.param({**GOOD, "clas": None}, id="an unknown key of None"),
        pytest.param({**GOOD, "object": {"bbox": {"zmin": None}}}, id="an unknown key of None deep within"),
    ],
)
def test_what_puts_the_manifest_in_doubt_is_raised(given: Any) -> None:
    """No record with an unknown key or without an id is passed on, whatever else it has."""
    with pytest.raises(UnusableRecordError):
        convert_record(given)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"filename": "a", "id": "a"} {}', b"\xff", b'{"filename": "\xff", "id": "a"}']
)
def test_what_is_no_json_object_is_raised(data: bytes) -> None:
    """A line that holds no record puts the manifest in doubt."""
    with pytest.raises(UnusableRecordError, match="expected a"):
        decode_record(data)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"\xff\xd8", id="bytes"),
        pytest.param(bytearray(b"\xff\xd8"), id="bytearray"),
        pytest.param(memoryview(b"\xff\xd8"), id="memoryview"),
        pytest.param(np.frombuffer(b"\xff\xd8", np.uint8), id="NumPy array"),
    ],
)
def test_anything_that_holds_bytes_is_an_image(encoded: Any) -> None:
    """A buffer of bytes stands for these bytes."""
    record = convert_record({**GOOD, **IMAGE, "encoded": encoded})
    assert isinstance(record, ImageRecord)
    assert record.encoded == b"\xff\xd8"


@pytest.mark.parametrize("encoded", [np.array([255, 216]), np.zeros((2, 2), np.uint8), [255, 216], 3])
def test_an_array_of_other_numbers_is_no_image(encoded: Any) -> None:
    """The buffer of 64-bit numbers or of pixels is not a file's content: the record is invalid."""
    assert isinstance(convert_record({**GOOD, **IMAGE, "encoded": encoded}), InvalidRecord)


@pytest.mark.parametrize("given", [{"class": None}, {"class": {"label": 1.0}}], ids=["null", "integral float"])
def test_images_beside_unusual_types(given: dict) -> None:
    """An image stays what it is where another value has to be looked at again: bytes in Python, base64 in JSON."""
    record = convert_record({**GOOD, **IMAGE, **given, "encoded": b"aaaa"})
    assert isinstance(record, ImageRecord)
    assert record.encoded == b"aaaa"
    written = json.dumps({**GOOD, **IMAGE, **given, "encoded": "YWFhYQ=="}).encode()
    assert decode_record(written) == record


def test_images_beside_what_makes_no_sense() -> None:
    """Only what makes no sense is told, whichever way the image is written."""
    wrong = {**GOOD, **IMAGE, "height": "tall"}
    expected = InvalidRecord("a", "Expected `int | null`, got `str` at `$.height`", "a.jpg")
    assert convert_record({**wrong, "encoded": b"aaaa"}) == expected
    assert decode_record(json.dumps({**wrong, "encoded": "YWFhYQ=="}).encode()) == expected


def test_a_file_name_that_is_nothing() -> None:
    """It is told as such, and not as absent too."""
    message = "`$.filename`: expected JSON-like values, but got a value of type object"
    assert convert_record({"filename": object(), "id": "a"}) == InvalidRecord("a", message, "")
    absent = "`$.extra`: expected JSON-like values, but got a value of type object; `$` has no `filename`"
    assert convert_record({"id": "a", "extra": object()}) == InvalidRecord(
        "a", f"{absent}, which every record needs", ""
    )


def test_all_faults_are_in_the_message() -> None:
    """Of what is raised; for callers that have no place to tell them one by one."""
    with pytest.raises(UnusableRecordError, match=r"^`\$` has no `filename`.*; `\$` has no `id`"):
        convert_record({})


def test_sets_come_sorted() -> None:
    """A set has an order of its own in every process; it is stored as a sorted list, wherever it stands."""
    words = {"pear", "apple", "fig", "plum", "kiwi", "date"}
    record = convert_record({**GOOD, "extra": {"tags": words, "pairs": {(2, "b"), (1, "a")}, "n": frozenset([3, 1])}})
    assert record.extra == {"tags": sorted(words), "pairs": [(1, "a"), (2, "b")], "n": [1, 3]}


def test_mappings_and_paths_are_taken() -> None:
    """Any mapping is a record, and it is not changed."""
    record = OrderedDict(filename=Path("a.jpg"), id="a", encoded=bytearray(b"x"), **IMAGE)
    assert convert_record(record).filename == "a.jpg"
    assert isinstance(record["encoded"], bytearray)


@pytest.mark.parametrize("kind", [UserDict, ChainMap, MappingProxyType])
def test_mappings_that_are_no_dict_are_taken(kind: Callable[[dict], Any]) -> None:
    """As the whole record, and wherever one has an object."""
    record = {**GOOD, "class": {"label": 1}, "extra": {"a": {"b": 1}}}
    wrapped = kind({**GOOD, "class": kind({"label": 1}), "extra": kind({"a": kind({"b": 1})})})
    assert convert_record(wrapped) == convert_record(record)


@pytest.mark.parametrize("name", [7.0, np.float64(7), np.int64(7), 7, "7"])
def test_an_invalid_record_has_the_id_of_a_sound_one(name: Any) -> None:
    """Or another record with this id would not be seen."""
    assert convert_record({"filename": 3, "id": name}).id == convert_record({"filename": "a", "id": name}).id == "7"


def test_the_deepest_extra_that_is_stored() -> None:
    """A hundred levels are stored, whoever calls and however deep they are themselves."""
    assert isinstance(convert_record({**GOOD, "extra": nested(MAX_NESTING)}), ImageRecord)
    tuples: Any = "x"
    for _ in range(MAX_NESTING + 1):
        tuples = (tuples,)
    assert isinstance(convert_record({**GOOD, "extra": tuples}), InvalidRecord)


@pytest.mark.parametrize("levels", range(101, 1100, 37))
def test_any_depth_is_told_as_such(levels: int) -> None:
    """Wherever Python's own limit on recursion is met on the way, the record is invalid for the same reason."""
    record = convert_record({**GOOD, "extra": {"a": nested(levels)}})
    assert isinstance(record, InvalidRecord)
    assert "at most 100 levels of lists and objects" in record.message
