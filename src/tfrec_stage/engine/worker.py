"""One worker process, of one thread, with a line of its own to the driver.

It shares no lock with anyone: where it dies (killed, out of memory), its line breaks, and nobody waits for what it
held.
"""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from signal import SIG_IGN, SIG_SETMASK, SIGINT, pthread_sigmask, signal
from threading import Thread
from traceback import format_exc
from typing import Any, Final, NamedTuple, TypeVar

from tfrec_stage.engine.signals import held_back
from tfrec_stage.errors import EngineError
from tfrec_stage.ordered_map import OrderedMap

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Any, OrderedMap], Any]

_CONTEXT: Final = multiprocessing.get_context("forkserver")
"""Workers are forks of a process that has imported what they need and runs no thread. A fork of this one would copy
locks that its threads hold, and a process begun anew would import everything once more."""

_IMPORTED_BY_WORKERS: Final = (__name__, "multiprocessing.sharedctypes")
"""What every worker needs beside its work, the second for the values it shares with the driver."""


class WorkerDiedError(Exception):
    """The process has ended before its task."""


class Worker(NamedTuple):
    """A worker process, as the driver knows it."""

    process: BaseProcess
    line: Connection
    """It takes a task and gives an outcome, in turn; it can be read, too, when the process has ended."""
    done: Any
    """Images finished, ever; the worker alone writes it, so that it needs no lock."""

    def hand_over(self, task: object) -> None:
        """Give it a task to do."""
        with suppress(OSError):  # it has died: that is noticed where its outcome is taken
            self.line.send(task)

    def take(self) -> Any:
        """Wait for what it gives for its task.

        Raises:
            WorkerDiedError: it gives nothing.
            Exception: what the task raised.
        """
        try:
            result, error = self.line.recv()
        except (EOFError, OSError) as broken:
            raise WorkerDiedError from broken
        if error is not None:
            raise error
        return result


def begin_server(work: Work) -> None:
    """Begin the process that workers are forked from, if it does not run yet; it imports while the caller goes on.

    Ctrl-C reaches all processes of a terminal, and would find this one among its imports.
    """
    _CONTEXT.set_forkserver_preload([work.__module__, *_IMPORTED_BY_WORKERS])
    resource_tracker.ensure_running()  # first, for it lets go of the signals that it held back itself
    with held_back(SIGINT):
        forkserver.ensure_running()


def new_stop() -> Any:
    """What the driver and its workers share: 0 until tasks shall end at their next image."""
    return _CONTEXT.RawValue("b", 0)


def begin_worker(work: Work, stop: Any) -> Worker:
    """Begin a worker; have signals held back, so that none comes before it is noted."""
    ours, theirs = _CONTEXT.Pipe()
    done = _CONTEXT.RawValue("Q", 0)
    with theirs:  # closed here, or it would never break
        process = _CONTEXT.Process(target=_serve, args=(theirs, work, stop, done), daemon=True)
        process.start()
    return Worker(process, ours, done)


# --- in the worker --------------------------------------------------------------------------------------------------


def _serve(line: Connection, work: Work, stop: Any, done: Any) -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides
    pthread_sigmask(SIG_SETMASK, ())  # what was held back when the server began, which may have been by a driver
    Thread(target=_end_with_the_driver, daemon=True).start()
    encode_all = partial(_one_by_one, stop, done)
    with suppress(EOFError, OSError):  # the driver needs no more
        while True:
            line.send(_outcome(work, line.recv(), encode_all))


def _end_with_the_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _outcome(work: Work, task: object, encode_all: OrderedMap) -> tuple[Any, Exception | None]:
    try:
        return work(task, encode_all), None
    except Exception as error:  # noqa: BLE001 - the driver raises it
        portable = _portable(error, task)
        portable.add_note(f"\nIn a worker process:\n{format_exc()}")
        return None, portable


def _portable(error: Exception, task: object) -> Exception:
    """The error, or, where it does not survive the journey, one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its own methods raise
        return EngineError(f"{task}: {type(error).__name__}: {error}")
    return error


def _one_by_one(stop: Any, done: Any, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` that can be stopped."""
    for item in items:
        if stop.value:
            raise CancelledError
        yield function(item)
        done.value += 1
