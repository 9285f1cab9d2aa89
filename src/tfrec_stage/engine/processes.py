"""Worker processes: the standard library's pool, on a forkserver.

Workers are forks of a server process that has imported what they need and runs no thread. A fork of this process would
copy locks that its threads hold, and a fresh process would import everything again (ADR 15).

`ProcessPoolExecutor` is guarded against what makes it hang when a worker is killed (ADR 12): tasks and results travel
in files, so that nobody waits for the rest of a message, and a line to every worker ends it even while it starts.
"""

import multiprocessing
import os
import pickle
import socket
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from signal import SIG_IGN, SIG_SETMASK, SIGINT, pthread_sigmask, signal
from tempfile import TemporaryDirectory
from threading import Thread
from traceback import format_exc, format_exception_only
from typing import Any, Final
from weakref import WeakSet

from tfrec_stage.engine.runner import Pool, Work, blocked_signals, serial_map
from tfrec_stage.errors import EngineError

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_PRELOADED: Final = (__name__, "multiprocessing.sharedctypes", "concurrent.futures.process")
"""What every worker needs besides its work."""


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
    """A pool of worker processes."""

    def __init__(self, work: Work, workers: int, scratch: Path | None) -> None:
        start_server(work)
        counts = _CONTEXT.RawArray("Q", workers)
        self._stop = _CONTEXT.RawValue("b", 0)
        self._files = TemporaryDirectory(prefix="tasks-", dir=scratch)
        self._line, self._workers_line = socket.socketpair()
        _lines.update((self._line, self._workers_line))
        arguments = (work, self._stop, counts, self._workers_line)
        # No more tasks than workers at a time: when a worker dies, only tasks that really ran are suspects.
        super().__init__(ProcessPoolExecutor(workers, _CONTEXT, _start_worker, arguments), workers, counts)
        # Start all workers before the first task. Otherwise each of the first tasks starts a worker, and if an earlier
        # one dies at that moment, the new one gets a closed queue, waits for ever, or takes the server down with it.
        # The attribute is private, but there is no other way. Where it has no effect, only that race is left.
        self.executor._safe_to_dynamically_spawn_children = False  # type: ignore[attr-defined] # noqa: SLF001

    def start(self, task: Any, slot: int) -> Future[Any]:
        """See `Pool`."""
        path = self._path(slot)
        path.write_bytes(pickle.dumps(task))
        try:
            return self.executor.submit(_run_task, path, slot)
        except (EOFError, ConnectionError) as error:  # the server was killed
            raise BrokenExecutor from error
        finally:
            self._workers_line.close()  # all workers have started; they alone hold this end from now on

    def result(self, future: Future[Any], slot: int) -> Any:
        """See `Pool`; the error of a task has a note with the traceback in the worker."""
        future.result()
        result, error, where = pickle.loads(self._path(slot).read_bytes())
        if error is None:
            return result
        with suppress(Exception):  # an exception class may refuse notes
            error.add_note(f"\nIn a worker process:\n{where}")
        try:
            raise error
        finally:
            del error  # or the error and this frame would keep each other alive

    def stop(self) -> None:
        """See `Pool`."""
        self._stop.value = 1

    def kill(self) -> None:
        """See `Pool`; wait until all workers have ended, since their tasks may be run again."""
        self._workers_line.close()
        with suppress(OSError):  # they have ended
            self._line.shutdown(socket.SHUT_WR)
            self._line.recv(1)  # nothing is ever sent: this returns when the last worker has closed its end

    def close(self) -> None:
        """See `Pool`."""
        self.kill()  # if the server was killed, the executor takes its workers for dead while they still run
        self._line.close()
        self._files.cleanup()

    def _path(self, slot: int) -> Path:
        return Path(self._files.name, str(slot))


_lines: "WeakSet[socket.socket]" = WeakSet()


def _close_lines() -> None:
    """Close all lines in a child that the user's program forks: its copies would keep them open while it lives."""
    for line in _lines:
        line.close()


os.register_at_fork(after_in_child=_close_lines)


class _Worker:
    """State of this process, if it is a worker."""

    work: Work
    stop: Any
    counts: Any


def _start_worker(work: Work, stop: Any, counts: Any, line: socket.socket) -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides what it means
    pthread_sigmask(SIG_SETMASK, ())  # inherited from the server, which was started with signals blocked
    Thread(target=_end_with, args=(line,), daemon=True).start()
    _Worker.work, _Worker.stop, _Worker.counts = staticmethod(work), stop, counts


def _end_with(line: socket.socket) -> None:
    """End this process when the driver has ended, or wants that: nothing is ever sent on the line."""
    line.recv(1)
    os._exit(1)


def _run_task(path: Path, slot: int) -> None:
    """Read a pickled task from a file, run it and replace the file by its result, error and traceback."""
    task: object = "a task"
    try:
        task = pickle.loads(path.read_bytes())
        ordered_map = partial(serial_map, lambda: _Worker.stop.value, _Worker.counts, slot)
        outcome = pickle.dumps((_Worker.work(task, ordered_map), None, ""))
    except BaseException as error:  # noqa: BLE001 - the driver raises it
        outcome = pickle.dumps((None, _picklable(error, task), format_exc()))
    path.write_bytes(outcome)


def _picklable(error: BaseException, task: object) -> BaseException:
    """Return the error, or one with the same text if it cannot be pickled and unpickled."""
    with suppress(Exception):  # whatever its own methods raise
        if isinstance(pickle.loads(pickle.dumps(error)), BaseException):
            return error
    return EngineError(f"{task}: {format_exception_only(error)[-1].strip()}")
