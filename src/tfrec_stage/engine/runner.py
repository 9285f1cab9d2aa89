"""Run tasks on a pool of workers: bounded, stopped by the first error, and again where a worker died."""

import os
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, MutableSequence, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

from tfrec_stage.engine.options import EngineName, EngineOptions
from tfrec_stage.errors import EngineError

Item = TypeVar("Item")
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


class WorkerDiedError(Exception):
    """A worker died before it could give the result of its task; it has ended."""


class Pool(ABC):
    """Workers of one engine."""

    window: int
    """How many tasks may be submitted at a time."""
    finished: MutableSequence[int]
    """Images finished, one count per task. Only the worker of a task writes its count, so it needs no lock."""

    @abstractmethod
    def submit(self, number: int, task: Any) -> Future[Any]:
        """Start a task.

        Args:
            number: which of `finished` counts its images.
            task: what to run.

        Returns:
            What will have its result or error, or `WorkerDiedError`.
        """

    def renew(self) -> None:  # noqa: B027 - only for workers that can die
        """End all workers while none runs a task, for their memory, and since one may have died unnoticed."""

    @abstractmethod
    def close(self) -> None:
        """Have running tasks end at their next image or sooner, wait for them and end all workers."""

    def kill(self) -> None:  # noqa: B027 - only for workers that can be killed
        """End all workers where `close` was interrupted."""


def run_tasks(
    work: Work,
    tasks: Sequence[Any],
    options: EngineOptions,
    tick: Callable[[int], None] = lambda _: None,
) -> Generator[Any, None, None]:
    """Run all tasks and iterate over their results as they come. Close the generator to stop early.

    A task whose worker died is suspected of having killed it. It is run again after all others that run, alone and on a
    new worker: one that ran out of memory has the machine to itself, and one that kills this worker too is the cause.

    Args:
        work: runs one task. For processes it must be importable, tasks and results must be picklable.
        tasks: what to run.
        options: how many at a time, and on what.
        tick: called a few times a second with the number of images finished.

    Raises:
        Exception: the first error of a task; the other tasks are stopped before it is raised.
        EngineError: a task killed its worker twice.
    """
    waiting = deque(enumerate(tasks))
    with _closed_at_end(_open_pool(options, work, len(tasks))) as pool:
        while waiting:
            for suspect in (yield from _run(pool, waiting, pool.window, tick)):
                pool.renew()
                if (yield from _run(pool, deque([suspect]), 1, tick)):
                    raise _died_twice(suspect[1])


def prepare(work: Work, options: EngineOptions) -> None:
    """Start what takes the engine long to start, while the caller still plans; optional."""
    if options.engine is EngineName.processes:
        from tfrec_stage.engine.processes import start_server  # noqa: PLC0415 - as below

        start_server(work)


def _open_pool(options: EngineOptions, work: Work, num_tasks: int) -> Pool:
    if options.engine is EngineName.threads:
        from tfrec_stage.engine.threads import ThreadPool  # noqa: PLC0415 - it imports this module

        return ThreadPool(work, num_tasks, options.num_threads)
    from tfrec_stage.engine.processes import ProcessPool  # noqa: PLC0415 - threads need no multiprocessing

    return ProcessPool(work, num_tasks, options.num_threads)


def _run(
    pool: Pool, waiting: deque[tuple[int, Any]], window: int, tick: Callable[[int], None]
) -> Generator[Any, None, list[tuple[int, Any]]]:
    """Run numbered tasks until all are done; after the death of a worker only until those that run are done.

    Returns:
        The suspects, with their numbers. What `waiting` still holds was not started.
    """
    running: dict[Future[Any], tuple[int, Any]] = {}
    results: list[Any] = []
    suspects: list[tuple[int, Any]] = []
    while True:
        while waiting and not suspects and len(running) < window:
            number, task = waiting.popleft()
            # A Ctrl-C between the start of a worker and its registration would leave it running unnoticed.
            with blocked_signals(signal.SIGINT, signal.SIGTERM):
                running[pool.submit(number, task)] = number, task
        yield from results  # only after new tasks were started: the caller may take its time
        if not running:
            return suspects
        done, _ = wait(running, TICK_S, FIRST_COMPLETED)
        results = []
        for future in done:
            number, task = running.pop(future)
            try:
                results.append(future.result())
            except WorkerDiedError:
                pool.finished[number] = 0  # its images will be encoded, and counted, again
                suspects.append((number, task))
        tick(sum(pool.finished))


@contextmanager
def _closed_at_end(pool: Pool) -> Iterator[Pool]:
    driver = os.getpid()
    try:
        yield pool
    finally:
        if os.getpid() == driver:  # a child that the user's program forked leaves this block as well
            try:
                pool.close()
            except BaseException:  # a second Ctrl-C came meanwhile
                pool.kill()
                raise


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
