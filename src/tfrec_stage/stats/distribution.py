"""Minimum, mean, median and maximum of a stream of numbers, in memory that does not grow with it."""

import math
from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_STEPS: Final = 512
"""Bins of an octave: a median is right to 1 in 1,000."""
_LOWEST: Final = -40 * _STEPS
_HIGHEST: Final = 40 * _STEPS


class Histogram:
    """Counts whole numbers; exact. Memory grows with the number of different values."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, numbers: NDArray[np.int64]) -> None:
        """Add numbers."""
        values, counts = np.unique(numbers, return_counts=True)
        self._counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def as_dict(self) -> dict[str, float]:
        """Return `min`, `mean`, `median` and `max`; empty if there were no numbers."""
        if not self._counts:
            return {}
        values = sorted(self._counts)
        total = self._counts.total()
        ranks = np.cumsum([self._counts[value] for value in values])
        low, high = (values[int(np.searchsorted(ranks, rank, side="right"))] for rank in ((total - 1) // 2, total // 2))
        mean = sum(value * count for value, count in self._counts.items()) / total
        return _rounded({"min": values[0], "mean": mean, "median": (low + high) / 2, "max": values[-1]})


class Distribution:
    """Counts numbers above 0. The median is right to a thousandth of itself, from 2^-40 to 2^40."""

    def __init__(self) -> None:
        self._bins: NDArray[np.int64] = np.zeros(_HIGHEST - _LOWEST + 1, np.int64)
        self._sum, self._least, self._most = 0.0, math.inf, 0.0

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Take some numbers."""
        if not len(numbers):
            return
        self._sum = math.fsum((self._sum, *numbers.tolist()))
        self._least, self._most = min(self._least, float(numbers.min())), max(self._most, float(numbers.max()))
        steps = np.clip(np.floor(np.log2(numbers) * _STEPS), _LOWEST, _HIGHEST).astype(np.int64)
        self._bins += np.bincount(steps - _LOWEST, minlength=len(self._bins))

    def as_dict(self) -> dict[str, float]:
        """`min`, `mean`, `median` and `max`; empty if there were no numbers."""
        ranks = np.cumsum(self._bins)
        total = int(ranks[-1])
        if not total:
            return {}
        place = int(np.searchsorted(ranks, total // 2, side="right"))
        middle = min(max(2 ** ((place + _LOWEST + 0.5) / _STEPS), self._least), self._most)
        return _rounded({"min": self._least, "mean": self._sum / total, "median": middle, "max": self._most})


def _rounded(values: dict[str, float]) -> dict[str, Any]:
    """Round to six significant digits: later ones depend on the order of addition."""
    rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
    return {name: int(value) if value.is_integer() else value for name, value in rounded.items()}
