"""What is wrong with a manifest, gathered and told once."""

from collections.abc import Iterable
from typing import Final

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.shape import shape_faults

MAX_FAULTS: Final = 20

UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a record may raise."""


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


def explain_json(line: bytes, error: Exception) -> list[str]:
    """Faults of one record that could not be decoded, given its JSON and what the decoder said."""
    try:
        return shape_faults(msgspec.json.decode(line)) or [str(error)]
    except UNDECODABLE as not_json:
        return [f"expected a JSON object, but {not_json}"]
