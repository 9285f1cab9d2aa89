"""One record a line: streamed, so that a manifest may be larger than memory."""

from collections.abc import Iterable, Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.faults import UNDECODABLE, Faults, explain_json
from tfrec_stage.records import ImageRecord

_decode_record = msgspec.json.Decoder(ImageRecord).decode


class JsonLines:
    """A file of one record a line; positions are byte offsets. Blank lines are passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)

    def scan(self) -> Iterator[tuple[int, ImageRecord]]:
        """See `RecordSource`."""
        faults = Faults(str(self._path))
        position = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    try:
                        yield position, _decode_record(line)
                    except UNDECODABLE as error:
                        faults.add(f"line {number}", explain_json(line, error))
                position += len(line)
        faults.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ImageRecord]:
        """See `RecordSource`."""
        with self._path.open("rb") as file:
            if _stamp(self._path) != self._stamp:
                raise ManifestError(f"{self._path} changed while it was being built from; run the build again")
            for position in positions:
                file.seek(position)
                yield _decode_record(file.readline())

    def original(self, position: int) -> dict[str, Any]:
        """See `RecordSource`."""
        with self._path.open("rb") as file:
            file.seek(position)
            return dict(msgspec.json.decode(file.readline()))

    def digest(self) -> str:
        """See `RecordSource`."""
        with self._path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()

    def where(self, position: int) -> str:
        """See `RecordSource`; counts lines, so only for messages."""
        with self._path.open("rb") as file:
            line_breaks = sum(chunk.count(b"\n") for chunk in _chunks(file, position))
        return f"line {line_breaks + 1}"


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        size -= len(chunk)
        yield chunk


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
