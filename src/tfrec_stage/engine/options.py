"""How the work is spread. Runtime options: they never change a byte."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tfrec_stage.options import check_types, check_within

MOST_THREADS: Final = 1024
"""More are a slip of the finger: no machine encodes faster with them."""


class EngineName(Enum):
    """What runs the tasks."""

    threads = "threads"
    """Threads of this process: right for a few cores, and wherever images are decoded, which needs no GIL."""
    processes = "processes"
    """Worker processes: for machines with many cores."""


@dataclass
class EngineOptions:
    """How many work, and as what."""

    num_threads: int = 4
    """Images encoded at the same time: threads, or worker processes of one thread each."""
    engine: EngineName = EngineName.threads
    """What runs the tasks."""

    def __post_init__(self) -> None:
        check_types(self)
        check_within("num_threads", self.num_threads, 1, MOST_THREADS)
