"""Counts of a build: record by record, shard by shard, and as JSON."""

import json
from collections import Counter

from tfrec_stage.shards.metadata import RecordEntry
from tfrec_stage.shards.statistics import Statistics


def entry(**changes: object) -> RecordEntry:
    """An image of 100 bytes without annotations, but for what is changed."""
    place = {"offset": 0, "size_bytes": 1, "inflated_offset": 0}
    nothing = {"boxes": 0, "parts": 0, "image_label": None, "object_labels": [], "notes": (), "mended": {}}
    return RecordEntry(**{"key": "", "image_bytes": 100, **place, **nothing, **changes})


def counted() -> Statistics:
    """Three records and two failures, which touch every count."""
    statistics = Statistics()
    statistics.add(entry(boxes=2, parts=34, image_label=0, object_labels=[10, 2], notes=("rotated", "reencoded")))
    statistics.add(entry(image_bytes=7, boxes=3, parts=1, image_label=0, object_labels=[2, 2, 2], notes=("reencoded",)))
    statistics.add(entry(mended={"boxes_clipped": 3, "areas_clipped": 1}, duplicate_boxes=2))
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
    """Images, bytes, annotations, labels, notes and failures; a record without a class has no label, 0 is one."""
    assert counted().as_dict() == COUNTS


def test_json_has_its_keys_in_order() -> None:
    """Fields as they are declared, labels by their number: the same counts give the same text."""
    statistics = Statistics(object_labels=Counter({10: 1, 2: 4}), notes=Counter({"rotated": 1, "reencoded": 2}))
    assert json.dumps(statistics.as_dict()) == (
        '{"images": 0, "image_bytes": 0, "boxes": 0, "parts": 0, "image_labels": {}, '
        '"object_labels": {"2": 4, "10": 1}, "class_images": {}, "notes": {"reencoded": 2, "rotated": 1}, '
        '"mended": {}, "duplicate_boxes": 0, "failed": 0, "failures": {}}'
    )


def test_counts_add_up() -> None:
    """Two shards together have the sum of every count, and the one that was added is as it was."""
    total, other = counted(), counted()
    other.add(entry(image_label=5, object_labels=[7], mended={"areas_clipped": 1}))
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
    """Read back, counts are the same and can be added to: labels are numbers, notes and reasons are texts."""
    again = Statistics.from_dict(json.loads(json.dumps(counted().as_dict())))
    assert again == counted()
    again += counted()
    assert again.object_labels == {2: 8, 10: 2}
    again.notes["new"] += 1
    assert again.notes["new"] == 1


def test_new_counts_are_empty() -> None:
    """Nothing is shared: what one counted, another does not know."""
    counted()
    assert Statistics().as_dict() == {name: {} if isinstance(value, dict) else 0 for name, value in COUNTS.items()}
