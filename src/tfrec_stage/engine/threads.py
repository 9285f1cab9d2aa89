"""Threads of this process.

Tasks that fill all threads run one a thread, which costs nothing per image. Those left for the last round, and all of
them where there are fewer shards than threads, have their images encoded side by side by a pool they share: no thread
is idle, and every shard is still written in order.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from signal import SIGINT, SIGTERM
from threading import Event
from typing import TypeVar

from tfrec_stage.engine.ordered_map import OrderedMap
from tfrec_stage.engine.signals import held_back
from tfrec_stage.engine.window import drain

Task = TypeVar("Task")
Result = TypeVar("Result")
Item = TypeVar("Item")


def run_in_threads(
    work: Callable[[Task, OrderedMap], Result], tasks: Sequence[Task], workers: int, tick: Callable[[int], None]
) -> Generator[Result, None, None]:
    """See `run_tasks`."""
    stop = Event()
    with ThreadPoolExecutor(workers, "shard") as pool, ThreadPoolExecutor(workers, "image") as image_pool:
        lanes = [_Lane(stop) for _ in tasks]
        maps = _maps(lanes, image_pool, workers)
        futures = (_submit(pool, work, task, encode_all) for task, encode_all in zip(tasks, maps, strict=True))
        try:
            for future in drain(futures, 2 * workers, lambda: tick(sum(lane.done for lane in lanes))):
                yield future.result()
        finally:
            stop.set()


def _submit(
    pool: ThreadPoolExecutor, work: Callable[[Task, OrderedMap], Result], task: Task, encode_all: OrderedMap
) -> Future[Result]:
    """Submit with signals held back.

    A Ctrl-C after a thread was started and before the pool has noted it would leave a thread that nobody waits for, and
    that writes into what is being removed.
    """
    with held_back(SIGINT, SIGTERM):
        return pool.submit(work, task, encode_all)


@dataclass(slots=True)
class _Lane:
    """What the driver shares with one running task."""

    stop: Event
    """Set when the task shall end at the next image."""
    done: int = field(default=0)
    """Images finished; written by the task's thread alone."""

    def one_by_one(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`map` that can be stopped."""
        for item in items:
            self._raise_if_stopped()
            yield function(item)
            self.done += 1

    def side_by_side(
        self, pool: ThreadPoolExecutor, window: int, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """`map` over a pool, at most `window` items ahead, in the order of the items."""
        ahead: deque[Future[Result]] = deque()
        for item in items:
            self._raise_if_stopped()
            ahead.append(_at_once(function, item) if getattr(item, "is_cheap", False) else pool.submit(function, item))
            if len(ahead) >= window:
                yield ahead.popleft().result()
                self.done += 1
        while ahead:
            self._raise_if_stopped()
            yield ahead.popleft().result()
            self.done += 1

    def _raise_if_stopped(self) -> None:
        if self.stop.is_set():
            raise CancelledError


def _at_once(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(function(item))
    return future


def _maps(lanes: Sequence[_Lane], image_pool: ThreadPoolExecutor, workers: int) -> Iterator[OrderedMap]:
    last_round = len(lanes) % workers
    for lane in lanes[: len(lanes) - last_round]:
        yield lane.one_by_one
    for lane in lanes[len(lanes) - last_round :]:
        window = max(2, -(-2 * workers // last_round))
        yield partial(lane.side_by_side, image_pool, window)
