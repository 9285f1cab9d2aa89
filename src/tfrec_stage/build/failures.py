"""Image records that failed, on their whole way through a build.

    record_encoder ──FailedRecord──▶ shard_task ──FailureWriter──▶ one file per shard
    ──FailureLog──▶ failures.jsonl and FailureSummary ──FailureLimit──▶ the build is kept or rejected

A build may have a million failures, so only a few numbers per failure are held in memory.
"""

import json
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

from tfrec_stage.build.fingerprint import KeyMaker
from tfrec_stage.cache.shard_cache import ShardCache
from tfrec_stage.errors import ConfigError
from tfrec_stage.files import write_error
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.options import show
from tfrec_stage.shards.metadata import FailedImage
from tfrec_stage.shards.metadata_files import indexed_shards
from tfrec_stage.shards.statistics import Statistics

EXAMPLES: Final = 3
"""How many failures of each reason are kept as examples."""


class FailedRecord(NamedTuple):
    """Why one record could not be encoded."""

    reason: str
    """One of `errors.REASONS`; stable, for programs."""
    message: str
    """The explanation for people."""
    image: FailedImage | None = None
    """What later builds may know of its image, if the reason is the content of the image."""


class Failure(NamedTuple):
    """One record that is in no shard. A line of a task's failure file."""

    position: int
    """Where the source finds the record."""
    key: str
    """Its key in the manifest index, in hexadecimal."""
    reason: str
    """One of `errors.REASONS`."""
    message: str
    """The explanation for people."""


class FailureWriter:
    """Writes the failures of one task to a file, one per line. The file is created with the first failure."""

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
        """Write one failure.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            if self._file is None:
                self._file = self._path.open("wb")
            # json and not msgspec: a message may quote a file name with lone surrogates, which msgspec refuses.
            self._file.write(json.dumps(failure).encode() + b"\n")
        except OSError as error:
            raise write_error(self._path, error) from error


class FailureLog:
    """The failures of all tasks. Each takes 16 bytes of memory; the rest lies in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._positions = array("Q")
        self._offsets = array("Q")
        self._size = 0

    def __len__(self) -> int:
        return len(self._positions)

    def collect(self, path: Path) -> None:
        """Append what a `FailureWriter` wrote to the log and remove its file; do nothing if there is no file.

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
        """Iterate over copies of the failed records as given, with `error_msg` and `reason`, in the manifest's order.

        Args:
            source: the records.
            keys: makes the keys that show whether a record is still the one that failed.

        Raises:
            ManifestError: the source changed during the build.
        """
        if not len(self):
            return
        with self._path.open("rb") as log:
            # Tasks finish in any order, so the log is read by position, not from front to end.
            for number in sorted(range(len(self)), key=self._positions.__getitem__):
                log.seek(self._offsets[number])
                failure = _parse(log.readline())
                values, record = source.original(failure.position)
                keys.compare(record, bytes.fromhex(failure.key), source, failure.position)
                yield {**values, "error_msg": failure.message, "reason": failure.reason}


@dataclass(slots=True)
class FailureSummary:
    """The failures of a build in a few lines, however many there are."""

    by_reason: Counter[str] = field(default_factory=Counter)
    """Number of failures by reason."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first failures of each reason in the manifest's order, as `id: message`."""

    def __len__(self) -> int:
        return self.by_reason.total()

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a failed record, as `FailureLog.records` gives it."""
        reason = record["reason"]
        self.by_reason[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(f"{record['id']}: {record['error_msg']}")


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many images may fail: a number, or a percentage of all images."""

    text: str
    """The option `max_failures` as given, for example `10` or `0.5%`."""

    def __post_init__(self) -> None:
        self.allowed(0)

    def allowed(self, images: int) -> int:
        """Return how many of `images` may fail; a percentage is rounded down.

        >>> FailureLimit("0.5%").allowed(1000)
        5

        Raises:
            ConfigError: the text is neither a number nor a percentage.
        """
        text = self.text.strip()
        is_percentage, number = text.endswith("%"), text.removesuffix("%")
        try:
            limit = float(number) if is_percentage else int(number)
        except ValueError:
            limit = -1
        if not 0 <= limit <= (100 if is_percentage else math.inf):
            raise ConfigError(
                f"max_failures: expected a number or a percentage such as 0.1%, but got {show(self.text)}"
            )
        # As floats, 0.57 % of 10,000 is 56.999…, and one failure too few would be allowed.
        return int(Fraction(repr(limit)) * images / 100) if is_percentage else int(limit)


def reason_to_reject(
    limit: FailureLimit | None, statistics: Statistics, output_directory: Path, cache: ShardCache
) -> str | None:
    """Return why a build must not replace the output directory; None if it may.

    Args:
        limit: how many images may fail; None allows any number, as long as records are not replaced by none.
        statistics: counts over the new build.
        output_directory: the directory to replace.
        cache: what is known of earlier builds of that directory.
    """
    failed, total = statistics.failed, statistics.images + statistics.failed
    counts = f"{failed:,} of {total:,} images failed"
    if limit is not None:
        return None if failed <= limit.allowed(total) else f"{counts}, more than max_failures={limit.text} allows"
    # If all images fail, most likely a disk is not mounted or images_root is wrong.
    earlier = None if statistics.images else _earlier_build_with_records(output_directory, cache)
    return f"{counts}, and {earlier} has records" if earlier else None


def _earlier_build_with_records(output_directory: Path, cache: ShardCache) -> str | None:
    """Describe the earlier build that has records and would be replaced, if there is one.

    The cache is asked as well as the directory: in a DVC stage the directory has been removed before the build, but the
    cache would drop the earlier shards once this build becomes the latest.
    """
    if any(records for records, _ in indexed_shards(output_directory).values()):
        return "the build that is there"
    shards = map(cache.find, cache.latest_build().fingerprints)
    is_cached = any(shard.metadata.records for shard in shards if shard is not None)
    return "the latest build in the shard cache" if is_cached else None


def _parse(line: bytes) -> Failure:
    return Failure(*json.loads(line))
