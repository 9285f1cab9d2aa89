"""The one interface of all sources of image records."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tfrec_stage.records import ParsedRecord


class Original(NamedTuple):
    """A record as it was given."""

    values: dict[str, Any]
    """Its keys and values, in a copy."""
    record: ParsedRecord
    """What they mean."""


class RecordReader(Protocol):
    """Image records that can be walked from end to end, and found again one by one; what tasks read from."""

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """Position and record, in order.

        Raises:
            ManifestError: once the end is reached, naming the first 20 records that put the manifest in doubt; or it is
                not the manifest whose `digest` was told.
        """
        ...

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """The records at these positions, in their order.

        They may be others than those of the scan where the manifest changed meanwhile: who needs the same compares
        their keys.

        Raises:
            ManifestError: there is no record at a position.
        """
        ...

    def where(self, position: int) -> str:
        """What people call that position: `line 12`."""
        ...


class RecordSource(RecordReader, Protocol):
    """The same, as they were given: what a build is made from."""

    def original(self, position: int) -> Original:
        """The record as it was given.

        Raises:
            ManifestError: there is none at that position.
        """
        ...

    def digest(self) -> str | None:
        """Digest of the whole source, by which it is known again without reading its records; None if it has none."""
        ...

    def for_workers(self, spool: Path) -> RecordReader:
        """The same records, to be sent to worker processes with every task: a few bytes, however many records.

        Args:
            spool: a file to make where the records are in this process's memory alone; whoever calls removes it.

        Raises:
            ManifestError: as `scan`.
            OutputError: the file cannot be written.
        """
        ...
