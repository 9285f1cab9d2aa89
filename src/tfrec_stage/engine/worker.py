"""One worker process, of one thread, with a line of its own to the driver, as the driver sees it.

It shares no lock with anyone: where it dies (killed, out of memory), its line breaks, and nobody waits for what it
held.
"""

import multiprocessing
import os
import pickle
import socket
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from signal import SIGINT
from typing import Any, Final, NamedTuple

from tfrec_stage.engine.lines import open_line
from tfrec_stage.engine.serving import Work, serve
from tfrec_stage.engine.signals import held_back
from tfrec_stage.errors import EngineError

_CONTEXT: Final = multiprocessing.get_context("forkserver")
"""Workers are forks of a process that has imported what they need and runs no thread. A fork of this one would copy
locks that its threads hold, and a process begun anew would import everything once more."""

_IMPORTED_BY_WORKERS: Final = (serve.__module__, "multiprocessing.sharedctypes")
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
        data = ForkingPickler.dumps(task)
        with suppress(ConnectionError):  # it has died: that is noticed where its outcome is taken
            self.line.send_bytes(data)

    def take(self) -> Any:
        """Wait for what it gives for its task.

        Raises:
            WorkerDiedError: it gives nothing.
            BaseException: what the task raised, with a note of where.
        """
        try:
            data = self.line.recv_bytes()
        except (EOFError, OSError) as broken:
            raise WorkerDiedError from broken
        result, error, where = pickle.loads(data)
        if error is None:
            return result
        with suppress(Exception):  # an odd one takes no note
            error.add_note(f"\nIn a worker process:\n{where}")
        try:
            raise error
        finally:
            del error  # or it and this frame would keep each other

    def dismiss(self) -> None:
        """Let it end when it has no task, or at its next image if `stop` is set; `join` waits for that."""
        line = socket.socket(fileno=self.line.fileno())
        try:
            line.shutdown(socket.SHUT_WR)  # and not `close`, for it may still have something to say
        except OSError:  # it has ended
            pass
        finally:
            line.detach()

    def join(self) -> None:
        """Wait until it has ended."""
        with suppress(ConnectionError):  # the line says so even where the server, whom `join` asks, was killed
            while os.read(self.line.fileno(), 1 << 16):
                pass
        self.process.join()

    def close(self) -> None:
        """Give back what the driver holds of one that has ended."""
        self.line.close()
        with suppress(ValueError):  # it has not, for the driver was interrupted again and again
            self.process.close()


def begin_server(work: Work) -> None:
    """Begin the process that workers are forked from, if it does not run yet; it imports while the caller goes on.

    Ctrl-C reaches all processes of a terminal, and would find this one among its imports.

    Raises:
        EngineError: this process may have no children.
    """
    if multiprocessing.current_process().daemon:
        raise EngineError(
            "engine: expected threads within a daemonic process, for example of a multiprocessing.Pool, which may have "
            "no processes of its own, but got processes"
        )
    _CONTEXT.set_forkserver_preload([work.__module__, *_IMPORTED_BY_WORKERS])
    resource_tracker.ensure_running()  # first, for it lets go of the signals that it held back itself
    with held_back(SIGINT):
        forkserver.ensure_running()


def new_stop() -> Any:
    """What the driver and its workers share: 0 until tasks shall end at their next image."""
    return _CONTEXT.RawValue("b", 0)


def begin_worker(work: Work, stop: Any) -> Worker:
    """Begin a worker; have signals held back, so that none comes before it is noted.

    Raises:
        WorkerDiedError: it, or the server, was killed meanwhile.
    """
    ours, theirs = open_line()
    done = _CONTEXT.RawValue("Q", 0)
    with theirs:  # closed here, or it would never break
        process = _CONTEXT.Process(target=serve, args=(theirs, work, stop, done), daemon=True)
        try:
            process.start()
        except (EOFError, ConnectionError) as broken:
            ours.close()
            raise WorkerDiedError from broken
    return Worker(process, ours, done)
