"""One record is parsed, becomes an invalid record with its problems, or is refused with the whole manifest."""

import json
import math
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tfrec_stage.manifest.parsing import (
    UnusableRecordError,
    convert_record,
    decode_record,
    shape_problems,
    without_nulls,
)
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
def test_unusual_types_are_converted(given: dict, meant: dict) -> None:
    """Unusual types give the same record as the usual ones, both from JSON and from Python."""
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
        id="None within a list",
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
        id="two problems",
    ),
]


@pytest.mark.parametrize(("given", "message"), INVALID)
def test_wrong_values_make_the_record_invalid(given: dict, message: str) -> None:
    """A wrong value gives an InvalidRecord with its id and all problems and paths, the same from JSON and Python."""
    filename = "" if "filename" in given else "a.jpg"
    expected = InvalidRecord("a", message, filename)
    assert convert_record({**GOOD, **given}) == expected
    assert decode_record(json.dumps({**GOOD, **given}).encode()) == expected


class Closed:
    """Looks like an array, but cannot be converted."""

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
            id="a set of values that cannot be compared",
        ),
        pytest.param(
            {"extra": [{frozenset("ab"), frozenset("cd")}]},
            "`$.extra[0]`: expected a set whose values can be sorted, or a list, but got a value of type set",
            id="a set of sets, of which neither is smaller",
        ),
        pytest.param(
            {"extra": {("a", frozenset("b")), ("a", frozenset("c"))}},
            "`$.extra`: expected a set whose values can be sorted, or a list, but got a value of type set",
            id="a set of tuples that hold sets",
        ),
        pytest.param(
            {"extra": {math.nan, 1.0}},
            "`$.extra`: expected a set whose values can be sorted, or a list, but got a value of type set",
            id="a set with NaN",
        ),
        pytest.param(
            {"extra": cyclic()},
            "`$.extra`: expected at most 100 levels of lists and objects, but got more",
            id="a dict that contains itself",
        ),
        pytest.param(
            {"object": {"bbox": {"xmin": [object()]}}},
            "`$.object.bbox.xmin[0]`: expected JSON-like values, but got a value of type object",
            id="not in extra",
        ),
    ],
)
def test_unstorable_values_make_the_record_invalid(given: dict, message: str) -> None:
    """Python values that cannot be stored are reported with their path, with the same message in every process."""
    assert convert_record({**GOOD, **given}) == InvalidRecord("a", message, "a.jpg")


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([("filename", "a")], id="not a mapping"),
        pytest.param({"filename": "a"}, id="no id"),
        pytest.param({"filename": "a", "id": object()}, id="an id that is neither text nor a number"),
        pytest.param({**GOOD, "clas": {}, "extra": object()}, id="an unknown key beside an unstorable value"),
        pytest.param({**GOOD, "object": {"bbox": {"zmin": []}}}, id="a nested unknown key"),
        pytest.param({**GOOD, "clas": None}, id="an unknown key with None"),
        pytest.param({**GOOD, "object": {"bbox": {"zmin": None}}}, id="a nested unknown key with None"),
    ],
)
def test_unusable_records_are_raised(given: Any) -> None:
    """A record with an unknown key or without an id always raises, whatever other problems it has."""
    with pytest.raises(UnusableRecordError):
        convert_record(given)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"filename": "a", "id": "a"} {}', b"\xff", b'{"filename": "\xff", "id": "a"}']
)
def test_other_json_is_raised(data: bytes) -> None:
    """A line that is not one JSON object raises."""
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
def test_any_buffer_of_bytes_is_an_image(encoded: Any) -> None:
    """`encoded` may be any object with a buffer of bytes."""
    record = convert_record({**GOOD, **IMAGE, "encoded": encoded})
    assert isinstance(record, ImageRecord)
    assert record.encoded == b"\xff\xd8"


@pytest.mark.parametrize("encoded", [np.array([255, 216]), np.zeros((2, 2), np.uint8), [255, 216], 3])
def test_other_arrays_are_not_images(encoded: Any) -> None:
    """Arrays of 64-bit numbers or of pixels do not hold the content of a file, so the record is invalid."""
    assert isinstance(convert_record({**GOOD, **IMAGE, "encoded": encoded}), InvalidRecord)


@pytest.mark.parametrize("given", [{"class": None}, {"class": {"label": 1.0}}], ids=["null", "integral float"])
def test_images_beside_unusual_types(given: dict) -> None:
    """The lenient conversion keeps an image as it is: bytes from Python, base64 from JSON."""
    record = convert_record({**GOOD, **IMAGE, **given, "encoded": b"aaaa"})
    assert isinstance(record, ImageRecord)
    assert record.encoded == b"aaaa"
    written = json.dumps({**GOOD, **IMAGE, **given, "encoded": "YWFhYQ=="}).encode()
    assert decode_record(written) == record


def test_images_beside_wrong_values() -> None:
    """Only the wrong value is reported, whether the image is bytes or base64."""
    wrong = {**GOOD, **IMAGE, "height": "tall"}
    expected = InvalidRecord("a", "Expected `int | null`, got `str` at `$.height`", "a.jpg")
    assert convert_record({**wrong, "encoded": b"aaaa"}) == expected
    assert decode_record(json.dumps({**wrong, "encoded": "YWFhYQ=="}).encode()) == expected


def test_an_unstorable_file_name_is_one_problem() -> None:
    """A file name that cannot be stored is not reported as missing too."""
    message = "`$.filename`: expected JSON-like values, but got a value of type object"
    assert convert_record({"filename": object(), "id": "a"}) == InvalidRecord("a", message, "")
    absent = "`$.extra`: expected JSON-like values, but got a value of type object; `$` has no `filename`"
    assert convert_record({"id": "a", "extra": object()}) == InvalidRecord(
        "a", f"{absent}, which every record needs", ""
    )


def test_the_error_lists_all_problems() -> None:
    """The text of the error has all problems, for callers that do not list them one by one."""
    with pytest.raises(UnusableRecordError, match=r"^`\$` has no `filename`.*; `\$` has no `id`"):
        convert_record({})


def test_sets_are_sorted() -> None:
    """A set anywhere in `extra` is stored as a sorted list, since its own order differs between processes."""
    words = {"pear", "apple", "fig", "plum", "kiwi", "date"}
    record = convert_record({**GOOD, "extra": {"tags": words, "pairs": {(2, "b"), (1, "a")}, "n": frozenset([3, 1])}})
    assert record.extra == {"tags": sorted(words), "pairs": [(1, "a"), (2, "b")], "n": [1, 3]}


def test_mappings_and_paths_are_converted() -> None:
    """Any mapping may be a record, and it is not changed."""
    record = OrderedDict(filename=Path("a.jpg"), id="a", encoded=bytearray(b"x"), **IMAGE)
    assert convert_record(record).filename == "a.jpg"
    assert isinstance(record["encoded"], bytearray)


@pytest.mark.parametrize("kind", [UserDict, ChainMap, MappingProxyType])
def test_other_mappings_are_converted(kind: Callable[[dict], Any]) -> None:
    """Mappings that are not dicts may stand for the whole record and for any object within it."""
    record = {**GOOD, "class": {"label": 1}, "extra": {"a": {"b": 1}}}
    wrapped = kind({**GOOD, "class": kind({"label": 1}), "extra": kind({"a": kind({"b": 1})})})
    assert convert_record(wrapped) == convert_record(record)


@pytest.mark.parametrize("name", [7.0, np.float64(7), np.int64(7), 7, "7"])
def test_an_invalid_record_has_the_id_of_a_valid_one(name: Any) -> None:
    """An invalid record gets the id that a valid one would have, so that duplicate ids are found."""
    assert convert_record({"filename": 3, "id": name}).id == convert_record({"filename": "a", "id": name}).id == "7"


def test_the_deepest_extra_that_is_stored() -> None:
    """`extra` may have `MAX_NESTING` levels, and not one more."""
    assert isinstance(convert_record({**GOOD, "extra": nested(MAX_NESTING)}), ImageRecord)
    tuples: Any = "x"
    for _ in range(MAX_NESTING + 1):
        tuples = (tuples,)
    assert isinstance(convert_record({**GOOD, "extra": tuples}), InvalidRecord)


@pytest.mark.parametrize("levels", range(101, 1100, 37))
def test_every_deeper_extra_has_the_same_problem(levels: int) -> None:
    """A deeper `extra` is reported with one message, wherever Python's own recursion limit is reached."""
    record = convert_record({**GOOD, "extra": {"a": nested(levels)}})
    assert isinstance(record, InvalidRecord)
    assert "at most 100 levels of lists and objects" in record.message


# --- problems of the shape -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "problems"),
    [
        pytest.param(GOOD, [], id="only the required keys"),
        pytest.param(
            {}, ["`$` has no `filename`, which every record needs", "`$` has no `id`, which every record needs"]
        ),
        pytest.param({**GOOD, "object": {"boxes": {}}}, ["unknown key `$.object.boxes`: did you mean `bbox`?"]),
        pytest.param({**GOOD, "class": {"lable": 1}}, ["unknown key `$.class.lable`: did you mean `label`?"]),
        pytest.param(
            {**GOOD, "object": {"bbox": {"zzz": []}}},
            ["unknown key `$.object.bbox.zzz`: known are xmin, xmax, ymin, ymax, label, text, score, conf"],
            id="no similar key",
        ),
        pytest.param(
            {**GOOD, "object": {"bbox": {"xmin": [0.1, "x"]}}},
            ["Expected `float`, got `str` at `$.object.bbox.xmin[1]`"],
        ),
        pytest.param({**GOOD, "class": 3}, ["expected an object at `$.class`, but got a number"]),
        pytest.param([], ["expected an object at `$`, but got an array"]),
        pytest.param(
            {**GOOD, "class": {"label": "cat"}},
            ["Expected a label number, or a string of digits, but got 'cat' at `$.class`"],
        ),
        pytest.param({**GOOD, "sha256": "xyz"}, ["Expected `str` matching regex '^[0-9a-f]{64}$' at `$.sha256`"]),
    ],
)
def test_problems_name_path_and_nearest_key(record: object, problems: list[str]) -> None:
    """Each problem has its path, and an unknown key the nearest known one."""
    assert [str(problem) for problem in shape_problems(record)] == problems


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "true or false"),
        (3, "a number"),
        (1.5, "a number"),
        ("x", "a string"),
        ([], "an array"),
        (b"x", "a bytes"),
    ],
)
def test_a_value_in_place_of_an_object(value: object, kind: str) -> None:
    """A value that is not an object is reported by the JSON name of its type."""
    assert [str(problem) for problem in shape_problems(value)] == [f"expected an object at `$`, but got {kind}"]


@pytest.mark.parametrize("encoded", [b"aaaa", "YWFhYQ=="])
def test_an_image_is_not_a_problem(encoded: object) -> None:
    """`encoded` may be bytes or base64."""
    image = {"height": 1, "width": 1, "format": "JPEG", "colorspace": "RGB", "channels": 3}
    problems = shape_problems({**GOOD, **image, "encoded": encoded, "class": 3})
    assert [str(problem) for problem in problems] == ["expected an object at `$.class`, but got a number"]


@pytest.mark.parametrize(
    ("record", "refuses_manifest"),
    [
        pytest.param([], True, id="not an object"),
        pytest.param({"filename": "a"}, True, id="no id"),
        pytest.param({**GOOD, "id": []}, True, id="an id of another type"),
        pytest.param({**GOOD, "clas": {}}, True, id="unknown key"),
        pytest.param({**GOOD, "object": {"bbox": {"x": []}}}, True, id="nested unknown key"),
        pytest.param({"id": "a"}, False, id="no file name"),
        pytest.param({**GOOD, "class": 3}, False, id="wrong type"),
        pytest.param({**GOOD, "object": {"bbox": {"xmin": ["x"]}}}, False, id="nested wrong type"),
        pytest.param({**GOOD, "encoded": b"x"}, False, id="a missing key that another one needs"),
    ],
)
def test_which_problems_refuse_the_manifest(record: object, refuses_manifest: bool) -> None:
    """An unknown key and a missing id refuse the whole manifest; other problems only make their record invalid."""
    problems = shape_problems(record)
    assert len(problems) == 1
    assert problems[0].refuses_manifest is refuses_manifest


def test_nulls_are_absent_values() -> None:
    """None means an absent value under the keys of a record, and is kept within `extra`."""
    record = {**GOOD, "class": None, "object": {"count": None, "bbox": None, "area": [None]}, "extra": {"a": None}}
    assert without_nulls(record) == {**GOOD, "object": {"area": [None]}, "extra": {"a": None}}
    assert without_nulls({**GOOD, "extra": None}) == {**GOOD, "extra": None}


def test_all_problems_are_reported_at_once() -> None:
    """All problems of a record are reported, not only the first."""
    record = {"filename": 1, "idd": "a", "object": {"boxes": {}, "area": ["x"]}}
    assert len(shape_problems(record)) == 5


def test_an_image_needs_its_description() -> None:
    """`encoded` without the five keys that describe it is a problem."""
    assert [str(problem) for problem in shape_problems({**GOOD, "encoded": b"x", "width": 1})] == [
        "`encoded` needs height, width, format, colorspace, channels as well, "
        "but height, format, colorspace, channels is absent at `$`"
    ]
