"""Run tasks on a pool of workers: bounded, stopped by the first error, and again where a worker died."""

import os
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, MutableSequence, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from tfrec_stage.engine.options import EngineName, EngineOptions
from tfrec_stage.errors import EngineError

Item = TypeVar("Item")
Task = TypeVar("Task")
Result = TypeVar("Result")

TICK_S: Final = 0.2
"""Seconds between two progress reports."""


class OrderedMap(Protocol):
    """`map`, serial or parallel. Results come in the order of the items either way."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """Apply the function to each item; an item whose `is_cheap` is true is processed without another thread."""
        ...


Work = Callable[[Any, OrderedMap], Any]
"""Runs one task; it passes its images through the `OrderedMap` it is given."""


class Pool(ABC):
    """Workers of one engine. A running task has a slot, in which its worker counts the images it has finished."""

    def __init__(self, executor: Executor, window: int, counts: MutableSequence[int]) -> None:
        """Create a pool.

        Args:
            executor: runs the tasks.
            window: how many tasks may be submitted at a time.
            counts: one count per slot, zero; a task's worker alone writes the count of its slot, so it needs no lock.
        """
        self.executor = executor
        self.window = window
        self.finished_items = 0
        self._counts = counts
        self._free_slots = [*range(window)]
        self._slots: dict[Future[Any], int] = {}

    def submit(self, task: Any) -> Future[Any]:
        """Start a task.

        Raises:
            BrokenExecutor: a worker has died.
        """
        slot = self._free_slots.pop()
        self._counts[slot] = 0
        future = self.start(task, slot)
        self._slots[future] = slot
        return future

    def collect(self, future: Future[Any]) -> Any:
        """Return the result of a task that is done, or raise its error.

        Raises:
            BrokenExecutor: its worker, or another one of the pool, has died.
        """
        slot = self._slots.pop(future)
        result = self.result(future, slot)
        self.finished_items += self._counts[slot]
        self._free_slots.append(slot)
        return result

    def count_items(self) -> int:
        """Return the number of images finished by all tasks."""
        return self.finished_items + sum(self._counts[slot] for slot in self._slots.values())

    @abstractmethod
    def start(self, task: Any, slot: int) -> Future[Any]:
        """Start a task that counts in this slot."""

    @abstractmethod
    def result(self, future: Future[Any], slot: int) -> Any:
        """Return the result of a task that is done, or raise its error."""

    @abstractmethod
    def stop(self) -> None:
        """Have running tasks end at their next image."""

    @abstractmethod
    def kill(self) -> None:
        """End the workers at once, if the engine can do that."""

    @abstractmethod
    def close(self) -> None:
        """Free what the pool holds, after its executor was shut down."""


def run_tasks(
    work: Work,
    tasks: Sequence[Any],
    options: EngineOptions,
    tick: Callable[[int], None] = lambda _: None,
    scratch: Path | None = None,
) -> Generator[Any, None, None]:
    """Run all tasks and iterate over their results as they come. Close the generator to stop early.

    A task whose worker died is run again, alone in a pool of one worker: so the one that kills its worker is known, and
    one that ran out of memory has the machine to itself.

    Args:
        work: runs one task. For processes it must be importable, tasks and results must be picklable.
        tasks: what to run.
        options: how many at a time, and on what.
        tick: called a few times a second with the number of images finished.
        scratch: directory for temporary files of worker processes; None uses the system's.

    Raises:
        Exception: the first error of a task; the other tasks are stopped before it is raised.
        EngineError: a task killed its worker twice.
    """
    waiting, finished = deque(tasks), 0
    while waiting:
        pool = _open_pool(options, work, len(waiting), options.num_threads, scratch)
        suspects = yield from _run_pool(pool, waiting, tick, finished)
        finished += pool.finished_items
        for task in suspects:
            # Twice, since the death in the shared pool may have been the fault of another task.
            for _ in range(2):
                pool = _open_pool(options, work, 1, 1, scratch)
                has_died = yield from _run_pool(pool, deque([task]), tick, finished)
                finished += pool.finished_items
                if not has_died:
                    break
            else:
                raise _died_twice(task)


def prepare(work: Work, options: EngineOptions) -> None:
    """Start what takes the engine long to start, while the caller still plans; optional."""
    if options.engine is EngineName.processes:
        from tfrec_stage.engine.processes import start_server  # noqa: PLC0415 - as below

        start_server(work)


def _open_pool(options: EngineOptions, work: Work, num_tasks: int, workers: int, scratch: Path | None) -> Pool:
    if options.engine is EngineName.threads:
        from tfrec_stage.engine.threads import ThreadPool  # noqa: PLC0415 - it imports this module

        return ThreadPool(work, num_tasks, workers)
    from tfrec_stage.engine.processes import ProcessPool  # noqa: PLC0415 - threads need no multiprocessing

    return ProcessPool(work, min(num_tasks, workers), scratch)


def _run_pool(
    pool: Pool, waiting: deque[Any], tick: Callable[[int], None], finished: int
) -> Generator[Any, None, list[Any]]:
    """Run tasks until all are done, or until a worker has died.

    Returns:
        The tasks that ran when a worker died; what `waiting` still holds was not begun.
    """
    running: dict[Future[Any], Any] = {}
    results: list[Any] = []
    suspects: list[Any] = []
    with _shut_down_at_end(pool):
        while True:
            while waiting and not suspects and len(running) < pool.window:
                task = waiting.popleft()
                try:
                    # A Ctrl-C between the start of a worker and its registration would leave it running unnoticed.
                    with blocked_signals(signal.SIGINT, signal.SIGTERM):
                        running[pool.submit(task)] = task
                except BrokenExecutor:
                    suspects.append(task)
            yield from results  # only after new tasks were submitted: the caller may take its time
            if not running:
                return suspects
            done, _ = wait(running, TICK_S, FIRST_COMPLETED)
            results = []
            for future in done:
                task = running.pop(future)
                try:
                    results.append(pool.collect(future))
                except BrokenExecutor:
                    suspects.append(task)
            tick(finished + pool.count_items())


@contextmanager
def _shut_down_at_end(pool: Pool) -> Iterator[None]:
    """Leave no worker behind; after an error (or when the generator is closed) tasks end at their next image."""
    driver = os.getpid()
    try:
        yield
    except BaseException:
        if os.getpid() == driver:
            pool.stop()
        raise
    finally:
        if os.getpid() == driver:  # a child that the user's program forked leaves this block as well
            try:
                pool.executor.shutdown(cancel_futures=True)
            except BaseException:  # on a second Ctrl-C, don't wait for the current images
                pool.kill()
                pool.executor.shutdown()
                raise
            finally:
                pool.close()


def serial_map(
    is_stopped: Callable[[], Any],
    counts: MutableSequence[int],
    slot: int,
    function: Callable[[Item], Result],
    items: Iterable[Item],
) -> Iterator[Result]:
    """`map` that counts finished items in a slot and can be stopped; an `OrderedMap` once its first three are bound."""
    for item in items:
        if is_stopped():
            raise CancelledError
        yield function(item)
        counts[slot] += 1


@contextmanager
def blocked_signals(*signals: signal.Signals) -> Iterator[None]:
    """Deliver signals only when the block exits. Threads and processes started inside inherit the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _died_twice(task: object) -> EngineError:
    return EngineError(
        f"{task}: its worker process died twice, killed or out of memory; give the machine more memory, take fewer "
        "num_threads or more num_shards, or find the image that does it with engine=threads; a program of your own has "
        'to do its work below `if __name__ == "__main__":`, and to be a file'
    )
