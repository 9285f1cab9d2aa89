"""Events of a build and who listens to them: one method, one listener a file, silence by default."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build has come; sent a few times a second, and once at the end."""

    name: str
    """What is built, for example `train`."""
    done: int
    """Images finished, failures included."""
    total: int
    """Images in all."""
    elapsed_s: float
    """Seconds since the first image was begun."""

    @property
    def is_last(self) -> bool:
        """Whether no further event follows."""
        return self.done >= self.total

    @property
    def images_per_s(self) -> float:
        """Mean rate since the beginning; 0 before the clock has moved."""
        return self.done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at that rate; None while nothing is finished."""
        return (self.total - self.done) / self.images_per_s if self.images_per_s > 0 else None


class ProgressListener(Protocol):
    """Someone who is told how far a build has come."""

    def __call__(self, progress: Progress, /) -> None:
        """Take note; called from the building thread, so be quick and raise nothing."""
        ...


def silence(_: Progress) -> None:
    """Listen to nothing."""
