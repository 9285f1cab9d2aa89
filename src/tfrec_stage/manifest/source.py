"""The one interface of all sources of image records."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from tfrec_stage.records import ImageRecord


class RecordSource(Protocol):
    """Image records that can be walked from end to end, and found again one by one."""

    def scan(self) -> Iterator[tuple[int, ImageRecord]]:
        """Position and record, in order.

        Raises:
            ManifestError: once the end is reached, naming the first 20 records that have not the right shape.
        """
        ...

    def read(self, positions: Iterable[int]) -> Iterator[ImageRecord]:
        """The records at these positions, in their order."""
        ...

    def original(self, position: int) -> dict[str, Any]:
        """The record as it was given, in a copy."""
        ...

    def digest(self) -> str | None:
        """Digest of the whole source, by which it is known again without reading its records; None if it has none."""
        ...

    def where(self, position: int) -> str:
        """What people call that position: `line 12`."""
        ...
