"""Compare index.json, stats.json, classes.json and failures.jsonl with what the shards contain."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from google_crc32c import extend
from numpy.typing import NDArray

from tfrec_stage.reading.columns import Columns
from tfrec_stage.shards.metadata_files import CLASSES_NAME, FAILURES_NAME, STATS_NAME, ClassCount
from tfrec_stage.verify.findings import Findings
from tfrec_stage.verify.frames import BrokenFrame
from tfrec_stage.verify.shards import JSON_ERRORS, Shard

_CHUNK_BYTES: Final = 1 << 20


@dataclass(slots=True)
class ShardCount:
    """What was counted in one shard."""

    shard: Shard
    records: int = 0
    """Records that can be read."""
    size_bytes: int = 0
    """Length of the file."""
    crc32c: str = ""
    """CRC32C of the file, eight hexadecimal digits."""
    is_broken: bool = False
    """Whether a defect of its frames was reported. Other differences from the index follow from that."""
    lost: int | None = 0
    """Records lost by these defects; None if their number cannot be known."""

    @property
    def missing(self) -> int:
        """Number of records by which the shard is short of its entry in the index."""
        return max(0, self.shard.entry.records - self.records) if self.shard.entry else 0

    def add_defect(self, frame: BrokenFrame) -> None:
        """Count the record that a defect of the framing loses, or all remaining ones."""
        self.is_broken = True
        if frame.is_lost and frame.is_last:
            self.lose_rest()
        elif frame.is_lost and self.lost is not None:
            self.lost += 1

    def lose_rest(self) -> None:
        """Count all records that were not read as lost; only the index knows how many they are."""
        self.is_broken = True
        self.lost = None if self.shard.entry is None else self.missing


@dataclass(slots=True)
class Totals:
    """What was counted in all records; the first four have the names of `stats.json`."""

    images: int = 0
    image_bytes: int = 0
    boxes: int = 0
    parts: int = 0
    class_images: Counter[int] = field(default_factory=Counter)
    """Images by label: those that have it as their class, or have a box with it, each counted once."""
    object_labels: Counter[int] = field(default_factory=Counter)
    """Boxes by label."""

    def add(self, columns: Columns) -> None:
        """Count a batch."""
        scalars, lists = columns.scalars, columns.lists
        self.images += columns.size
        self.image_bytes += sum(map(len, scalars["image/encoded"]))
        self.boxes += len(lists["image/object/bbox/xmin"].values)
        self.parts += len(lists["image/object/parts/x"].values)
        # Every record has these keys. With the defaults it states no class, so label 0 is not counted for it.
        label, text, conf = (scalars[f"image/class/{name}"] for name in ("label", "text", "conf"))
        has_class, boxes = (label != 0) | (text != b"") | (conf != 1), lists["image/object/bbox/label"]
        # Unique pairs of record and label: an image with several boxes of a class counts once.
        owners = np.concatenate([np.flatnonzero(has_class), boxes.owners])
        pairs = np.unique(np.stack([owners, np.concatenate([label[has_class], boxes.values])]), axis=1)
        self.class_images += _count(pairs[1])
        self.object_labels += _count(boxes.values)


def _count(labels: NDArray[np.int64]) -> Counter[int]:
    values, counts = np.unique(labels, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def checksum(path: Path) -> tuple[int, str]:
    """Return length and CRC32C of a file on disk.

    Raises:
        OSError: it cannot be read.
    """
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size, crc = size + len(chunk), extend(crc, chunk)
    return size, f"{crc:08x}"


def check_against_index(counts: Sequence[ShardCount], findings: Findings) -> bool:
    """Compare records, size and CRC32C of each shard with the index; return whether all agree."""
    owners = {count.shard.entry.crc32c: count.shard.name for count in counts if count.shard.entry}
    all_agree = True
    for count in counts:
        entry = count.shard.entry
        if entry is None:
            all_agree = False
            continue
        stated = {"records": entry.records, "size_bytes": entry.size_bytes, "crc32c": entry.crc32c}
        counted = {name: getattr(count, name) for name in stated}
        if counted == stated:
            continue
        all_agree = False
        # A damaged frame changes the checksum of the file too, but that is one defect, reported once.
        if count.is_broken:
            continue
        owner = owners.get(count.crc32c)
        if owner not in (None, count.shard.name):
            findings.add("shard_swapped", count.shard.name, f"its content is that of {owner}, as index.json has it")
            continue
        differing = [name for name in stated if stated[name] != counted[name]]
        shown = ", ".join(f"{name} {stated[name]} instead of {counted[name]}" for name in differing)
        findings.add("index_mismatch", count.shard.name, f"index.json says {shown}")
    return all_agree


@dataclass(frozen=True, slots=True)
class Failures:
    """The content of `failures.jsonl`."""

    ids: frozenset[str]
    """Ids of the records that failed."""
    by_reason: Mapping[str, int]
    """Number of failures by reason."""


def read_failures(directory: Path, findings: Findings) -> Failures | None:
    """Read `failures.jsonl`. Return None if it is missing, or if it is damaged, which is reported."""
    path = directory / FAILURES_NAME
    if not path.exists():
        return None
    ids, reasons = set(), Counter[str]()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        findings.add("failures_mismatch", FAILURES_NAME, f"expected a file of records, but: {error.strerror}")
        return None
    for number, line in enumerate(lines, 1):
        try:
            record = msgspec.json.decode(line)
            ids.add(str(record["id"]))
            reasons[record["reason"]] += 1
        except (*JSON_ERRORS, KeyError, TypeError) as error:
            findings.add(
                "failures_mismatch", FAILURES_NAME, f"line {number}: expected a record that failed, but: {error!r}"
            )
            return None
    return Failures(frozenset(ids), reasons)


def read_stats(directory: Path, findings: Findings) -> dict[str, Any] | None:
    """Read `stats.json`. Return None if it is missing, or if it is damaged, which is reported."""
    path = directory / STATS_NAME
    if not path.exists():
        return None
    try:
        stats = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        msgspec.convert(stats.get("notes", {}), dict[str, int])  # counts of transforms, which `check_pins` adds up
    except JSON_ERRORS as error:
        findings.add("stats_mismatch", STATS_NAME, f"expected what a build counted, but: {error}")
        return None
    return stats


def read_classes(directory: Path, findings: Findings) -> list[ClassCount] | None:
    """Read `classes.json`. Return None if it is missing, or if it is damaged, which is reported."""
    path = directory / CLASSES_NAME
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ClassCount])
    except JSON_ERRORS as error:
        findings.add("stats_mismatch", CLASSES_NAME, f"expected a list of classes, but: {error}")
        return None


def check_stats(stats: Mapping[str, Any], totals: Totals, findings: Findings) -> None:
    """Compare `stats.json` with what was counted."""
    for name in ("images", "image_bytes", "boxes", "parts"):
        value = getattr(totals, name)
        if stats.get(name) != value:
            message = f"{name}: the shards have {value}, but stats.json says {_short(stats.get(name))}"
            findings.add("stats_mismatch", STATS_NAME, message)


def check_classes(classes: Sequence[ClassCount], totals: Totals, findings: Findings) -> None:
    """Compare `classes.json` with what was counted; it may list classes of labels.json that no record has."""
    stated = {each.label: (each.images, each.boxes) for each in classes}
    if len(stated) < len(classes):
        findings.add("stats_mismatch", CLASSES_NAME, "expected each label once")
    counted = {label: (images, totals.object_labels[label]) for label, images in totals.class_images.items()}
    none = (0, 0)
    differing = [
        label for label in stated.keys() | counted.keys() if stated.get(label, none) != counted.get(label, none)
    ]
    if differing:
        label = min(differing)
        images, boxes = counted.get(label, none)
        more = f"; {len(differing) - 1} more labels differ" if len(differing) > 1 else ""
        message = f"label {label}: the shards have {images} images and {boxes} boxes of it, but classes.json says "
        findings.add(
            "stats_mismatch", CLASSES_NAME, f"{message}{' and '.join(map(str, stated.get(label, none)))}{more}"
        )


def check_failures(stats: Mapping[str, Any], failures: Failures, findings: Findings) -> None:
    """Compare the failures that `stats.json` counts with those in `failures.jsonl`."""
    listed = sum(failures.by_reason.values())
    if stats.get("failed") != listed:
        message = f"it lists {listed} records, but stats.json says that {stats.get('failed')} failed"
        findings.add("failures_mismatch", FAILURES_NAME, message)
    elif stats.get("failures") != dict(failures.by_reason):
        listed_reasons, stated_reasons = _short(dict(failures.by_reason)), _short(stats.get("failures"))
        message = f"its reasons are {listed_reasons}, but stats.json says {stated_reasons}"
        findings.add("failures_mismatch", FAILURES_NAME, message)


def _short(value: Any) -> str:
    # The value comes from the file, and may be anything of any length.
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
