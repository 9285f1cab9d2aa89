"""The result of a verification: the content of `verify.json`, and the summary that is printed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tfrec_stage.files import write_file
from tfrec_stage.verify.findings import Findings

FINDINGS_LIMIT: Final = 1000
"""How many findings, lost ids and warnings are kept; all findings are counted."""

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
"""All checks, in the order in which they are reported."""


@dataclass(slots=True)
class Report:
    """The result of a verification."""

    name: str
    """Name of the split."""
    findings: Findings = field(default_factory=lambda: Findings(FINDINGS_LIMIT))
    """What is wrong."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Checks that were not made, with the reason."""
    counts: dict[str, int] = field(default_factory=dict)
    """`shards`, `records` and `bytes` that could be read."""
    lost_ids: list[str] = field(default_factory=list)
    """Ids of the records that could not be read; the manifest knows them."""
    warnings: list[str] = field(default_factory=list)
    """What is unusual, but valid."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """As returned by `DatasetStatistics.as_dict`."""

    @property
    def is_sound(self) -> bool:
        """Whether there are no findings."""
        return not self.findings.total

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON. The same files give the same values."""
        return {
            "name": self.name,
            "sound": self.is_sound,
            "checks": [check for check in CHECKS if check not in self.skipped],
            # `left_out` (skipped checks) and `faults` (findings) are older words: programs read these keys.
            "left_out": dict(self.skipped),
            "counts": self.counts,
            "faults": self.findings.as_dict(),
            "lost_ids": self.lost_ids[:FINDINGS_LIMIT],
            "warnings": self.warnings[:FINDINGS_LIMIT],
            "statistics": self.statistics,
        }

    def summary(self) -> Iterator[str]:
        """Iterate over the lines to print."""
        total = self.findings.total
        verdict = "sound" if self.is_sound else f"{total:,} finding{'s' if total > 1 else ''}"
        counts = self.counts
        yield (
            f"{self.name}: {counts['records']:,} records in {counts['shards']:,} shards, "
            f"{counts['bytes'] / 1e6:,.1f} MB: {verdict}"
        )
        yield f"  checked: {', '.join(check for check in CHECKS if check not in self.skipped)}"
        for check, reason in self.skipped.items():
            yield f"  skipped: {check}: {reason}"


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write plain values as indented JSON, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())
