"""A bounded window of futures, results as they come."""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Final, TypeVar

Result = TypeVar("Result")

TICK_S: Final = 0.2
"""Seconds between two looks at how far the work has come."""


def drain(futures: Iterator[Future[Result]], window: int, tick: Callable[[], None]) -> Iterator[Future[Result]]:
    """Futures as they finish, never more than `window` of them begun; those left are cancelled at the end."""
    pending: set[Future[Result]] = set()
    try:
        while True:
            pending.update(_take(futures, window - len(pending)))
            if not pending:
                return
            done, pending = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
            tick()
            yield from done
    finally:
        for future in pending:
            future.cancel()


def _take(futures: Iterator[Future[Result]], count: int) -> Iterator[Future[Result]]:
    for _, future in zip(range(count), futures, strict=False):
        yield future
