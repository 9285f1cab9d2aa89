"""Image records from Python: the list of dicts that `create()` is given."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrec_stage.manifest.parsing import UnusableRecordError, convert_record
from tfrec_stage.manifest.problems import Problems, changed_error
from tfrec_stage.manifest.source import Original
from tfrec_stage.manifest.spool import SpooledRecords, spool_records
from tfrec_stage.records import ParsedRecord


class RecordList:
    """Dicts from Python; positions are indices. The dicts are never changed.

    NumPy numbers and arrays, tuples and paths may stand for numbers, lists and strings.
    """

    def __init__(self, dataset: Iterable[Mapping[str, Any]]) -> None:
        # A copy of the list, not of the records in it. A record that changes during a build is detected by its key.
        self._dataset: Sequence[Mapping[str, Any]] = list(dataset)

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """See `RecordSource`."""
        problems = Problems("dataset")
        for position in range(len(self._dataset)):
            try:
                yield position, convert_record(self._dataset[position])
            except UnusableRecordError as error:
                problems.add(self.where(position), error.problems)
        problems.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """See `RecordSource`."""
        return map(self._convert, positions)

    def original(self, position: int) -> Original:
        """See `RecordSource`."""
        return Original(dict(self._dataset[position]), self._convert(position))

    def digest(self) -> None:
        """See `RecordSource`. None: Python values have no bytes to hash, so their records are always parsed."""

    def where(self, position: int) -> str:
        """See `RecordSource`."""
        return f"dataset[{position}]"

    def for_workers(self, spool: Path) -> SpooledRecords:
        """See `RecordSource`."""
        return spool_records(spool, self, "dataset")

    def _convert(self, position: int) -> ParsedRecord:
        try:
            return convert_record(self._dataset[position])
        except UnusableRecordError:  # the scan found a valid record at this position
            raise changed_error("dataset") from None
