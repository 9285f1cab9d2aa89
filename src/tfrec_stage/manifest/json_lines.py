"""Manifest files: JSON Lines, and a JSON array that becomes lines when it is opened.

Everything after opening works on lines only: a record is found by the byte offset of its line.
"""

from collections.abc import Iterable, Iterator
from hashlib import file_digest, sha256
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.parsing import UnusableRecordError, decode_record
from tfrec_stage.manifest.problems import Problems, changed_error
from tfrec_stage.manifest.source import Original
from tfrec_stage.manifest.spool import spool_bytes
from tfrec_stage.records import ParsedRecord

_LINE: Final = "line {number}"
"""Name of a record in a JSON Lines file; lines count from 1."""
_ITEM: Final = "$[{index}]"
"""Name of a record in a JSON array; items count from 0."""


class JsonLines:
    """A file with one record per line. It is streamed, so a manifest may be larger than memory.

    Positions are byte offsets of lines. Blank lines are skipped.
    """

    def __init__(self, path: Path, *, name: Path | None = None, record_name: str = _LINE) -> None:
        """Name a file; it is not opened yet.

        Args:
            path: the file.
            name: the file to name in messages, if it is another one.
            record_name: name of a record in messages; `{number}` counts from 1, `{index}` from 0.
        """
        self._path = path
        self._name = path if name is None else name
        self._record_name = record_name
        self._digest: str | None = None

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """See `RecordSource`."""
        problems = Problems(str(self._name))
        position, scanned = 0, sha256()
        with self._open() as file:
            for index, line in enumerate(file):
                scanned.update(line)
                if not line.isspace():
                    try:
                        yield position, decode_record(line)
                    except UnusableRecordError as error:
                        problems.add(self._name_of(index), error.problems)
                position += len(line)
        # Compare the bytes of this scan. Hashing the file once more would miss an edit that was undone meanwhile.
        if self._digest not in (None, scanned.hexdigest()):
            raise changed_error(self._name)
        problems.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """See `RecordSource`."""
        with self._open() as file:
            for position in positions:
                yield self._decode(_line_at(file, position))

    def original(self, position: int) -> Original:
        """See `RecordSource`."""
        with self._open() as file:
            line = _line_at(file, position)
        record = self._decode(line)
        return Original(msgspec.json.decode(line, type=dict), record)

    def digest(self) -> str:
        """See `RecordSource`."""
        with self._open() as file:
            self._digest = file_digest(file, "sha256").hexdigest()
        return self._digest

    def where(self, position: int) -> str:
        """See `RecordSource`. Counts the lines before the position, so it is for messages only."""
        with self._open() as file:
            line_breaks = sum(chunk.count(b"\n") for chunk in _chunks(file, position))
        return self._name_of(line_breaks)

    def for_workers(self, spool: Path) -> "JsonLines":  # noqa: ARG002 - the interface
        """See `RecordSource`. Workers read the file themselves, so nothing is written."""
        return self

    def _open(self) -> BufferedReader | BytesIO:
        return self._path.open("rb")

    def _name_of(self, index: int) -> str:
        return self._record_name.format(index=index, number=index + 1)

    def _decode(self, line: bytes) -> ParsedRecord:
        try:
            return decode_record(line)
        except UnusableRecordError:  # the scan found a valid record at this position
            raise changed_error(self._name) from None


class JsonArray(JsonLines):
    """A file that holds one JSON array, converted to lines in memory when it is opened.

    The file is read only then, so later edits have no effect. Positions are byte offsets in the lines; messages name
    the index in the array.
    """

    def __init__(self, path: Path) -> None:
        """Read and convert the file.

        Raises:
            ManifestError: it is not a JSON array.
            OSError: it cannot be read.
        """
        super().__init__(path, record_name=_ITEM)
        content = path.read_bytes()
        self._digest_of_array = sha256(content).hexdigest()
        self._lines = _array_to_lines(content, path)

    def digest(self) -> str:
        """See `RecordSource`. Of the file as it was written, not of the lines."""
        return self._digest_of_array

    def for_workers(self, spool: Path) -> JsonLines:
        """See `RecordSource`. Workers read a file with the lines."""
        spool_bytes(spool, self._lines)
        return JsonLines(spool, name=self._path, record_name=_ITEM)

    def _open(self) -> BufferedReader | BytesIO:
        return BytesIO(self._lines)  # shares the bytes, so opening is cheap


def _array_to_lines(content: bytes, path: Path) -> bytes:
    """One line per item of a JSON array.

    Items are only split here, not parsed: the scan then finds the problems of all of them.
    """
    try:
        items = msgspec.json.decode(content, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"expected a JSON array of image records in {path}, but {error}") from error
    lines = BytesIO()
    for item in items:
        # A line break in valid JSON is always whitespace between tokens, since strings have to escape theirs. A space
        # in its place keeps the byte offsets that parsers report.
        lines.write(bytes(item).replace(b"\n", b" ") + b"\n")
    return lines.getvalue()


def _line_at(file: BinaryIO, position: int) -> bytes:
    file.seek(position)
    return file.readline()


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file, in pieces that fit in memory."""
    while chunk := file.read(min(size, 1 << 20)):
        size -= len(chunk)
        yield chunk
