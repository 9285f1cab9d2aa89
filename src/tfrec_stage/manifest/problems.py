"""Problems in a manifest, collected from all records and raised in one error."""

from collections.abc import Iterable
from typing import Final

from tfrec_stage.errors import ManifestError

MAX_PROBLEMS: Final = 20
"""Number of problems that the error shows; further ones are only counted."""


class Problems:
    """Collects the problems of many records, so that one error can show the first of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: list[str] = []
        self._count = 0

    def add(self, where: str, problems: Iterable[str]) -> None:
        """Add the problems of one record.

        Args:
            where: name of the record's position, for example `line 12`.
            problems: one message each.
        """
        for problem in problems:
            self._count += 1
            # A misspelt key is usually in every record. Only the messages shown are kept, to bound the memory.
            if len(self._lines) < MAX_PROBLEMS:
                self._lines.append(f"{self._name}: {where}: {problem}")

    def raise_if_any(self) -> None:
        """Raise one error for all problems added so far, if there are any.

        Raises:
            ManifestError: shows the first `MAX_PROBLEMS` problems, one per line, and the number of the others.
        """
        if not self._count:
            return
        more = self._count - len(self._lines)
        raise ManifestError("\n".join([*self._lines, *([f"… and {more} more"] if more else [])]))


def changed_error(name: object) -> ManifestError:
    """The error to raise when a manifest is no longer the one that the build started to read."""
    return ManifestError(f"{name}: the manifest changed while it was read; nothing of it was kept, run the build again")
