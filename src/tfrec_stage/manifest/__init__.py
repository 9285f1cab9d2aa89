"""Image records ↔ file.

Three sources, one interface: a JSON Lines file (streamed, one record a line), one JSON array (the classic form,
held in memory) and a list of dicts from Python. A record is found again by its *position*: the byte offset of
its line, or its index.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.files import atomic_writer
from tfrec_stage.manifest.json_array import JsonArray
from tfrec_stage.manifest.json_lines import JsonLines
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.records import ImageRecord


def open_manifest(path: Path) -> RecordSource:
    """The manifest at `path`, in whichever form it has.

    Raises:
        ManifestError: it cannot be read, or holds no JSON.
    """
    try:
        with path.open("rb") as file:
            first = _first_byte(file)
        if first == b"[":
            return JsonArray(path)
    except OSError as error:
        raise ManifestError(f"expected a manifest at {path}, but {error.strerror or error}") from error
    return JsonLines(path)


def write_manifest(path: Path, records: Iterable[ImageRecord]) -> int:
    """Write records as JSON Lines, beside their place and renamed into it; the number of records."""
    count = 0
    with atomic_writer(path) as file:
        for record in records:
            file.write(msgspec.json.encode(record) + b"\n")
            count += 1
    return count


def _first_byte(file: BinaryIO) -> bytes:
    while (byte := file.read(1)).isspace():
        pass
    return byte
