"""Counts of records, sums of shards, and their JSON."""

import json
from collections import Counter

from tfrec_stage.shards.metadata import RecordEntry
from tfrec_stage.shards.statistics import Statistics


def entry(**changes: object) -> RecordEntry:
    """The entry of an image of 100 bytes without annotations, with some fields changed."""
    position = {"offset": 0, "size_bytes": 1, "inflated_offset": 0}
    empty = {"boxes": 0, "parts": 0, "image_label": None, "object_labels": [], "transforms": (), "repaired": {}}
    return RecordEntry(**{"key": "", "image_bytes": 100, **position, **empty, **changes})


def counted() -> Statistics:
    """Statistics of three records and two failures; no count stays 0."""
    statistics = Statistics()
    statistics.add(entry(boxes=2, parts=34, image_label=0, object_labels=[10, 2], transforms=("rotated", "reencoded")))
    statistics.add(
        entry(image_bytes=7, boxes=3, parts=1, image_label=0, object_labels=[2, 2, 2], transforms=("reencoded",))
    )
    statistics.add(entry(repaired={"boxes_clipped": 3, "areas_clipped": 1}, duplicate_boxes=2))
    statistics.add_failure("image_corrupt")
    statistics.add_failure("image_corrupt")
    return statistics


COUNTS = {
    "images": 3,
    "image_bytes": 207,
    "boxes": 5,
    "parts": 35,
    "image_labels": {"0": 2},
    "object_labels": {"2": 4, "10": 1},
    "class_images": {"0": 2, "2": 2, "10": 1},
    "notes": {"reencoded": 2, "rotated": 1},
    "mended": {"areas_clipped": 1, "boxes_clipped": 3},
    "duplicate_boxes": 2,
    "failed": 2,
    "failures": {"image_corrupt": 2},
}


def test_every_record_counts_once() -> None:
    """Each record adds to every count it belongs to; label 0 is a class, and a record may have none."""
    assert counted().as_dict() == COUNTS


def test_json_has_its_keys_in_order() -> None:
    """Keys are in the order of the fields and labels in numerical order, so equal counts give equal text."""
    statistics = Statistics(object_labels=Counter({10: 1, 2: 4}), transforms=Counter({"rotated": 1, "reencoded": 2}))
    assert json.dumps(statistics.as_dict()) == (
        '{"images": 0, "image_bytes": 0, "boxes": 0, "parts": 0, "image_labels": {}, '
        '"object_labels": {"2": 4, "10": 1}, "class_images": {}, "notes": {"reencoded": 2, "rotated": 1}, '
        '"mended": {}, "duplicate_boxes": 0, "failed": 0, "failures": {}}'
    )


def test_counts_add_up() -> None:
    """Adding sums every count and does not change what was added."""
    total, other = counted(), counted()
    other.add(entry(image_label=5, object_labels=[7], repaired={"areas_clipped": 1}))
    before = other.as_dict()
    total += other
    assert other.as_dict() == before
    assert total.as_dict() == {
        "images": 7,
        "image_bytes": 514,
        "boxes": 10,
        "parts": 70,
        "image_labels": {"0": 4, "5": 1},
        "object_labels": {"2": 8, "7": 1, "10": 2},
        "class_images": {"0": 4, "2": 4, "5": 1, "7": 1, "10": 2},
        "notes": {"reencoded": 4, "rotated": 2},
        "mended": {"areas_clipped": 3, "boxes_clipped": 6},
        "duplicate_boxes": 4,
        "failed": 4,
        "failures": {"image_corrupt": 4},
    }


def test_json_comes_back() -> None:
    """Counts survive JSON: labels are integers again, and counting can go on."""
    again = Statistics.from_dict(json.loads(json.dumps(counted().as_dict())))
    assert again == counted()
    again += counted()
    assert again.object_labels == {2: 8, 10: 2}
    again.transforms["new"] += 1
    assert again.transforms["new"] == 1


def test_new_counts_are_empty() -> None:
    """Statistics share no counters."""
    counted()
    assert Statistics().as_dict() == {name: {} if isinstance(value, dict) else 0 for name, value in COUNTS.items()}
