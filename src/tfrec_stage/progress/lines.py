"""Plain lines in a log, now and then."""

import logging
from collections.abc import Callable
from time import monotonic

from tfrec_stage.progress import Progress

_log = logging.getLogger(__name__)


class ProgressLines:
    """One line every `interval_s` seconds and one at the end, for logs that nobody watches live."""

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
    """One line: done of total, rate and time left.

    >>> describe(Progress("train", 50, 200, 2.0))
    'train: 50 of 200 images (25 %), 25 images/s, 6 s left'
    """
    percent, rate = 100 * progress.done // max(progress.total, 1), progress.images_per_s
    line = f"{progress.name}: {progress.done:,} of {progress.total:,} images ({percent} %), {rate:,.0f} images/s"
    return line if progress.is_last or not progress.remaining_s else f"{line}, {progress.remaining_s:,.0f} s left"
