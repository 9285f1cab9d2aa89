"""Counts over image records. They can be added, so each shard is counted by itself."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Final

from tfrec_stage.shards.metadata import RecordEntry


@dataclass(slots=True)
class Statistics:
    """Counts over image records, the same for any number of threads and for encoded, copied and linked shards."""

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
    """Images by label: those that have it as their class or have a box of it."""
    transforms: Counter[str] = field(default_factory=Counter)
    """Images by what was done to them, for example `reencoded`."""
    repaired: Counter[str] = field(default_factory=Counter)
    """Annotations repaired, by kind of repair, for example `boxes_clipped`."""
    duplicate_boxes: int = 0
    """Boxes that repeat an earlier one of their image and are stored nevertheless."""
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
        # An image counts once for each class, also if it has several boxes of it.
        classes = {*entry.object_labels} if entry.image_label is None else {*entry.object_labels, entry.image_label}
        for label in classes:
            self.class_images[label] += 1
        for transform in entry.transforms:
            self.transforms[transform] += 1
        self.repaired += Counter(entry.repaired) if entry.repaired else _NOTHING
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
        """Return plain values with sorted keys, for JSON."""
        values = {column.name: getattr(self, column.name) for column in fields(self)}
        return {_JSON_KEYS.get(name, name): _plain(value) for name, value in values.items()}

    def totals(self) -> dict[str, Any]:
        """Return the same without the counts by label."""
        return {name: value for name, value in self.as_dict().items() if name not in BY_LABEL}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Statistics":
        """Return the statistics that `as_dict` turned into plain values."""
        return cls(**{_FIELDS.get(key, key): _counter(key, value) for key, value in values.items()})


BY_LABEL: Final = ("image_labels", "object_labels", "class_images")
"""Counts whose keys are labels."""
# stats.json, which users track as metrics, and the sidecars of cached shards have these two fields under other names.
# Renamed keys would break comparisons with earlier commits, and no cached shard would be found (see DiskCache.find).
_JSON_KEYS: Final = {"transforms": "notes", "repaired": "mended"}
_FIELDS: Final = {key: name for name, key in _JSON_KEYS.items()}
_NOTHING: Final[Counter[str]] = Counter()


def _plain(value: Any) -> Any:
    return {str(key): value[key] for key in sorted(value)} if isinstance(value, Counter) else value


def _counter(key: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return Counter({int(label): count for label, count in value.items()} if key in BY_LABEL else value)
