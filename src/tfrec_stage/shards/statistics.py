"""What a build counted; adds up, so that shards can be counted apart."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Final

from tfrec_stage.shards.metadata import RecordEntry


@dataclass(slots=True)
class Statistics:
    """Counts over image records. The same for every thread count and machine, and however a shard came about."""

    images: int = 0
    """Images encoded."""
    image_bytes: int = 0
    """Bytes of the images as stored."""
    boxes: int = 0
    """Bounding boxes."""
    parts: int = 0
    """Parts (keypoints), whatever their visibility."""
    image_labels: Counter[int] = field(default_factory=Counter)
    """Images by class label, for records that state one."""
    object_labels: Counter[int] = field(default_factory=Counter)
    """Boxes by label."""
    class_images: Counter[int] = field(default_factory=Counter)
    """Images by label: those that have it as their class, or have a box with it."""
    notes: Counter[str] = field(default_factory=Counter)
    """Images by what was done to them, for example `reencoded`."""
    mended: Counter[str] = field(default_factory=Counter)
    """Annotations mended, by what was done, for example `boxes_clipped`."""
    duplicate_boxes: int = 0
    """Boxes that repeat an earlier one of their image, stored as they are."""
    failed: int = 0
    """Images that failed."""
    failures: Counter[str] = field(default_factory=Counter)
    """Images that failed, by reason."""

    def add(self, entry: RecordEntry) -> None:
        """Count one record."""
        self.images += 1
        self.image_bytes += entry.image_bytes
        self.boxes += entry.boxes
        self.parts += entry.parts
        if entry.image_label is not None:
            self.image_labels[entry.image_label] += 1
        for label in entry.object_labels:
            self.object_labels[label] += 1
        classes = {*entry.object_labels} if entry.image_label is None else {*entry.object_labels, entry.image_label}
        for label in classes:
            self.class_images[label] += 1
        for note in entry.notes:
            self.notes[note] += 1
        self.mended += Counter(entry.mended) if entry.mended else _NOTHING
        self.duplicate_boxes += entry.duplicate_boxes

    def add_failure(self, reason: str) -> None:
        """Count one image that failed."""
        self.failed += 1
        self.failures[reason] += 1

    def __iadd__(self, other: "Statistics") -> "Statistics":
        for column in fields(self):
            setattr(self, column.name, getattr(self, column.name) + getattr(other, column.name))
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain values with sorted keys, for JSON."""
        return {column.name: _plain(getattr(self, column.name)) for column in fields(self)}

    def totals(self) -> dict[str, Any]:
        """What is a number or has a name: all but the counts by label."""
        return {name: value for name, value in self.as_dict().items() if name not in BY_LABEL}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Statistics":
        """What `as_dict` gave, taken back."""
        return cls(**{name: _counter(name, value) for name, value in values.items()})


BY_LABEL: Final = ("image_labels", "object_labels", "class_images")
"""Counts whose keys are numbers of classes."""
_NOTHING: Final[Counter[str]] = Counter()


def _plain(value: Any) -> Any:
    return {str(key): value[key] for key in sorted(value)} if isinstance(value, Counter) else value


def _counter(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return Counter({int(key): count for key, count in value.items()} if name in BY_LABEL else value)
