"""Progress of a build: the event, and listeners for it. The CLI adds a progress bar for terminals."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is; sent a few times a second, and once at the end."""

    name: str
    """Name of what is built, for example `train`."""
    done: int
    """Images finished, failures included."""
    total: int
    """Images in all."""
    elapsed_s: float
    """Seconds since the first image was started."""

    @property
    def is_last(self) -> bool:
        """Whether no further event follows."""
        return self.done >= self.total

    @property
    def images_per_s(self) -> float:
        """Mean rate since the start, in images per second; 0 if no time has passed."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at that rate; None before the first image is finished."""
        return (self.total - self.done) / self.images_per_s if self.images_per_s > 0 else None


class ProgressListener(Protocol):
    """A function that is called with the progress of a build."""

    def __call__(self, progress: Progress, /) -> None:
        """Handle an event. It runs in the thread of the build, so it should be fast and not raise."""
        ...


def silence(_: Progress) -> None:
    """Ignore all events."""


class ProgressLines:
    """Logs one line every `interval_s` seconds and one at the end, for logs that nobody watches live."""

    def __init__(self, interval_s: float = 10.0, clock: Callable[[], float] = monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._due_s = clock() + interval_s

    def __call__(self, progress: Progress) -> None:
        """Write a line if one is due."""
        if self._clock() < self._due_s and not progress.is_last:
            return
        self._due_s = self._clock() + self._interval_s
        _log.info("%s", describe(progress))


def describe(progress: Progress) -> str:
    """Describe the progress in one line: done of total, rate and time left.

    >>> describe(Progress("train", 50, 200, 2.0))
    'train: 50 of 200 images (25 %), 25 images/s, 6 s left'
    """
    percent, rate = 100 * progress.done // max(progress.total, 1), progress.images_per_s
    line = f"{progress.name}: {progress.done:,} of {progress.total:,} images ({percent} %), {rate:,.0f} images/s"
    return line if progress.is_last or not progress.remaining_s else f"{line}, {progress.remaining_s:,.0f} s left"
