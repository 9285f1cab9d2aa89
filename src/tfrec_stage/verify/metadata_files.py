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
from tfrec_stage.verify.shards import UNDECODABLE, Shard

_PIECE: Final = 1 << 20


@dataclass(slots=True)
class ShardCount:
    """Counts of one shard."""

    shard: Shard
    records: int = 0
    """Records that can be read."""
    size_bytes: int = 0
    """Length of the file."""
    crc32c: str = ""
    """CRC32C of the file, eight hexadecimal digits."""
    is_broken: bool = False
    """Whether a defect of its frames has been reported, which explains everything else."""
    lost: int | None = 0
    """Records that cannot be read; None if their number cannot be known."""

    @property
    def absent(self) -> int:
        """Number of records in the index that were not found."""
        return max(0, self.shard.entry.records - self.records) if self.shard.entry else 0

    def note(self, frame: BrokenFrame) -> None:
        """Record a defect of its frames."""
        self.is_broken = True
        if frame.is_lost and frame.is_last:
            self.give_up()
        elif frame.is_lost and self.lost is not None:
            self.lost += 1

    def give_up(self) -> None:
        """Mark the rest as lost: as many records as the index has more than were read."""
        self.is_broken = True
        entry = self.shard.entry
        self.lost = None if entry is None else max(0, entry.records - self.records)


@dataclass(slots=True)
class Totals:
    """Counts over all records, under the names of `stats.json`."""

    images: int = 0
    image_bytes: int = 0
    boxes: int = 0
    parts: int = 0
    class_images: Counter[int] = field(default_factory=Counter)
    """Images by label: those that have it as their class, or have a box with it."""
    object_labels: Counter[int] = field(default_factory=Counter)
    """Boxes by label."""

    def add(self, columns: Columns) -> None:
        """Count a batch."""
        scalars, lists = columns.scalars, columns.lists
        self.images += columns.size
        self.image_bytes += sum(map(len, scalars["image/encoded"]))
        self.boxes += len(lists["image/object/bbox/xmin"].values)
        self.parts += len(lists["image/object/parts/x"].values)
        # A record without a class has the defaults.
        label, text, conf = (scalars[f"image/class/{name}"] for name in ("label", "text", "conf"))
        stated, boxes = (label != 0) | (text != b"") | (conf != 1), lists["image/object/bbox/label"]
        owners = np.concatenate([np.flatnonzero(stated), boxes.owners])
        pairs = np.unique(np.stack([owners, np.concatenate([label[stated], boxes.values])]), axis=1)
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
        while piece := file.read(_PIECE):
            size, crc = size + len(piece), extend(crc, piece)
    return size, f"{crc:08x}"


def check_against_index(counts: Sequence[ShardCount], log: Findings) -> bool:
    """Compare records, size and CRC32C of each shard with the index; return whether all agree."""
    owners = {count.shard.entry.crc32c: count.shard.name for count in counts if count.shard.entry}
    is_same = True
    for count in counts:
        entry = count.shard.entry
        if entry is None:
            is_same = False
            continue
        stated = {"records": entry.records, "size_bytes": entry.size_bytes, "crc32c": entry.crc32c}
        got = {name: getattr(count, name) for name in stated}
        if got == stated:
            continue
        is_same = False
        if count.is_broken:
            continue
        owner = owners.get(count.crc32c)
        if owner not in (None, count.shard.name):
            log.add("shard_swapped", count.shard.name, f"its content is that of {owner}, as index.json has it")
            continue
        differing = [name for name in stated if stated[name] != got[name]]
        said = ", ".join(f"{name} {stated[name]} instead of {got[name]}" for name in differing)
        log.add("index_mismatch", count.shard.name, f"index.json says {said}")
    return is_same


@dataclass(frozen=True, slots=True)
class Failures:
    """The content of `failures.jsonl`."""

    ids: frozenset[str]
    """Of the records that failed."""
    by_reason: Mapping[str, int]


def read_failures(directory: Path, log: Findings) -> Failures | None:
    """Read `failures.jsonl`; None if it is missing, or damaged, which is reported."""
    path = directory / FAILURES_NAME
    if not path.exists():
        return None
    ids, reasons = set(), Counter[str]()
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        log.add("failures_mismatch", FAILURES_NAME, f"expected a file of records, but: {error.strerror}")
        return None
    for number, line in enumerate(lines, 1):
        try:
            record = msgspec.json.decode(line)
            ids.add(str(record["id"]))
            reasons[record["reason"]] += 1
        except (*UNDECODABLE, KeyError, TypeError) as error:
            log.add("failures_mismatch", FAILURES_NAME, f"line {number}: expected a record that failed, but: {error!r}")
            return None
    return Failures(frozenset(ids), reasons)


def read_stats(directory: Path, log: Findings) -> dict[str, Any] | None:
    """Read `stats.json`; None if it is missing, or damaged, which is reported."""
    path = directory / STATS_NAME
    if not path.exists():
        return None
    try:
        stats = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        msgspec.convert(stats.get("notes", {}), dict[str, int])
    except UNDECODABLE as error:
        log.add("stats_mismatch", STATS_NAME, f"expected what a build counted, but: {error}")
        return None
    return stats


def read_classes(directory: Path, log: Findings) -> list[ClassCount] | None:
    """Read `classes.json`; None if it is missing, or damaged, which is reported."""
    path = directory / CLASSES_NAME
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ClassCount])
    except UNDECODABLE as error:
        log.add("stats_mismatch", CLASSES_NAME, f"expected a list of classes, but: {error}")
        return None


def check_stats(stats: Mapping[str, Any], totals: Totals, log: Findings) -> None:
    """Compare `stats.json` with what was counted."""
    for name in ("images", "image_bytes", "boxes", "parts"):
        value = getattr(totals, name)
        if stats.get(name) != value:
            message = f"{name}: the shards have {value}, but stats.json says {_short(stats.get(name))}"
            log.add("stats_mismatch", STATS_NAME, message)


def check_classes(classes: Sequence[ClassCount], totals: Totals, log: Findings) -> None:
    """Compare `classes.json` with what was counted; classes that no record has may be listed or not."""
    stated = {each.label: (each.images, each.boxes) for each in classes}
    if len(stated) < len(classes):
        log.add("stats_mismatch", CLASSES_NAME, "expected each label once")
    counted = {label: (images, totals.object_labels[label]) for label, images in totals.class_images.items()}
    nothing = (0, 0)
    differing = [
        label for label in stated.keys() | counted.keys() if stated.get(label, nothing) != counted.get(label, nothing)
    ]
    if differing:
        label = min(differing)
        images, boxes = counted.get(label, nothing)
        more = f"; {len(differing) - 1} more labels differ" if len(differing) > 1 else ""
        message = f"label {label}: the shards have {images} images and {boxes} boxes of it, but classes.json says "
        log.add("stats_mismatch", CLASSES_NAME, f"{message}{' and '.join(map(str, stated.get(label, nothing)))}{more}")


def check_failures(stats: Mapping[str, Any], failures: Failures, log: Findings) -> None:
    """Compare the failures that `stats.json` counts with those in `failures.jsonl`."""
    listed = sum(failures.by_reason.values())
    if stats.get("failed") != listed:
        message = f"it lists {listed} records, but stats.json says that {stats.get('failed')} failed"
        log.add("failures_mismatch", FAILURES_NAME, message)
    elif stats.get("failures") != dict(failures.by_reason):
        found, stated = _short(dict(failures.by_reason)), _short(stats.get("failures"))
        log.add("failures_mismatch", FAILURES_NAME, f"its reasons are {found}, but stats.json says {stated}")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
