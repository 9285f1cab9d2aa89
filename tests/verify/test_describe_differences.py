"""Differences between two records are described in one line, however long the records are."""

import pytest

from tfrec_stage.tfrecord.example import Feature, Kind
from tfrec_stage.verify.contents import describe_differences

INT64, FLOAT, BYTES = Kind.INT64, Kind.FLOAT, Kind.BYTES
LONG = list(range(1000, 1040))
TEXT = "x" * 500 + "here" + "y" * 500


@pytest.mark.parametrize(
    ("kind", "expected", "got", "message"),
    [
        pytest.param(INT64, [1], [1], "", id="the same"),
        pytest.param(INT64, [3], [7], "k: expected [3], but got [7]", id="a scalar"),
        pytest.param(INT64, [1, 2], [], "k: expected [1, 2], but got []", id="nothing"),
        pytest.param(INT64, LONG, [*LONG[:30], 7, *LONG[31:]], "k[30]: expected 1030, but got 7", id="a long list"),
        pytest.param(
            INT64,
            LONG,
            LONG[:-1],
            "k[39]: expected 1039, but got no entry (40 entries expected, got 39)",
            id="one less",
        ),
        pytest.param(
            INT64, LONG, [*LONG, 5], "k[40]: expected no entry, but got 5 (40 entries expected, got 41)", id="one more"
        ),
        pytest.param(FLOAT, [0.0], [-0.0], "k: expected [0.0], but got [-0.0]", id="another zero"),
        pytest.param(FLOAT, [float("nan")], [float("nan")], "", id="NaN is itself"),
        pytest.param(FLOAT, [0.1], [1e-9], "k: expected [0.1], but got [1e-09]", id="short numbers"),
        pytest.param(BYTES, [b"a"], [b"\xff"], "k: expected ['a'], but got ['\\\\xff']", id="no text"),
        pytest.param(
            BYTES,
            [TEXT.encode()],
            [TEXT.replace("here", "HERE").encode()],
            f"k[0]: expected …{'x' * 20}here{'y' * 56}…, but got …{'x' * 20}HERE{'y' * 56}…",
            id="a long text",
        ),
    ],
)
def test_one_key(kind: Kind, expected: list, got: list, message: str) -> None:
    """Short lists are shown whole, long ones by their first difference, long texts by what surrounds it."""
    assert describe_differences({"k": Feature(kind, expected)}, {"k": Feature(kind, got)}) == message


def test_the_first_keys() -> None:
    """The first four keys are shown in the expected order, and the others are counted."""
    expected = {key: Feature(INT64, [0]) for key in "fedcba"}
    found = {key: Feature(INT64, [1]) for key in "abcdef"}
    line = describe_differences(expected, found)
    assert line == "; ".join(f"{key}: expected [0], but got [1]" for key in "fedc") + "; and 2 more keys"


def test_keys_that_the_parser_reports() -> None:
    """Missing keys and other kinds are left to the parser; unexpected keys are described."""
    expected = {"absent": Feature(INT64, [1]), "kind": Feature(INT64, [])}
    found = {"kind": Feature(FLOAT, []), "more": Feature(BYTES, [b"z" * 200])}
    assert describe_differences(expected, found) == f"more: expected no such key, but got ['{'z' * 78}…"
