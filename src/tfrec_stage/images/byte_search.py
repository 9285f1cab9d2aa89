"""Search patterns in bytes with RE2, which skips to the next candidate; `re` looks at every byte (ADR 16)."""

from collections.abc import Callable
from typing import Any

import re2


def searcher(pattern: bytes) -> Callable[..., Any]:
    """Return a function that takes bytes and a start offset, and returns the first match of the pattern or None.

    Syntax: https://github.com/google/re2/wiki/Syntax
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # otherwise the bytes would have to be UTF-8
    search: Callable[..., Any] = re2.compile(pattern, options).search
    return search
