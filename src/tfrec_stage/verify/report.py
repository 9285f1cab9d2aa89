"""What came of a verification: `verify.json`, and the lines that people read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tfrec_stage.files import write_file
from tfrec_stage.verify.findings import FaultLog

FAULT_LIMIT: Final = 1000
"""How many faults, lost ids and warnings are kept; all are counted."""

CHECKS: Final = (
    "frames",
    "records",
    "images",
    "annotations",
    "ids",
    "index",
    "stats",
    "classes",
    "failures",
    "manifest",
    "contents",
    "pins",
    "fingerprints",
    "splits",
)
"""Everything that can be checked, in the order of telling."""


@dataclass(slots=True)
class Report:
    """What came of a verification."""

    name: str
    """The split."""
    log: FaultLog = field(default_factory=lambda: FaultLog(FAULT_LIMIT))
    """What is wrong."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Checks that were not made, with the reason."""
    counts: dict[str, int] = field(default_factory=dict)
    """`shards`, `records` and `bytes`, as far as they can be read."""
    lost_ids: list[str] = field(default_factory=list)
    """Ids of the records that cannot be read, as the manifest tells."""
    warnings: list[str] = field(default_factory=list)
    """What is no fault of the shards."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """See `census.Census`."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.log.total

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; the same for the same files."""
        return {
            "name": self.name,
            "sound": self.is_sound,
            "checks": [check for check in CHECKS if check not in self.left_out],
            "left_out": dict(self.left_out),
            "counts": self.counts,
            "faults": self.log.as_dict(),
            "lost_ids": self.lost_ids[:FAULT_LIMIT],
            "warnings": self.warnings[:FAULT_LIMIT],
            "statistics": self.statistics,
        }

    def summary(self) -> Iterator[str]:
        """A few lines for people."""
        faults = f"{self.log.total:,} fault{'s' if self.log.total > 1 else ''}"
        verdict = "sound" if self.is_sound else faults
        counts = self.counts
        yield (
            f"{self.name}: {counts['records']:,} records in {counts['shards']:,} shards, "
            f"{counts['bytes'] / 1e6:,.1f} MB: {verdict}"
        )
        yield f"  checked: {', '.join(check for check in CHECKS if check not in self.left_out)}"
        for check, reason in self.left_out.items():
            yield f"  left out: {check}: {reason}"


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write plain values as readable JSON, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())
