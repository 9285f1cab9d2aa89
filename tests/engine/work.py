"""Tasks that worker processes can import."""

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from tfrec_stage.engine import EngineName, EngineOptions, run_tasks
from tfrec_stage.errors import EngineError

LINGER_S = 0.001


def squares(task: Iterable[int], encode_all) -> list[int]:
    return list(encode_all(_square, task))


def divide(task: Iterable[int], encode_all) -> list[float]:
    return list(encode_all(_divide, task))


def linger(task: int, encode_all) -> int:
    """Take a while for each of so many items."""
    return len(list(encode_all(_sleep, range(task))))


def die_once(task: tuple[str, bool], encode_all) -> str:
    """Kill the own process, where the task says so, unless the file that says it was done is there."""
    path, is_deadly = task
    if is_deadly and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def die_halfway(task: tuple[str, int], encode_all) -> int:
    """Kill the own process, the first time only, when half of the items are done."""
    path, items = task
    done = 0
    for done, _ in enumerate(encode_all(_square, range(items)), start=1):
        if done == items // 2 and not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return done


def always_die(task: str, encode_all) -> str:
    if task == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def hold(task: tuple[str, int], encode_all) -> str:
    """Lock a file and keep it locked for a while, deaf to SIGTERM; fail if another process has it."""
    path, items = task
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Path(path).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        list(encode_all(_sleep, range(items)))
    return path


def echo(task: bytes, encode_all) -> bytes:
    """Give back a task that does not fit into a pipe."""
    encode_all(_square, [])
    return task


class OddError(Exception):
    """Pickle cannot make it anew: it has two arguments, and Exception remembers one."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class RefusingError(Exception):
    """It does not even say what it is."""

    def __str__(self) -> str:
        raise ValueError


class UnopenableTask:
    """A task that cannot be pickled, for a reason that pipes give, too."""

    def __reduce__(self) -> NoReturn:
        raise FileNotFoundError("no such thing")


class Unreadable:
    """What can be pickled, and not made anew, for a reason that pipes give, too."""

    def __init__(self, only_in: int) -> None:
        self._only_in = only_in

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return _refuse_in, (self._only_in,)


def _refuse_in(process: int) -> None:
    if os.getpid() == process or process == EVERYWHERE:
        raise OSError("cannot be made anew")


EVERYWHERE = 0


def give(task: object, encode_all) -> object:
    """The task itself."""
    return task


def give_unreadable(task: int, encode_all) -> object:
    """A result that cannot be made anew in that process."""
    return Unreadable(task)


def fail(task: str, encode_all) -> str:
    """Raise what comes through a pipe and what does not."""
    if task == "exit":
        sys.exit("enough")
    errors = {"plain": ValueError(task), "odd": OddError("something", "somewhere"), "refusing": RefusingError()}
    raise errors[task] if task in errors else json.JSONDecodeError(task, "", 0)


def give_unsendable(task: str, encode_all) -> object:
    """A result that cannot be pickled."""
    return lambda: task


def sleep_long() -> None:
    time.sleep(60)


def say_what_stops(line: Connection) -> None:
    """Try worker processes, and say why not."""
    try:
        list(run_tasks(squares, [[1]], EngineOptions(1, EngineName.processes)))
    except EngineError as error:
        line.send(str(error))


def held_signals(_: str, encode_all) -> list[int]:
    """Signals that do not reach the worker."""
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _sleep(_: int) -> None:
    time.sleep(LINGER_S)


def _square(item: int) -> int:
    return item * item


def _divide(item: int) -> float:
    return 1 / item
