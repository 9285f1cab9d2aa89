"""Run tasks on a pool of workers: bounded, stopped by the first error, and again where a worker died."""

import os
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, MutableSequence, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from pathlib import Path
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

        Raises:
            WorkerDiedError: the worker that should run it.
        """

    def result(self, future: Future[Any]) -> Any:
        """Return the result of a task that is done, or raise its error.

        Raises:
            WorkerDiedError: the worker that ran it.
        """
        return future.result()

    def close_idle(self) -> None:  # noqa: B027 - optional
        """End the workers that run no task, for their memory, and since one may have died unnoticed."""

    @abstractmethod
    def close(self) -> None:
        """Have running tasks end at their next image, wait for them and end all workers."""

    def kill(self) -> None:  # noqa: B027 - optional
        """End all workers at once, if the engine can do that, where `close` was interrupted."""


def run_tasks(
    work: Work,
    tasks: Sequence[Any],
    options: EngineOptions,
    tick: Callable[[int], None] = lambda _: None,
    scratch: Path | None = None,
) -> Generator[Any, None, None]:
    """Run all tasks and iterate over their results as they come. Close the generator to stop early.

    A task whose worker died is suspected of having killed it. It is run again after all others that run, alone and on a
    new worker: one that ran out of memory has the machine to itself, and one that kills this worker too is the cause.

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
    waiting = deque(enumerate(tasks))
    with _closed_at_end(_open_pool(options, work, len(tasks), scratch)) as pool:
        while waiting:
            for suspect in (yield from _run(pool, waiting, pool.window, tick)):
                pool.close_idle()
                if (yield from _run(pool, deque([suspect]), 1, tick)):
                    raise _died_twice(suspect[1])


def prepare(work: Work, options: EngineOptions) -> None:
    """Start what takes the engine long to start, while the caller still plans; optional."""
    if options.engine is EngineName.processes:
        from tfrec_stage.engine.processes import start_server  # noqa: PLC0415 - as below

        start_server(work)


def _open_pool(options: EngineOptions, work: Work, num_tasks: int, scratch: Path | None) -> Pool:
    if options.engine is EngineName.threads:
        from tfrec_stage.engine.threads import ThreadPool  # noqa: PLC0415 - it imports this module

        return ThreadPool(work, num_tasks, options.num_threads)
    from tfrec_stage.engine.processes import ProcessPool  # noqa: PLC0415 - threads need no multiprocessing

    return ProcessPool(work, num_tasks, options.num_threads, scratch)


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
            try:
                # A Ctrl-C between the start of a worker and its registration would leave it running unnoticed.
                with blocked_signals(signal.SIGINT, signal.SIGTERM):
                    running[pool.submit(number, task)] = number, task
            except WorkerDiedError:
                suspects.append((number, task))
        yield from results  # only after new tasks were started: the caller may take its time
        if not running:
            return suspects
        done, _ = wait(running, TICK_S, FIRST_COMPLETED)
        results = []
        for future in done:
            number, task = running.pop(future)
            try:
                results.append(pool.result(future))
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
            except BaseException:  # on a second Ctrl-C, don't wait for the current images
                pool.kill()
                raise


def serial_map(
    is_stopped: Callable[[], Any],
    finished: MutableSequence[int],
    number: int,
    function: Callable[[Item], Result],
    items: Iterable[Item],
) -> Iterator[Result]:
    """`map` that counts finished items and can be stopped; an `OrderedMap` once its first three are bound."""
    for item in items:
        if is_stopped():
            raise CancelledError
        yield function(item)
        finished[number] += 1


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
