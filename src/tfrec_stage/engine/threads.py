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
from typing import Any

from tfrec_stage.engine.runner import Item, OrderedMap, Pool, Result, Work


class ThreadPool(Pool):
    """A pool of threads. They cannot be killed: where `close` was interrupted, they end at their next image."""

    def __init__(self, work: Work, num_tasks: int, workers: int) -> None:
        self.window = 2 * workers
        self.finished = [0] * num_tasks
        self._work = work
        self._shards = ThreadPoolExecutor(workers, "shard")
        self._images = ThreadPoolExecutor(workers, "image")
        self._stop = Event()
        last_round = num_tasks % workers
        self._in_full_rounds = num_tasks - last_round
        # Tasks of the last round share the image threads: so many images each may be ahead of what it has written.
        self._images_ahead = max(2, -(-2 * workers // max(1, last_round)))

    def submit(self, number: int, task: Any) -> Future[Any]:
        """See `Pool`."""
        spread = map if number < self._in_full_rounds else self._parallel_map
        return self._shards.submit(self._work, task, partial(self._map, spread, number))

    def close(self) -> None:
        """See `Pool`."""
        self._stop.set()
        self._shards.shutdown(cancel_futures=True)
        self._images.shutdown()

    def _map(
        self, spread: OrderedMap, number: int, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """`map` that counts finished items and can be stopped; an `OrderedMap` once two are bound."""
        for result in spread(function, items):
            if self._stop.is_set():
                raise CancelledError
            self.finished[number] += 1
            yield result

    def _parallel_map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`map` over the image threads, with results in the order of the items."""
        ahead: deque[Callable[[], Result]] = deque()
        for item in items:
            is_cheap = getattr(item, "is_cheap", False)
            ahead.append(partial(function, item) if is_cheap else self._images.submit(function, item).result)
            if len(ahead) >= self._images_ahead:
                yield ahead.popleft()()
        while ahead:
            yield ahead.popleft()()
