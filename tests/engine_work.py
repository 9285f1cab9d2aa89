"""Tasks that worker processes can import."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

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


class OddError(Exception):
    """Pickle cannot make it anew: it has two arguments, and Exception remembers one."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def fail(task: str, encode_all) -> str:
    """Raise an error that does not come through a pipe, or one that does."""
    if task == "odd":
        raise OddError("something", "somewhere")
    raise ValueError(task)


def held_signals(_: str, encode_all) -> list[int]:
    """Signals that do not reach the worker."""
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _sleep(_: int) -> None:
    time.sleep(LINGER_S)


def _square(item: int) -> int:
    return item * item


def _divide(item: int) -> float:
    return 1 / item
