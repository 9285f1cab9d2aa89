"""Records that failed, from where they fail to where they are told, without holding them in memory.

Each task writes the failures of its shard into a file of its own; the log joins these files, and gives the failures
back in the manifest's order, each with the record as it was given.
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

from tfrec_stage.build.fingerprint import KeyMaker
from tfrec_stage.files import write_error
from tfrec_stage.manifest.source import RecordSource

EXAMPLES: Final = 3
"""How many failures of each reason are kept to be shown."""


class Failure(NamedTuple):
    """One record that is in no shard."""

    position: int
    """Where the source finds it."""
    key: str
    """Its key as planned, in hexadecimal."""
    reason: str
    """One of `errors.REASONS`."""
    message: str
    """Why, for people."""


@dataclass(slots=True)
class FailureSummary:
    """What is told of failures, however many there are."""

    by_reason: Counter[str] = field(default_factory=Counter)
    """How many failed, by reason."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first of each reason in the manifest's order, as `id: message`."""

    def __len__(self) -> int:
        return self.by_reason.total()

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a failed record."""
        reason = record["reason"]
        self.by_reason[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(f"{record['id']}: {record['error_msg']}")


class FailureWriter:
    """The failures of one task, a line each in a file that is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, failure: Failure) -> None:
        """Write one.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            if self._file is None:
                self._file = self._path.open("wb")
            # Python's json takes lone surrogates, which a message may quote from a file's name.
            self._file.write(json.dumps(failure).encode() + b"\n")
        except OSError as error:
            raise write_error(self._path, error) from error


class FailureLog:
    """The failures of all tasks: 16 bytes of memory each, the rest in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._positions = array("Q")
        self._offsets = array("Q")
        self._size = 0

    def __len__(self) -> int:
        return len(self._positions)

    def take(self, path: Path) -> None:
        """Take over what a `FailureWriter` wrote, if it wrote anything, and remove its file.

        Raises:
            OutputError: the log cannot be written.
        """
        if not path.exists():
            return
        try:
            with path.open("rb") as lines, self._path.open("ab") as log:
                for line in lines:
                    self._positions.append(_parse(line).position)
                    self._offsets.append(self._size)
                    self._size += log.write(line)
            path.unlink()
        except OSError as error:
            raise write_error(self._path, error) from error

    def records(self, source: RecordSource, keys: KeyMaker) -> Iterator[dict[str, Any]]:
        """Copies of the records as given, each with `error_msg` and `reason`, in the manifest's order.

        Args:
            source: where the records are.
            keys: makes the keys that tell whether they are still the same.

        Raises:
            ManifestError: the source changed meanwhile.
        """
        if not len(self):
            return
        with self._path.open("rb") as log:
            for number in sorted(range(len(self)), key=self._positions.__getitem__):
                log.seek(self._offsets[number])
                failure = _parse(log.readline())
                values, record = source.original(failure.position)
                keys.compare(record, bytes.fromhex(failure.key), source, failure.position)
                yield {**values, "error_msg": failure.message, "reason": failure.reason}


def _parse(line: bytes) -> Failure:
    return Failure(*json.loads(line))
