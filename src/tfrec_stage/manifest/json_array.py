"""One JSON array of records: the classic form, held in memory."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.faults import UNDECODABLE, Faults, explain_json
from tfrec_stage.records import ImageRecord

_decode_record = msgspec.json.Decoder(ImageRecord).decode


class JsonArray:
    """A file of one JSON array; positions are indices."""

    def __init__(self, path: Path) -> None:
        self._path = path
        content = path.read_bytes()
        self._digest = sha256(content).hexdigest()
        try:
            self._records = msgspec.json.decode(content, type=list[msgspec.Raw])
        except UNDECODABLE as error:
            raise ManifestError(f"expected a JSON array of image records in {path}, but {error}") from error

    def __reduce__(self) -> tuple[type["JsonArray"], tuple[Path]]:
        """Worker processes read the file themselves."""
        return JsonArray, (self._path,)

    def scan(self) -> Iterator[tuple[int, ImageRecord]]:
        """See `RecordSource`."""
        faults = Faults(str(self._path))
        for position, record in enumerate(self._records):
            try:
                yield position, _decode_record(record)
            except UNDECODABLE as error:
                faults.add(self.where(position), explain_json(bytes(record), error))
        faults.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ImageRecord]:
        """See `RecordSource`."""
        return (_decode_record(self._records[position]) for position in positions)

    def original(self, position: int) -> dict[str, Any]:
        """See `RecordSource`."""
        return dict(msgspec.json.decode(self._records[position]))

    def digest(self) -> str:
        """See `RecordSource`."""
        return self._digest

    def where(self, position: int) -> str:
        """See `RecordSource`."""
        return f"$[{position}]"
