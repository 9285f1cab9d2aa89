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


def always_die(task: str, encode_all) -> str:
    if task == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def _sleep(_: int) -> None:
    time.sleep(LINGER_S)


def _square(item: int) -> int:
    return item * item


def _divide(item: int) -> float:
    return 1 / item
