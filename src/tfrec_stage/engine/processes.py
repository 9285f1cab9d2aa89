"""Worker processes of one thread each.

A worker that dies (killed, out of memory) breaks its pool, and every task in flight is a suspect. The suspects are run
again one at a time, each with a worker of its own, so that the one that kills its worker twice is known by name.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from signal import SIG_IGN, SIGINT, SIGTERM, signal
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar

from tfrec_stage.engine.signals import held_back
from tfrec_stage.engine.window import drain
from tfrec_stage.errors import EngineError
from tfrec_stage.ordered_map import OrderedMap

Task = TypeVar("Task")
Result = TypeVar("Result")
Item = TypeVar("Item")

ATTEMPTS: Final = 2
"""How often a suspect may kill a worker of its own before it is given up."""

_CONTEXT: Final = multiprocessing.get_context("forkserver")
"""Workers are forks of a process that has imported what they need and runs no thread. A fork of this one would copy
locks that its threads hold, and a process begun anew would import everything once more."""

_IMPORTED_BY_WORKERS: Final = (__name__, "multiprocessing.sharedctypes")
"""What every worker needs beside its work, the second for the values it shares with the driver."""


class _Shared(NamedTuple):
    """What the driver shares with its workers."""

    stop: Any
    """1 when tasks shall end at the next image."""
    done: Any
    """Images finished."""


def run_in_processes(
    work: Callable[[Task, OrderedMap], Result], tasks: Sequence[Task], workers: int, tick: Callable[[int], None]
) -> Generator[Result, None, None]:
    """See `run_tasks`.

    Raises:
        EngineError: a task killed its worker twice.
    """
    begin_server(work)
    shared = _Shared(_CONTEXT.Value("b", 0), _CONTEXT.Value("Q", 0))
    waiting = deque(tasks)
    while waiting:
        begun: dict[Future[Result], Task] = {}
        try:
            with _open_pool(min(workers, len(waiting)), shared) as pool:
                futures = _submit(pool, work, waiting, begun)
                for future in drain(futures, workers, lambda: tick(shared.done.value)):
                    result = future.result()
                    del begun[future]
                    yield result
        except BrokenProcessPool:
            for suspect in begun.values():
                yield _run_alone(work, suspect, shared)


def begin_server(work: Callable[..., Any]) -> None:
    """Begin the process that workers are forked from, if it does not run yet; it imports while the caller goes on.

    Ctrl-C reaches all processes of a terminal, and would find this one among its imports.
    """
    _CONTEXT.set_forkserver_preload([work.__module__, *_IMPORTED_BY_WORKERS])
    resource_tracker.ensure_running()  # first, for it lets go of the signals that it held back itself
    with held_back(SIGINT):
        forkserver.ensure_running()


def _submit(
    pool: ProcessPoolExecutor,
    work: Callable[[Task, OrderedMap], Result],
    waiting: deque[Task],
    begun: dict[Future[Result], Task],
) -> Iterator[Future[Result]]:
    while waiting:
        with held_back(SIGINT, SIGTERM):  # a worker that the pool has not noted would outlive it
            future = pool.submit(_run, work, waiting[0])  # raises where the pool is broken: the task then still waits
        begun[future] = waiting.popleft()
        yield future


def _run_alone(work: Callable[[Task, OrderedMap], Result], task: Task, shared: _Shared) -> Result:
    for _ in range(ATTEMPTS):
        with suppress(BrokenProcessPool), _open_pool(1, shared) as pool:
            return pool.submit(_run, work, task).result()
    raise EngineError(
        f"{task}: its worker process died {ATTEMPTS} times, killed or out of memory; give the machine more memory, "
        "take fewer num_threads or more num_shards, or find the image that does it with engine=threads; a program of "
        'your own has to do its work below `if __name__ == "__main__":`, and to be a file'
    )


@contextmanager
def _open_pool(workers: int, shared: _Shared) -> Iterator[ProcessPoolExecutor]:
    """A pool whose tasks are stopped at their next image when the block ends with an error."""
    with ProcessPoolExecutor(workers, _CONTEXT, _begin_worker, shared) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise
        except BaseException:
            shared.stop.value = 1
            raise


# --- in the workers -------------------------------------------------------------------------------------------------

_shared: _Shared


def _begin_worker(stop: Any, done: Any) -> None:
    global _shared  # noqa: PLW0603 - shared values reach a worker at its start only
    _shared = _Shared(stop, done)
    signal(SIGINT, SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides
    Thread(target=_end_with_the_driver, daemon=True).start()


def _end_with_the_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _run(work: Callable[[Task, OrderedMap], Result], task: Task) -> Result:
    return work(task, _one_by_one)


def _one_by_one(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    for item in items:
        if _shared.stop.value:
            raise CancelledError
        yield function(item)
        with _shared.done.get_lock():
            _shared.done.value += 1
