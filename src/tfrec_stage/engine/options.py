"""How the work is spread. Runtime options: they never change a byte."""

from dataclasses import dataclass
from enum import Enum

from tfrec_stage.errors import ConfigError


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
        if not isinstance(self.num_threads, int) or self.num_threads < 1:
            raise ConfigError(f"num_threads: expected at least 1, but got {self.num_threads!r}")
