"""Worker processes, forked from a server; a thread of this process waits for each.

The server has imported what workers need and runs no thread. A fork of this process would copy locks that its threads
hold, and a fresh process would import everything again (ADR 15).

Workers share no lock and no pipe: one that is killed takes one task with it, which is then known, and the others go on.
Tasks and results travel on a connection, a pair of sockets that nobody else holds. So each side sees when the other has
ended, even in the middle of a message, and even if the server, which usually tells, was killed (ADR 12).
"""

import atexit
import multiprocessing
import os
import pickle
import select
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from signal import SIG_IGN, SIG_SETMASK, SIGINT, SIGKILL, pthread_sigmask, signal
from threading import RLock, Thread
from traceback import format_exc, format_exception_only
from typing import Any, Final
from weakref import WeakSet

from tfrec_stage.engine.runner import Item, Pool, Result, Work, WorkerDiedError, blocked_signals
from tfrec_stage.errors import EngineError

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_PRELOADED: Final = (__name__, "multiprocessing.sharedctypes")
"""What every worker needs besides its work."""
_END: Final = b""
"""Message to a worker that there are no more tasks."""


def start_server(work: Work) -> None:
    """Start the process that workers are forked from, unless it runs; it imports while the caller goes on.

    Raises:
        EngineError: this process may have no children.
    """
    if multiprocessing.current_process().daemon:
        raise EngineError(
            "engine: expected threads within a daemonic process, for example of a multiprocessing.Pool, which may have "
            "no processes of its own, but got processes"
        )
    _CONTEXT.set_forkserver_preload([work.__module__, *_PRELOADED])
    resource_tracker.ensure_running()  # first, as it would unblock the signals again
    # Ctrl-C reaches all processes of a terminal, and would interrupt the server's imports.
    with blocked_signals(SIGINT):
        forkserver.ensure_running()


class ProcessPool(Pool):
    """Worker processes, started as they are needed."""

    def __init__(self, work: Work, num_tasks: int, workers: int) -> None:
        start_server(work)
        self.window = workers
        self.finished = _CONTEXT.RawArray("Q", num_tasks)
        self._start = partial(_Worker, work, self.finished)
        self._threads = ThreadPoolExecutor(workers, "worker")
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []

    def submit(self, number: int, task: Any) -> Future[Any]:
        """See `Pool`."""
        if not self._idle:
            worker = self._start()
            self._workers.append(worker)
            self._idle.append(worker)
        return self._threads.submit(self._run, self._idle.pop(), number, task)

    def renew(self) -> None:
        """See `Pool`."""
        self._end_workers()
        while self._workers:
            self._workers.pop().close()

    def close(self) -> None:
        """See `Pool`; workers that run a task are killed."""
        self._end_workers()
        self._threads.shutdown()  # before connections are closed, on which threads may still wait
        self.renew()

    kill = close

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.end(is_idle=worker in self._idle)
        self._idle.clear()

    def _run(self, worker: "_Worker", number: int, task: Any) -> Any:
        """Run a task; its error has a note with the traceback in the worker."""
        outcome = worker.run(pickle.dumps((number, task)))
        self._idle.append(worker)
        result, error, where = pickle.loads(outcome)
        if error is None:
            return result
        with suppress(Exception):  # an exception class may refuse notes
            error.add_note(f"\nIn a worker process:\n{where}")
        raise error


class _Worker:
    """A worker process, as the driver sees it."""

    def __init__(self, work: Work, finished: MutableSequence[int]) -> None:
        with _connections_lock:
            self._connection, worker_end = _CONTEXT.Pipe()
            _connections.update((self._connection, worker_end))
        self._process = _CONTEXT.Process(target=_serve, args=(work, finished, worker_end))
        # From now on only the process holds its end. If there is none, since the server was killed, nobody does.
        with worker_end, suppress(EOFError, ConnectionError):
            self._process.start()

    def run(self, message: bytes) -> bytes:
        """Send a pickled task, and wait for the outcome.

        Raises:
            WorkerDiedError: the process has ended. `Process` would say so too early if the server was killed: it takes
                workers for dead then, while they still run.
        """
        try:
            self._connection.send_bytes(message)
            return self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerDiedError from error

    def end(self, *, is_idle: bool) -> None:
        """End the process, which may have ended before."""
        if self._connection.closed:  # the whole program ends
            return
        if is_idle:
            with suppress(OSError):
                self._connection.send_bytes(_END)
        elif self._process.pid and not _is_closed(self._connection, 0):
            with suppress(ProcessLookupError):  # it ends at this moment
                os.kill(self._process.pid, SIGKILL)
        if self._process.pid:
            self._process.join()

    def close(self) -> None:
        """Free what the driver holds of a process that has ended."""
        self._connection.close()
        self._process.close()


def _is_closed(connection: Connection, timeout_ms: int | None = None) -> bool:
    """Wait until the other end of a connection is closed, which is when its process has ended."""
    poll = select.poll()
    poll.register(connection, 0)  # nothing but POLLHUP, which needs no asking: messages do not matter
    return bool(poll.poll(timeout_ms))


_connections: Final[WeakSet[Connection]] = WeakSet()
_connections_lock: Final = RLock()


def _close_connections() -> None:
    for connection in _connections:
        connection.close()


# A child that the user's program forks has copies of the connections, which would keep them open while it lives.
os.register_at_fork(
    before=_connections_lock.acquire,
    after_in_parent=_connections_lock.release,
    after_in_child=_connections_lock.release,
)
os.register_at_fork(after_in_child=_close_connections)
atexit.register(_close_connections)  # ends workers of results that nobody closes, for which multiprocessing would wait


def _serve(work: Work, finished: MutableSequence[int], connection: Connection) -> None:
    """Run tasks in a worker process."""
    signal(SIGINT, SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides what it means
    pthread_sigmask(SIG_SETMASK, ())  # inherited from the server, which was started with signals blocked
    Thread(target=_end_with_driver, args=(connection,), daemon=True).start()
    with suppress(EOFError, OSError):  # the driver has ended
        while message := connection.recv_bytes():
            connection.send_bytes(_run_task(work, finished, message))


def _end_with_driver(connection: Connection) -> None:
    _is_closed(connection)
    os._exit(1)


def _run_task(work: Work, finished: MutableSequence[int], message: bytes) -> bytes:
    """Run a pickled task and return its result, error and traceback, pickled."""
    task: object = "a task"
    try:
        number, task = pickle.loads(message)
        return pickle.dumps((work(task, partial(_counted_map, finished, number)), None, ""))
    except BaseException as error:  # noqa: BLE001 - the driver raises it
        return pickle.dumps((None, _picklable(error, task), format_exc()))


def _counted_map(
    finished: MutableSequence[int], number: int, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """`map` that counts finished items; an `OrderedMap` once two are bound."""
    for result in map(function, items):
        finished[number] += 1
        yield result


def _picklable(error: BaseException, task: object) -> BaseException:
    """Return the error, or one with the same text if it cannot be pickled and unpickled."""
    with suppress(Exception):  # whatever its own methods raise
        if isinstance(pickle.loads(pickle.dumps(error)), BaseException):
            return error
    return EngineError(f"{task}: {format_exception_only(error)[-1].strip()}")
