"""Records of this process's memory, laid into a file once, so that every task only says where they are.

The file holds pickled records one after the other; a second one beside it holds where each begins, as 64-bit offsets.
Pickles and not JSON, since names may hold bytes that are no UTF-8, and numbers may be NaN.
"""

import os
import pickle
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from tfrec_stage.errors import OutputError
from tfrec_stage.manifest.problems import changed_error
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ParsedRecord

_OFFSET_BYTES: Final = 8
_UNREADABLE: Final = (OSError, EOFError, pickle.UnpicklingError, ValueError, IndexError)


class SpooledRecords:
    """Records of a spool; positions are their numbers, as in the source that they come from."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def scan(self) -> Iterator[tuple[int, ParsedRecord]]:
        """See `RecordReader`."""
        count = _offsets_path(self._path).stat().st_size // _OFFSET_BYTES - 1
        return enumerate(self.read(range(count)))

    def read(self, positions: Iterable[int]) -> Iterator[ParsedRecord]:
        """See `RecordReader`."""
        with self._path.open("rb", buffering=0) as records, _offsets_path(self._path).open("rb", buffering=0) as places:
            for position in positions:
                yield self._load(records.fileno(), places.fileno(), position)

    def where(self, position: int) -> str:
        """See `RecordReader`."""
        return f"{self._name}[{position}]"

    def _load(self, records: int, places: int, position: int) -> ParsedRecord:
        try:
            begin, end = array("Q", os.pread(places, 2 * _OFFSET_BYTES, position * _OFFSET_BYTES))
            record: ParsedRecord = pickle.loads(os.pread(records, end - begin, begin))
        except _UNREADABLE:
            raise changed_error(self._path) from None
        return record


def write_spool(path: Path, source: RecordReader, name: str) -> SpooledRecords:
    """Lay all records of a source into a new file.

    Args:
        path: of the file; one more is made beside it.
        source: where the records are.
        name: what the source is called, for messages: a position is `name[3]`.

    Raises:
        ManifestError: as `RecordReader.scan`.
        OutputError: a file cannot be written.
    """
    offsets = array("Q", [0])
    try:
        with _create_private(path) as file:
            for _, record in source.scan():
                file.write(pickle.dumps(record, pickle.HIGHEST_PROTOCOL))
                offsets.append(file.tell())
        with _create_private(_offsets_path(path)) as file:
            offsets.tofile(file)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room, or take engine=threads"
        ) from error
    return SpooledRecords(path, name)


def _offsets_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.offsets")


def _create_private(path: Path) -> BinaryIO:
    """A new file for this user alone, since unpickling runs what a pickle says."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
