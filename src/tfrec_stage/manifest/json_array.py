"""One JSON array of records: the classic form, held in memory."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.parsing import UnusableRecordError, decode_record
from tfrec_stage.manifest.problems import Faults
from tfrec_stage.manifest.source import Original
from tfrec_stage.manifest.spool import SpooledRecords, write_spool
from tfrec_stage.records import ParsedRecord


class JsonArray:
    """A file of one JSON array; positions are indices. It is read once: what happens to the file later is not seen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        content = path.read_bytes()
        self._digest = sha256(content).hexdigest()
        try:
            self._records = msgspec.json.decode(content, type=list[msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ManifestError(f"expected a JSON array of image records in {path}, but {error}") from error

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """See `RecordSource`."""
        faults = Faults(str(self._path))
        for position, record in enumerate(self._records):
            try:
                yield position, decode_record(record)
            except UnusableRecordError as error:
                faults.add(self.where(position), error.faults)
        faults.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """See `RecordSource`."""
        return (decode_record(self._records[position]) for position in positions)

    def original(self, position: int) -> Original:
        """See `RecordSource`."""
        record = self._records[position]
        return Original(msgspec.json.decode(record, type=dict), decode_record(record))

    def digest(self) -> str:
        """See `RecordSource`."""
        return self._digest

    def where(self, position: int) -> str:
        """See `RecordSource`."""
        return f"$[{position}]"

    def for_workers(self, spool: Path) -> SpooledRecords:
        """See `RecordSource`."""
        return write_spool(spool, self, "$")
