"""What is wrong with a manifest, gathered and told once."""

from collections.abc import Iterable
from typing import Final

from tfrec_stage.errors import ManifestError

MAX_FAULTS: Final = 20


class Faults:
    """Gathers what is wrong with a manifest, to tell the first of it at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: list[str] = []
        self._count = 0

    def add(self, where: str, faults: Iterable[str]) -> None:
        """Note the faults of one record."""
        for fault in faults:
            self._count += 1
            if len(self._lines) < MAX_FAULTS:
                self._lines.append(f"{self._name}: {where}: {fault}")

    def raise_if_any(self) -> None:
        """Raise what was gathered.

        Raises:
            ManifestError: anything was.
        """
        if not self._count:
            return
        more = self._count - len(self._lines)
        raise ManifestError("\n".join([*self._lines, *([f"… and {more} more"] if more else [])]))


def changed_error(name: object) -> ManifestError:
    """A manifest that is not what it was when the build began to read it."""
    return ManifestError(f"{name}: the manifest changed while it was read; nothing of it was kept, run the build again")
