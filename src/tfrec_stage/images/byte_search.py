"""Patterns searched for in bytes by RE2, which jumps to the next possible place where `re` and `find` look at each."""

from collections.abc import Callable
from typing import Any

import re2


def searcher(pattern: bytes) -> Callable[..., Any]:
    """What finds the first match of a pattern: takes bytes and where to begin, gives a match or None.

    Syntax: https://github.com/google/re2/wiki/Syntax
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # else the bytes would have to be UTF-8
    search: Callable[..., Any] = re2.compile(pattern, options).search
    return search
