"""The interface of all sources of image records: manifest files, and lists from Python."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tfrec_stage.records import ParsedRecord


class Original(NamedTuple):
    """One record, both as it was written and parsed."""

    values: dict[str, Any]
    """A copy of its keys and values as they were written."""
    record: ParsedRecord
    """The parsed record."""


class RecordReader(Protocol):
    """Image records that can be scanned in order, and read again by position. Tasks read from this.

    A position is a whole number from 0, by which the reader finds a record again: a byte offset or an index.
    """

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """Position and record of every record, in order.

        Raises:
            ManifestError: at the end of the scan, if records were unusable (the first 20 problems are named), or if
                the content is not what `digest` hashed.
        """
        ...

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """Records at these positions, in the order of the positions.

        If the manifest was edited after the scan, they may differ from the scanned records. A caller that needs the
        same records compares their keys.

        Raises:
            ManifestError: there is no record at a position.
        """
        ...

    def where(self, position: int) -> str:
        """Name of a position in messages, for example `line 12`."""
        ...


class RecordSource(RecordReader, Protocol):
    """A reader that also gives records as they were written. A build starts from this."""

    def original(self, position: int) -> Original:
        """The record at a position, as it was written and parsed.

        Raises:
            ManifestError: there is no record at the position.
        """
        ...

    def digest(self) -> str | None:
        """SHA-256 of the whole source, in hexadecimal; None if the source has no bytes to hash.

        It identifies the source without parsing its records.
        """
        ...

    def for_workers(self, spool: Path) -> RecordReader:
        """A reader of the same records that can be sent to worker processes: a few bytes, however many records.

        Args:
            spool: path of a file to create if the records are only in this process's memory. The caller removes it.

        Raises:
            ManifestError: as `scan`.
            OutputError: the file cannot be written.
        """
        ...
