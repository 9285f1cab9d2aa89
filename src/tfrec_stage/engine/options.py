"""Options of the engine. Runtime options: they never change a byte."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tfrec_stage.options import check_types, check_within

MAX_THREADS: Final = 1024
"""A larger number is taken for a typing mistake: no machine encodes faster with it."""


class EngineName(Enum):
    """What runs the tasks."""

    threads = "threads"
    """Threads of this process: right for a few cores, and where images are decoded, which releases the GIL."""
    processes = "processes"
    """Worker processes: for machines with many cores."""


@dataclass
class EngineOptions:
    """How many workers, and of which kind."""

    num_threads: int = 4
    """Images encoded at the same time: threads, or worker processes with one thread each."""
    engine: EngineName = EngineName.threads
    """What runs the tasks."""

    def __post_init__(self) -> None:
        check_types(self)
        check_within("num_threads", self.num_threads, 1, MAX_THREADS)
