"""Threads of this process.

Full rounds of tasks run one task per thread, which costs nothing per image. The tasks of the last round, and all tasks
if there are fewer than threads, have their images encoded in parallel by a second pool that they share: no thread is
idle, and every shard is still written in order.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any, TypeVar

from tfrec_stage.engine.runner import OrderedMap, Pool, Work, serial_map

Item = TypeVar("Item")
Result = TypeVar("Result")


class ThreadPool(Pool):
    """A pool of threads."""

    def __init__(self, work: Work, num_tasks: int, workers: int) -> None:
        super().__init__(ThreadPoolExecutor(workers, "shard"), 2 * workers, [0] * (2 * workers))
        self._work = work
        self._images = ThreadPoolExecutor(workers, "image")
        self._stop = Event()
        self._left_in_full_rounds = num_tasks - num_tasks % workers
        # Tasks of the last round share the image threads: so many images each may be ahead of what it has written.
        self._images_ahead = max(2, -(-2 * workers // max(1, num_tasks % workers)))

    def start(self, task: Any, slot: int) -> Future[Any]:
        """See `Pool`."""
        self._left_in_full_rounds -= 1
        ordered_map: OrderedMap = partial(serial_map, self._stop.is_set, self._counts, slot)
        if self._left_in_full_rounds < 0:
            ordered_map = partial(self._parallel_map, slot)
        return self.executor.submit(self._work, task, ordered_map)

    def result(self, future: Future[Any], slot: int) -> Any:  # noqa: ARG002 - the interface
        """See `Pool`."""
        return future.result()

    def stop(self) -> None:
        """See `Pool`."""
        self._stop.set()

    def kill(self) -> None:
        """See `Pool`; threads cannot be killed."""

    def close(self) -> None:
        """See `Pool`."""
        self._images.shutdown()

    def _parallel_map(self, slot: int, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`map` over the image threads, with results in the order of the items."""
        ahead: deque[Future[Result]] = deque()
        for item in items:
            is_cheap = getattr(item, "is_cheap", False)
            ahead.append(_finished(function(item)) if is_cheap else self._images.submit(function, item))
            if len(ahead) >= self._images_ahead:
                yield self._next_result(ahead, slot)
        while ahead:
            yield self._next_result(ahead, slot)

    def _next_result(self, ahead: deque[Future[Result]], slot: int) -> Result:
        if self._stop.is_set():
            raise CancelledError
        result = ahead.popleft().result()
        self._counts[slot] += 1
        return result


def _finished(result: Result) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(result)
    return future
