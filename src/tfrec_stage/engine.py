"""Who does the work: the same tasks on any number of threads.

The unit of work is one shard. Tasks that fill all threads run one a thread, which costs nothing per image. Those
left for the last round, and all of them where there are fewer shards than threads, have their images encoded side
by side by a pool they share: no thread is idle, and every shard is still written in order.

The driver keeps a bounded window of futures, gives results as they come and stops everything at the first error.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from threading import Event
from typing import Final, TypeVar

from tfrec_stage.errors import ConfigError
from tfrec_stage.ordered_map import OrderedMap

Task = TypeVar("Task")
Result = TypeVar("Result")
Item = TypeVar("Item")

TICK_S: Final = 0.2
"""Seconds between two looks at how far the work has come."""


class EngineName(Enum):
    """What runs the tasks."""

    threads = "threads"


@dataclass
class EngineOptions:
    """How the work is spread. Runtime options: they never change a byte."""

    num_threads: int = 4
    """Images encoded at the same time."""
    engine: EngineName = EngineName.threads
    """What runs the tasks."""

    def __post_init__(self) -> None:
        if isinstance(self.num_threads, int) and self.num_threads < 1:
            raise ConfigError(f"num_threads: expected at least 1, but got {self.num_threads}")


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
            ahead.append(pool.submit(function, item))
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


def run_tasks(
    work: Callable[[Task, OrderedMap], Result],
    tasks: Sequence[Task],
    options: EngineOptions,
    tick: Callable[[int], None] = lambda _: None,
) -> Iterator[Result]:
    """Results of all tasks, as they come.

    Args:
        work: does one task; it takes the images through the `map` it is given.
        tasks: what to do.
        options: how many threads.
        tick: told, a few times a second, how many images are finished.

    Raises:
        Exception: the first that a task raised; the others are stopped before it is passed on.
    """
    stop = Event()
    workers = options.num_threads
    with ThreadPoolExecutor(workers, "shard") as pool, ThreadPoolExecutor(workers, "image") as image_pool:
        lanes = [_Lane(stop) for _ in tasks]
        maps = _maps(lanes, image_pool, workers)
        submit = (pool.submit(work, task, encode_all) for task, encode_all in zip(tasks, maps, strict=True))
        try:
            yield from _drain(submit, 2 * workers, lambda: tick(sum(lane.done for lane in lanes)))
        finally:
            stop.set()


def _maps(lanes: Sequence[_Lane], image_pool: ThreadPoolExecutor, workers: int) -> Iterator[OrderedMap]:
    last_round = len(lanes) % workers
    for lane in lanes[: len(lanes) - last_round]:
        yield lane.one_by_one
    for lane in lanes[len(lanes) - last_round :]:
        window = max(2, -(-2 * workers // last_round))
        yield partial(lane.side_by_side, image_pool, window)


def _drain(futures: Iterator[Future[Result]], window: int, tick: Callable[[], None]) -> Iterator[Result]:
    pending: set[Future[Result]] = set()
    try:
        while True:
            pending.update(_take(futures, window - len(pending)))
            if not pending:
                return
            done, pending = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
            tick()
            for future in done:
                yield future.result()
    finally:
        for future in pending:
            future.cancel()


def _take(futures: Iterator[Future[Result]], count: int) -> Iterator[Future[Result]]:
    for _, future in zip(range(count), futures, strict=False):
        yield future
