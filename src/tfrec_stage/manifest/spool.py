"""Records of this process's memory, written to a file once, so that a task only has to say where its records are.

Records from Python are pickled, one after the other. A second file, `<spool>.offsets`, holds where each one begins, as
64-bit offsets. They are not JSON, because names may hold bytes that are not UTF-8, and numbers may be NaN.
"""

import os
import pickle
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from tfrec_stage.errors import OutputError
from tfrec_stage.manifest.problems import changed_error
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ParsedRecord

_OFFSET_BYTES: Final = 8
_UNREADABLE: Final = (OSError, EOFError, pickle.UnpicklingError, ValueError, IndexError)
"""What reading a spool raises if it was truncated or overwritten."""


class SpooledRecords:
    """Pickled records of a spool; positions are indices, as in the source that they come from."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """See `RecordReader`."""
        # One more offset than records: the last one is where the last record ends.
        count = _offsets_path(self._path).stat().st_size // _OFFSET_BYTES - 1
        return enumerate(self.read(range(count)))

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """See `RecordReader`."""
        with (
            self._path.open("rb", buffering=0) as records,
            _offsets_path(self._path).open("rb", buffering=0) as offsets,
        ):
            for position in positions:
                yield self._load(records.fileno(), offsets.fileno(), position)

    def where(self, position: int) -> str:
        """See `RecordReader`."""
        return f"{self._name}[{position}]"

    def _load(self, records: int, offsets: int, position: int) -> ParsedRecord:
        try:
            # Past the end fewer than two offsets come back, and unpacking them raises a ValueError.
            begin, end = array("Q", os.pread(offsets, 2 * _OFFSET_BYTES, position * _OFFSET_BYTES))
            record: ParsedRecord = pickle.loads(os.pread(records, end - begin, begin))
        except _UNREADABLE:
            raise changed_error(self._path) from None
        return record


def spool_records(path: Path, source: RecordReader, name: str) -> SpooledRecords:
    """Write all records of a source to a new file.

    Args:
        path: of the file; a second one with the offsets is created beside it.
        source: where the records are.
        name: name of the source in messages; a position is `name[3]`.

    Raises:
        ManifestError: as `RecordReader.scan`.
        OutputError: a file cannot be written.
    """
    offsets = array("Q", [0])
    with _write_errors(path):
        with _create_private(path) as file:
            for _, record in source.scan():
                file.write(pickle.dumps(record, pickle.HIGHEST_PROTOCOL))
                offsets.append(file.tell())
        with _create_private(_offsets_path(path)) as file:
            offsets.tofile(file)
    return SpooledRecords(path, name)


def spool_bytes(path: Path, content: bytes) -> None:
    """Write a new file that only this user can read.

    Raises:
        OutputError: it exists already, or cannot be written.
    """
    with _write_errors(path), _create_private(path) as file:
        file.write(content)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room, or take engine=threads"
        ) from error


def _offsets_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.offsets")


def _create_private(path: Path) -> BinaryIO:
    """A new file for this user alone.

    Unpickling runs code that the pickle names, so nobody else may write it. O_EXCL refuses a file that is there
    already, which may be somebody else's.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
