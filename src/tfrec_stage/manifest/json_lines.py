"""One record a line: streamed, so that a manifest may be larger than memory."""

from collections.abc import Iterable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO

import msgspec

from tfrec_stage.manifest.parsing import UnusableRecordError, decode_record
from tfrec_stage.manifest.problems import Faults, changed_error
from tfrec_stage.manifest.source import Original
from tfrec_stage.records import ParsedRecord


class JsonLines:
    """A file of one record a line; positions are byte offsets. Blank lines are passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest: str | None = None

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """See `RecordSource`."""
        faults = Faults(str(self._path))
        position, scanned = 0, sha256()
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                scanned.update(line)
                if not line.isspace():
                    try:
                        yield position, decode_record(line)
                    except UnusableRecordError as error:
                        faults.add(f"line {number}", error.faults)
                position += len(line)
        # What was read is compared, and not the file once more: it may have been changed and changed back meanwhile.
        if self._digest not in (None, scanned.hexdigest()):
            raise changed_error(self._path)
        faults.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """See `RecordSource`."""
        with self._path.open("rb") as file:
            for position in positions:
                yield self._decode(_line_at(file, position))

    def original(self, position: int) -> Original:
        """See `RecordSource`."""
        with self._path.open("rb") as file:
            line = _line_at(file, position)
        record = self._decode(line)
        return Original(msgspec.json.decode(line, type=dict), record)

    def digest(self) -> str:
        """See `RecordSource`."""
        with self._path.open("rb") as file:
            self._digest = file_digest(file, "sha256").hexdigest()
        return self._digest

    def where(self, position: int) -> str:
        """See `RecordSource`; counts lines, so only for messages."""
        with self._path.open("rb") as file:
            line_breaks = sum(chunk.count(b"\n") for chunk in _chunks(file, position))
        return f"line {line_breaks + 1}"

    def for_workers(self, spool: Path) -> "JsonLines":  # noqa: ARG002 - the interface
        """See `RecordSource`: they read the file themselves."""
        return self

    def _decode(self, line: bytes) -> ParsedRecord:
        try:
            return decode_record(line)
        except UnusableRecordError:  # the scan found a record here
            raise changed_error(self._path) from None


def _line_at(file: BinaryIO, position: int) -> bytes:
    file.seek(position)
    return file.readline()


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while chunk := file.read(min(size, 1 << 20)):
        size -= len(chunk)
        yield chunk
