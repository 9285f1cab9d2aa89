"""Tasks that worker processes can import."""

import fcntl
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
from tfrec_stage.errors import EngineError

LINGER_S = 0.001


def squares(task: Iterable[int], ordered_map) -> list[int]:
    return list(ordered_map(_square, task))


def divide(task: Iterable[int], ordered_map) -> list[float]:
    return list(ordered_map(_divide, task))


def linger(task: int, ordered_map) -> int:
    """Take a while for each of so many items."""
    return len(list(ordered_map(_sleep, range(task))))


def never_end(task: int, ordered_map) -> list:
    """Stay inside C code that never releases the GIL: this expression backtracks for years."""
    return list(ordered_map(re.compile(r"(a+)+b").match, ["a" * 100]))


def die_once(task: tuple[str, bool], ordered_map) -> str:
    """Kill this process, if the task says so, unless a file says that this has happened."""
    path, is_deadly = task
    if is_deadly and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def die_halfway(task: tuple[str, int], ordered_map) -> int:
    """Kill this process, the first time only, when half of the items are done."""
    path, items = task
    done = 0
    for done, _ in enumerate(ordered_map(_square, range(items)), start=1):
        if done == items // 2 and not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return done


def always_die(task: str, ordered_map) -> str:
    if task == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def note_and_die(task: tuple[str, str, int, int, int], ordered_map) -> str:
    """Write a beginning into a journal and wait for those of other tasks; die so many times, else write an end."""
    journal, name, together, deaths, items = task
    _append(journal, f"begin {name}")
    while (text := Path(journal).read_text(encoding="utf-8")).count("begin") < together:
        time.sleep(LINGER_S)
    if text.count(f"begin {name}") <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    list(ordered_map(_sleep, range(items)))
    _append(journal, f"end {name}")
    return name


def _append(journal: str, line: str) -> None:
    with Path(journal).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def hold(task: tuple[str, int], ordered_map) -> str:
    """Keep a file locked while so many items are processed, with SIGTERM ignored; fail if another process holds it."""
    path, items = task
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Path(path).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        list(ordered_map(_keep_gil, range(items)))
    return path


def echo(task: bytes, ordered_map) -> bytes:
    """Return a task that does not fit into a pipe."""
    ordered_map(_square, [])
    return task


class OddError(Exception):
    """It cannot be unpickled: it needs two arguments, and `Exception` remembers one."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class RefusingError(Exception):
    """It has no text."""

    def __str__(self) -> str:
        raise ValueError


class UnpicklableTask:
    """A task that cannot be pickled, with an error that broken pipes raise as well."""

    def __reduce__(self) -> NoReturn:
        raise FileNotFoundError("no such thing")


class Unreadable:
    """It can be pickled, but not unpickled in one process, with an error that broken pipes raise as well."""

    def __init__(self, only_in: int) -> None:
        self._only_in = only_in

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return _refuse_in, (self._only_in,)


def _refuse_in(process: int) -> None:
    if os.getpid() == process or process == EVERYWHERE:
        raise OSError("cannot be unpickled")


EVERYWHERE = 0


def say(task: str, ordered_map) -> None:
    sys.stdout.write(f"{task}\n")


def give(task: object, ordered_map) -> object:
    """Return the task itself."""
    return task


def give_unreadable(task: int, ordered_map) -> object:
    """Return a result that cannot be unpickled in that process."""
    return Unreadable(task)


def fail(task: str, ordered_map) -> str:
    """Raise an error, of which some can be pickled and some cannot."""
    if task == "exit":
        sys.exit("enough")
    errors = {
        "plain": ValueError(task),
        "odd": OddError("something", "somewhere"),
        "refusing": RefusingError(),
        "broken": BrokenExecutor("a pool of the task's own"),
    }
    raise errors[task] if task in errors else json.JSONDecodeError(task, "", 0)


def give_unpicklable(task: str, ordered_map) -> object:
    """Return a result that cannot be pickled."""
    return lambda: task


def sleep_long() -> None:
    time.sleep(60)


def send_error(connection: Connection) -> None:
    """Try worker processes, and send the error."""
    try:
        list(run_tasks(squares, [[1]], EngineOptions(1, EngineName.processes)))
    except EngineError as error:
        connection.send(str(error))


def blocked_signals(_: str, ordered_map) -> list[int]:
    """Return the signals that do not reach the worker."""
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _sleep(_: int) -> None:
    time.sleep(LINGER_S)


def _keep_gil(_: int) -> None:
    """Stay inside C code that does not release the GIL, for about a second."""
    sum(range(50_000_000))


def _square(item: int) -> int:
    return item * item


def _divide(item: int) -> float:
    return 1 / item
