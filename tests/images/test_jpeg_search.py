"""RE2 finds in bytes what the standard library's `re` finds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.images.jpeg import compile_search

PATTERNS = [rb"\xff[^\x00\xd0-\xd7\xff]", rb"acTL"]
BYTES = st.lists(
    st.sampled_from([b"\xff", b"\x00", b"\xd0", b"\xd7", b"\xd9", b"\x80", b"\n", b"acTL", b"a", b"\xc3\xa9"])
)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(pieces=BYTES, at=st.integers(0, 60))
def test_the_first_match_is_that_of_re(pattern: bytes, pieces: list[bytes], at: int) -> None:
    """RE2 and `re` find the same match from any offset, in bytes that are UTF-8 or not."""
    data = b"".join(pieces)
    expected, found = re.compile(pattern).search(data, at), compile_search(pattern)(data, at)
    assert (found and found.span()) == (expected and expected.span())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pair_of_bytes_matches_alike(pattern: bytes) -> None:
    """RE2 and `re` agree on each of the 65,536 pairs of bytes."""
    ours, theirs = compile_search(pattern), re.compile(pattern).search
    pairs = (bytes((first, second)) for first in range(256) for second in range(256))
    assert [pair for pair in pairs if bool(ours(pair, 0)) != bool(theirs(pair))] == []
