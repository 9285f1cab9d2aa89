"""Dicts from Python become JSON, and lines that can be read again."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest import open_manifest
from tfrec_stage.manifest.json_values import encode_line, to_builtins
from tfrec_stage.manifest.record_list import RecordList


def test_a_line_is_the_record_again() -> None:
    """What JSON can hold comes back as it was; NumPy's values, tuples, paths and bytes as what they stand for."""
    record = {"filename": Path("é.jpg"), "id": np.int64(3), "extra": {"a": (1, np.float64(0.5))}, "encoded": b"\xff"}
    line = encode_line(record)
    assert line.endswith(b"\n")
    assert msgspec.json.decode(line) == {
        "filename": "é.jpg",
        "id": 3,
        "extra": {"a": [1, 0.5]},
        "encoded": "/w==",
    }


def test_a_line_keeps_the_order_of_keys() -> None:
    """People find the file name where they wrote it."""
    assert encode_line({"filename": "b", "id": "a", "error_msg": "x"}) == b'{"filename":"b","id":"a","error_msg":"x"}\n'


def test_what_is_not_utf8_is_escaped() -> None:
    """Wherever it stands, a lone surrogate becomes its escape, and whatever is UTF-8 stays."""
    record = {"filename": "caf\udce9.jpg", "id": "é", "extra": {"k\udce9": ["\ud800", 1]}, "encoded": b"\xe9"}
    assert msgspec.json.decode(encode_line(record)) == {
        "filename": r"caf\udce9.jpg",
        "id": "é",
        "extra": {r"k\udce9": [r"\ud800", 1]},
        "encoded": "6Q==",
    }


def test_a_set_without_an_order_is_not_written() -> None:
    """Its line would be another one in every process; the rest of the record is there."""
    record = {"filename": "a", "id": "a", "extra": {"groups": {frozenset("ab"), frozenset("cd")}, "tags": {"y", "x"}}}
    assert msgspec.json.decode(encode_line(record)) == {
        "filename": "a",
        "id": "a",
        "extra": {"groups": "a value of type set", "tags": ["x", "y"]},
    }


def test_what_no_json_holds_is_told_in_words() -> None:
    """In its place alone, and the same in every process; whatever can be stored beside it stays."""
    cyclic: list[object] = []
    cyclic.append(cyclic)
    record = {"id": "a", "extra": {"a": [1, "x", (object(), 2)], 3: {"b": {1: 2}, "c": {4, "x"}}}, "loop": cyclic}
    assert msgspec.json.decode(encode_line(record)) == {
        "id": "a",
        "extra": {"a": [1, "x", ["a value of type object", 2]], "3": {"b": {"1": 2}, "c": "a value of type set"}},
        "loop": "a value of type list",
    }
    assert msgspec.json.decode(encode_line({"n": [10**5000, 10**30]})) == {"n": ["a value of type int", 10**30]}


def test_keys_become_text() -> None:
    """As in JSON, whose keys are strings: numbers as keys of `extra` are no error."""
    assert to_builtins({"extra": {1: {2: "x"}}}) == {"extra": {"1": {"2": "x"}}}
    ((_, record),) = RecordList([{"filename": "a", "id": "a", "extra": {1: 2}}]).scan()
    assert record.extra == {"1": 2}


def test_a_record_nested_too_deep_is_a_fault_of_its_line(tmp_path: Path) -> None:
    """A line of a hundred thousand brackets is told with its number."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"filename": "a", "id": "a", "extra": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ManifestError, match="line 1: expected at most 100 levels of lists and objects"):
        list(open_manifest(path).scan())
