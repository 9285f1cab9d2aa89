"""Manifests: image records in a file or a list, behind one interface.

A manifest is a JSON Lines file (streamed, one record per line), a file with one JSON array (held in memory as lines),
or a list of dicts from Python. A record is read again by its *position*: the byte offset of its line, or its index.

    source        the interface of all manifests
    json_lines    manifest files
    record_list   lists of dicts from Python
    spool         records of this process's memory, for worker processes
    parsing       JSON or Python values → image record, or its problems
    json_values   Python values → what JSON can hold
    problems      problems of all records, raised in one error
"""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from tfrec_stage.errors import ManifestError
from tfrec_stage.files import atomic_writer
from tfrec_stage.manifest.json_lines import JsonArray, JsonLines
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.records import ImageRecord


def open_manifest(path: Path) -> RecordSource:
    """The manifest at `path`, whether it is JSON Lines or one JSON array.

    Raises:
        ManifestError: the file cannot be read, or begins like a JSON array and is not one. Problems of records are
            raised by `scan`.
    """
    try:
        with path.open("rb") as file:
            first = _first_byte(file)
        # A line holds an object, never an array, so the first byte tells the two forms apart.
        if first == b"[":
            return JsonArray(path)
    except OSError as error:
        raise ManifestError(f"expected a manifest at {path}, but {error.strerror or error}") from error
    return JsonLines(path)


def write_manifest(path: Path, records: Iterable[ImageRecord]) -> int:
    """Write records as JSON Lines; the file appears whole or not at all.

    Returns:
        Number of records.
    """
    count = 0
    with atomic_writer(path) as file:
        for record in records:
            file.write(msgspec.json.encode(record) + b"\n")
            count += 1
    return count


def _first_byte(file: BinaryIO) -> bytes:
    """First byte that is not whitespace; empty at the end of the file."""
    while (byte := file.read(1)).isspace():
        pass
    return byte
