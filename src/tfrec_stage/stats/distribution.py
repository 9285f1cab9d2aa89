"""Minimum, mean, median and maximum of a stream of numbers, without keeping the numbers."""

import math
from collections import Counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_BINS_PER_OCTAVE: Final = 512
"""Bins per factor of two. A bin ends at 1.0014 times its start, so its middle is right to 1 in 1,000."""
_LOWEST_BIN: Final = -40 * _BINS_PER_OCTAVE
_HIGHEST_BIN: Final = 40 * _BINS_PER_OCTAVE
"""Numbers below 2^-40 or above 2^40 are counted in the first or last bin."""


class Histogram:
    """Counts whole numbers. Results are exact up to the final rounding; memory grows with the distinct values."""

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
        # The median of an even count is the mean of the two values in the middle.
        ranks = np.cumsum([self._counts[value] for value in values])
        low, high = (values[int(np.searchsorted(ranks, rank, side="right"))] for rank in ((total - 1) // 2, total // 2))
        mean = sum(value * count for value, count in self._counts.items()) / total
        return _rounded({"min": values[0], "mean": mean, "median": (low + high) / 2, "max": values[-1]})


class Distribution:
    """Counts numbers above 0 in logarithmic bins, in constant memory.

    Between 2^-40 and 2^40 the median is right to a thousandth of itself. The other results use the numbers themselves.
    """

    def __init__(self) -> None:
        self._bins: NDArray[np.int64] = np.zeros(_HIGHEST_BIN - _LOWEST_BIN + 1, np.int64)
        self._sum, self._min, self._max = 0.0, math.inf, 0.0

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Add numbers."""
        if not len(numbers):
            return
        # `fsum` rounds once per batch, not once per number.
        self._sum = math.fsum((self._sum, *numbers.tolist()))
        self._min, self._max = min(self._min, float(numbers.min())), max(self._max, float(numbers.max()))
        bins = np.clip(np.floor(np.log2(numbers) * _BINS_PER_OCTAVE), _LOWEST_BIN, _HIGHEST_BIN).astype(np.int64)
        self._bins += np.bincount(bins - _LOWEST_BIN, minlength=len(self._bins))

    def as_dict(self) -> dict[str, float]:
        """Return `min`, `mean`, `median` and `max`; empty if there were no numbers."""
        ranks = np.cumsum(self._bins)
        total = int(ranks[-1])
        if not total:
            return {}
        # Of an even count, the upper of the two values in the middle: bins need no exact median.
        index = int(np.searchsorted(ranks, total // 2, side="right"))
        # The middle of the first or last bin may lie outside the numbers.
        median = min(max(2 ** ((index + _LOWEST_BIN + 0.5) / _BINS_PER_OCTAVE), self._min), self._max)
        return _rounded({"min": self._min, "mean": self._sum / total, "median": median, "max": self._max})


def _rounded(values: dict[str, float]) -> dict[str, Any]:
    """Round to six significant digits, as later ones depend on the order of addition; whole numbers become `int`."""
    rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
    return {name: int(value) if value.is_integer() else value for name, value in rounded.items()}
