"""The seam between who writes a shard and who runs the work."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class OrderedMap(Protocol):
    """`map`: one at a time, or several side by side; results come in the order of the items either way."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Apply the function to each item; one that says `is_cheap` is worked on where it is met."""
        ...
