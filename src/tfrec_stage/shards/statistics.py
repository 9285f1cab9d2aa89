"""What a build counted; adds up, so that shards can be counted apart."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from tfrec_stage.records import ImageClass
from tfrec_stage.shards.encoder import EncodedRecord, FailedRecord

_NO_CLASS = ImageClass()


@dataclass(slots=True)
class Statistics:
    """Counts over image records. The same for every thread count and machine."""

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
    notes: Counter[str] = field(default_factory=Counter)
    """Images by what was done to them, for example `reencoded`."""
    mended: Counter[str] = field(default_factory=Counter)
    """Annotations mended, by what was done, for example `boxes_clipped`."""
    failed: int = 0
    """Images that failed."""
    failures: Counter[str] = field(default_factory=Counter)
    """Images that failed, by reason."""

    def add(self, outcome: EncodedRecord | FailedRecord) -> None:
        """Count one record."""
        if isinstance(outcome, FailedRecord):
            self.failed += 1
            self.failures[outcome.reason] += 1
        else:
            self._add_encoded(outcome)

    def _add_encoded(self, encoded: EncodedRecord) -> None:
        record, objects = encoded.record, encoded.record.object
        self.images += 1
        self.image_bytes += len(encoded.payload[1])
        self.boxes += len(objects.bbox.xmin)
        self.parts += len(objects.parts.x)
        if record.class_ != _NO_CLASS:
            self.image_labels[int(record.class_.label)] += 1
        self.object_labels.update(map(int, objects.bbox.label))
        self.notes.update(encoded.image.notes)
        self.mended += encoded.mended

    def __iadd__(self, other: "Statistics") -> "Statistics":
        for column in fields(self):
            setattr(self, column.name, getattr(self, column.name) + getattr(other, column.name))
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain values with sorted keys, for JSON."""
        return {column.name: _plain(getattr(self, column.name)) for column in fields(self)}


def _plain(value: Any) -> Any:
    return {str(key): value[key] for key in sorted(value)} if isinstance(value, Counter) else value
