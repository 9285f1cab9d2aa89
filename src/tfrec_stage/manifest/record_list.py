"""Dicts from Python, as `create()` takes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrec_stage.manifest.parsing import UnusableRecordError, convert_record
from tfrec_stage.manifest.problems import Faults, changed_error
from tfrec_stage.manifest.source import Original
from tfrec_stage.manifest.spool import SpooledRecords, write_spool
from tfrec_stage.records import ParsedRecord


class RecordList:
    """Dicts from Python; positions are indices. They are never changed.

    NumPy numbers and arrays, tuples and paths may stand for numbers, lists and strings.
    """

    def __init__(self, dataset: Iterable[Mapping[str, Any]]) -> None:
        self._dataset: Sequence[Mapping[str, Any]] = list(dataset)

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """See `RecordSource`."""
        faults = Faults("dataset")
        for position in range(len(self._dataset)):
            try:
                yield position, convert_record(self._dataset[position])
            except UnusableRecordError as error:
                faults.add(self.where(position), error.faults)
        faults.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """See `RecordSource`."""
        return map(self._convert, positions)

    def original(self, position: int) -> Original:
        """See `RecordSource`."""
        return Original(dict(self._dataset[position]), self._convert(position))

    def digest(self) -> None:
        """See `RecordSource`: Python's values may be anything, so their records are always read."""

    def where(self, position: int) -> str:
        """See `RecordSource`."""
        return f"dataset[{position}]"

    def for_workers(self, spool: Path) -> SpooledRecords:
        """See `RecordSource`."""
        return write_spool(spool, self, "dataset")

    def _convert(self, position: int) -> ParsedRecord:
        try:
            return convert_record(self._dataset[position])
        except UnusableRecordError:  # the scan found a record here
            raise changed_error("dataset") from None
