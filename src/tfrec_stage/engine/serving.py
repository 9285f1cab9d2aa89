"""In a worker process: tasks in, outcomes out."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from signal import SIG_IGN, SIG_SETMASK, SIGINT, pthread_sigmask, signal
from threading import Thread
from traceback import format_exc, format_exception_only
from typing import Any, TypeVar

from tfrec_stage.engine.ordered_map import OrderedMap
from tfrec_stage.errors import EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Any, OrderedMap], Any]


def serve(line: Connection, work: Work, stop: Any, done: Any) -> None:
    """Do one task after the other until the driver needs no more.

    Args:
        line: where tasks come from; outcomes go back: result, error, and where that was raised.
        work: does one task.
        stop: shared, 0 until tasks shall end at their next image.
        done: shared, images finished; written here alone, so that it needs no lock.
    """
    signal(SIGINT, SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides
    pthread_sigmask(SIG_SETMASK, ())  # what was held back when the server began, which may have been by a driver
    Thread(target=_end_with_the_driver, daemon=True).start()
    encode_all = partial(_one_by_one, stop, done)
    with suppress(EOFError, OSError):  # the driver needs no more
        while True:
            line.send_bytes(_do(work, line.recv_bytes(), encode_all))


def _end_with_the_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _do(work: Work, data: bytes, encode_all: OrderedMap) -> bytes:
    """Pickled task → pickled outcome."""
    task: object = "a task"
    try:
        task = pickle.loads(data)
        return bytes(ForkingPickler.dumps((work(task, encode_all), None, "")))
    except BaseException as error:  # noqa: BLE001 - the driver raises it
        return bytes(ForkingPickler.dumps((None, _portable(error, task), format_exc())))


def _portable(error: BaseException, task: object) -> BaseException:
    """The error, or, where it does not survive the journey, one that says the same."""
    with suppress(Exception):  # whatever its own methods raise
        if isinstance(pickle.loads(pickle.dumps(error)), BaseException):
            return error
    return EngineError(f"{task}: {format_exception_only(error)[-1].strip()}")


def _one_by_one(stop: Any, done: Any, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` that can be stopped."""
    for item in items:
        if stop.value:
            raise CancelledError
        yield function(item)
        done.value += 1
