"""Python values become JSON values, and records become lines that can be read again."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest import open_manifest
from tfrec_stage.manifest.json_values import encode_line, to_builtins
from tfrec_stage.manifest.record_list import RecordList


def test_a_line_holds_the_record() -> None:
    """Decoding a line gives the record, with NumPy values, tuples, paths and bytes as JSON values."""
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
    """A line has the keys in the order in which they were written."""
    assert encode_line({"filename": "b", "id": "a", "error_msg": "x"}) == b'{"filename":"b","id":"a","error_msg":"x"}\n'


def test_lone_surrogates_are_escaped() -> None:
    """A lone surrogate anywhere in a record becomes its escape; other text is unchanged."""
    record = {"filename": "caf\udce9.jpg", "id": "é", "extra": {"k\udce9": ["\ud800", 1]}, "encoded": b"\xe9"}
    assert msgspec.json.decode(encode_line(record)) == {
        "filename": r"caf\udce9.jpg",
        "id": "é",
        "extra": {r"k\udce9": [r"\ud800", 1]},
        "encoded": "6Q==",
    }


def test_an_unorderable_set_is_described() -> None:
    """A set without a fixed order is named by its type, so a line is the same in every process; the rest is written."""
    record = {"filename": "a", "id": "a", "extra": {"groups": {frozenset("ab"), frozenset("cd")}, "tags": {"y", "x"}}}
    assert msgspec.json.decode(encode_line(record)) == {
        "filename": "a",
        "id": "a",
        "extra": {"groups": "a value of type set", "tags": ["x", "y"]},
    }


def test_unstorable_values_are_described() -> None:
    """A value that JSON cannot hold is named by its type, the same in every process; values beside it are unchanged."""
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
    """Numbers as keys of `extra` become strings, as JSON requires."""
    assert to_builtins({"extra": {1: {2: "x"}}}) == {"extra": {"1": {"2": "x"}}}
    ((_, record),) = RecordList([{"filename": "a", "id": "a", "extra": {1: 2}}]).scan()
    assert record.extra == {"1": 2}


def test_a_record_nested_too_deep_is_a_problem_of_its_line(tmp_path: Path) -> None:
    """A line with 100,000 nested lists raises a ManifestError with its line number."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"filename": "a", "id": "a", "extra": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ManifestError, match="line 1: expected at most 100 levels of lists and objects"):
        list(open_manifest(path).scan())
