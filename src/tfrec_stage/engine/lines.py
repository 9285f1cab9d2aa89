"""Pipes to worker processes, of which a child that the program forks keeps no copy.

With a copy a pipe would not break while that child lives, and nobody would see a worker end.
"""

import os
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import RLock
from typing import Final
from weakref import WeakSet

_lines: Final[WeakSet[Connection]] = WeakSet()
_opening: Final = RLock()


def open_line() -> tuple[Connection, Connection]:
    """The two ends of a pipe that goes both ways."""
    with _opening:
        ends = Pipe()
        _lines.update(ends)
    return ends


def _close_all() -> None:
    for end in list(_lines):
        end.close()
    _opening.release()


os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_all)
