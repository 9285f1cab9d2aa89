"""Contestants that run in turn, A B C A B C …, so that a machine that slows down slows them all.

Each round gives every contestant one time. What counts is the ratio of two contestants in the same round; its median
over the rounds is told, and absolute times are kept for those who want them.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work."""

    name: str
    """What the table calls it."""
    run: Callable[[Path], int]
    """Does the work once, in an empty directory; the number of images that it handled."""
    beside: str = ""
    """Name of the contestant that its time is divided by; the first one's if empty."""
    images: int | None = None
    """How many images it must have handled; as many as the first one if None."""
    prepare: Callable[[], None] = lambda: None
    """Done before each of its rounds, outside the time taken."""


@dataclass
class Race:
    """Contestants, and their times so far."""

    title: str
    contestants: Sequence[Contestant]
    workdir: Path
    """Where they write; on one file system."""
    absent: Sequence[str] = ()
    """Contestants that are not installed."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Time of each round, by contestant."""
    images: dict[str, int] = field(default_factory=dict)
    """Images of one round, by contestant."""

    def run_round(self) -> None:
        """Let each run once; all must handle the same images."""
        for contestant in self.contestants:
            seconds, images = _run(contestant, self.workdir)
            expected = contestant.images or self.images.get(self.contestants[0].name, images)
            assert images == expected, f"{contestant.name} handled {images} images instead of {expected}"
            self.images[contestant.name] = images
            self.seconds.setdefault(contestant.name, []).append(seconds)

    def result(self) -> dict[str, Any]:
        """Everything measured, as plain values."""
        rows = [
            {
                "name": contestant.name,
                "beside": contestant.beside or self.contestants[0].name,
                "images": self.images[contestant.name],
                "seconds": self.seconds[contestant.name],
            }
            for contestant in self.contestants
        ]
        return {"title": self.title, "rows": rows, "absent": list(self.absent)}


def run_race(benchmark: BenchmarkFixture, race: Race, rounds: int) -> None:
    """Run a race for some rounds, after one that does not count; the result goes into the benchmark's `extra_info`.

    What pytest-benchmark itself tells of such an entry is the time of a whole round, of all contestants together.
    """
    if rounds > 1:
        race.run_round()
        race.seconds.clear()
    with _frozen_heap():
        benchmark.pedantic(race.run_round, rounds=rounds)
    benchmark.extra_info["race"] = race.result()


def _run(contestant: Contestant, workdir: Path) -> tuple[float, int]:
    with TemporaryDirectory(dir=workdir) as directory:
        contestant.prepare()
        gc.collect()
        begin_s = perf_counter()
        images = contestant.run(Path(directory))
        return perf_counter() - begin_s, images


@contextmanager
def _frozen_heap():
    """Spare everyone the garbage collector's walks through what TensorFlow left in memory when it was imported."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
