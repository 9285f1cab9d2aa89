"""Worker processes: one `ProcessPoolExecutor` of the standard library for each, on a forkserver.

Workers are forks of a server process that has imported what they need and runs no thread. A fork of this process would
copy locks that its threads hold, and a fresh process would import everything again (ADR 15).

An executor of one worker shares no lock and no pipe with another one: a worker that is killed takes one task with it,
which is then known, and the others go on. Two things are added to keep it from hanging (ADR 12). Tasks and results
travel in files, so that nobody waits for the rest of a message. A socket pair tells either side when the other has
ended, even if the server, which usually tells, was killed.
"""

import multiprocessing
import os
import pickle
import shutil
import socket
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from signal import SIG_IGN, SIG_SETMASK, SIGINT, SIGKILL, pthread_sigmask, signal
from tempfile import mkdtemp
from threading import RLock, Thread
from traceback import format_exc, format_exception_only
from typing import Any, Final
from weakref import WeakSet

from tfrec_stage.engine.runner import Pool, Work, WorkerDiedError, blocked_signals, serial_map
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
    """Worker processes, started as they are needed."""

    def __init__(self, work: Work, num_tasks: int, workers: int, scratch: Path | None) -> None:
        start_server(work)
        self.window = workers
        self.finished = _CONTEXT.RawArray("Q", num_tasks)
        self._stop = _CONTEXT.RawValue("b", 0)
        self._start = partial(_Worker, work, self._stop, self.finished)
        # Not a `TemporaryDirectory`: a child that the user's program forks would remove it when it exits.
        self._files = Path(mkdtemp(prefix="tasks-", dir=scratch))
        self._workers: list[_Worker] = []
        self._running: dict[Future[Any], tuple[_Worker, Path]] = {}

    def submit(self, number: int, task: Any) -> Future[Any]:
        """See `Pool`."""
        path = self._files / str(number)
        path.write_bytes(pickle.dumps(task))
        idle = self._idle()
        if not idle:
            idle = [self._start()]
            self._workers += idle
        try:
            future = idle[0].submit(path, number)
        except WorkerDiedError:
            self._close([idle[0]])
            raise
        self._running[future] = idle[0], path
        return future

    def result(self, future: Future[Any]) -> Any:
        """See `Pool`; the error of a task has a note with the traceback in the worker."""
        worker, path = self._running.pop(future)
        try:
            future.result()
        except BrokenExecutor as broken:
            self._close([worker])
            raise WorkerDiedError from broken
        outcome = path.read_bytes()
        path.unlink()
        result, error, where = pickle.loads(outcome)
        if error is None:
            return result
        with suppress(Exception):  # an exception class may refuse notes
            error.add_note(f"\nIn a worker process:\n{where}")
        raise error

    def close_idle(self) -> None:
        """See `Pool`."""
        self._close(self._idle())

    def close(self) -> None:
        """See `Pool`."""
        self._stop.value = 1
        self._close(self._workers)
        shutil.rmtree(self._files, ignore_errors=True)

    def kill(self) -> None:
        """See `Pool`."""
        for worker in self._workers:
            worker.kill()
        shutil.rmtree(self._files, ignore_errors=True)

    def _idle(self) -> list["_Worker"]:
        busy = {worker for worker, _ in self._running.values()}
        return [worker for worker in self._workers if worker not in busy]

    def _close(self, workers: list["_Worker"]) -> None:
        for worker in list(workers):
            worker.close()
            self._workers.remove(worker)


class _Worker:
    """A worker process, as the driver sees it."""

    def __init__(self, *shared: Any) -> None:
        with _lines_lock:
            self._line, self._workers_line = socket.socketpair()
            _lines.update((self._line, self._workers_line))
        self._pid = _CONTEXT.RawValue("i", 0)  # written by the process
        arguments = (*shared, self._pid, self._workers_line)
        self._executor = ProcessPoolExecutor(1, _CONTEXT, _start_worker, arguments)

    def submit(self, path: Path, number: int) -> Future[None]:
        """Run the task in a file; the first one starts the process.

        Raises:
            WorkerDiedError: the process, or the server.
        """
        try:
            return self._executor.submit(_run_task, path, number)
        except (BrokenExecutor, EOFError, ConnectionError) as error:
            raise WorkerDiedError from error
        finally:
            self._workers_line.close()  # from now on only the process holds this end

    def close(self) -> None:
        """Wait for the task and end the process."""
        self._executor.shutdown()
        self.kill()  # if the server was killed, the executor takes the process for dead while it still runs

    def kill(self) -> None:
        """End the process at once, and wait until it has ended, since its task may be run again."""
        try:
            self._line.recv(1, socket.MSG_DONTWAIT)  # nothing is ever sent: this returns if the process has ended
        except BlockingIOError:
            with suppress(OSError):  # it ends at this moment
                self._line.shutdown(socket.SHUT_WR)  # ends it, unless it is inside code that keeps the GIL
                if self._pid.value:  # otherwise it has not begun to run, and will end when it does
                    os.kill(self._pid.value, SIGKILL)
            self._line.recv(1)
        self._line.close()
        # Without waiting: if Ctrl-C interrupted the wait in `close`, Python takes the executor's thread for ended, and
        # the executor would close pipes that this thread still uses.
        self._executor.shutdown(wait=False)


_lines: Final[WeakSet[socket.socket]] = WeakSet()
_lines_lock: Final = RLock()


def _close_lines() -> None:
    """Close all lines in a child that the user's program forks: its copies would keep them open while it lives."""
    for line in _lines:
        line.close()
    _lines_lock.release()


os.register_at_fork(before=_lines_lock.acquire, after_in_parent=_lines_lock.release, after_in_child=_close_lines)

_shared: Final[list[Any]] = []
"""In a worker process: its work, the flag that stops it, and the counts of finished images."""


def _start_worker(work: Work, stop: Any, finished: Any, pid: Any, line: socket.socket) -> None:
    pid.value = os.getpid()
    signal(SIGINT, SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides what it means
    pthread_sigmask(SIG_SETMASK, ())  # inherited from the server, which was started with signals blocked
    Thread(target=_end_with, args=(line,), daemon=True).start()
    _shared[:] = work, stop, finished


def _end_with(line: socket.socket) -> None:
    """End this process when the driver has ended, or wants that: nothing is ever sent on the line."""
    line.recv(1)
    os._exit(1)


def _run_task(path: Path, number: int) -> None:
    """Read a pickled task from a file, run it and replace the file by its result, error and traceback."""
    work, stop, finished = _shared
    task: object = "a task"
    try:
        task = pickle.loads(path.read_bytes())
        outcome = pickle.dumps((work(task, partial(serial_map, lambda: stop.value, finished, number)), None, ""))
    except BaseException as error:  # noqa: BLE001 - the driver raises it
        outcome = pickle.dumps((None, _picklable(error, task), format_exc()))
    path.write_bytes(outcome)


def _picklable(error: BaseException, task: object) -> BaseException:
    """Return the error, or one with the same text if it cannot be pickled and unpickled."""
    with suppress(Exception):  # whatever its own methods raise
        if isinstance(pickle.loads(pickle.dumps(error)), BaseException):
            return error
    return EngineError(f"{task}: {format_exception_only(error)[-1].strip()}")
