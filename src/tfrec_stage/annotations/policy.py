"""What a record's annotations say: checked against each other and against the image, and settled by policy.

Judged per image, so that one bent annotation fails one image and not the build. Nearly all records are plain, which
takes a few comparisons to see; only the others are walked value by value, and told every fault at once.
"""

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from msgspec.structs import replace

from tfrec_stage.annotations.duplicates import find_duplicates
from tfrec_stage.annotations.fast_path import is_plain
from tfrec_stage.annotations.repair import clip_objects, drop_degenerate, drop_duplicates, snap_rounding
from tfrec_stage.annotations.rules import degenerate_faults, range_faults, value_faults
from tfrec_stage.errors import RecordError
from tfrec_stage.options import check_types
from tfrec_stage.records import ImageRecord


class OutOfRange(Enum):
    """What becomes of coordinates outside [0, 1]."""

    error = "error"
    """The image fails."""
    clip = "clip"
    """Boxes are cut at the edge of the image, parts outside it become invisible (v = 0)."""


class DegenerateBoxes(Enum):
    """What becomes of boxes without area, and of reversed ones."""

    error = "error"
    """The image fails."""
    keep = "keep"
    """They are stored as they are."""
    drop = "drop"
    """The object goes, with its parts."""


class DuplicateBoxes(Enum):
    """What becomes of boxes that repeat a box of their image; see `find_duplicates`."""

    keep = "keep"
    """They are stored as they are, and counted."""
    drop = "drop"
    """The first stays; the later objects go, with their parts."""


@dataclass
class AnnotationPolicy:
    """What to do with annotations out of bounds or there twice. Identity options: they change the bytes of shards."""

    out_of_range: OutOfRange = OutOfRange.error
    """Coordinates outside [0, 1]. What sticks out by a twentieth of a pixel is rounding, and is moved to the edge."""
    degenerate_boxes: DegenerateBoxes = DegenerateBoxes.error
    """Boxes with no area, or reversed."""
    duplicate_boxes: DuplicateBoxes = DuplicateBoxes.keep
    """Boxes with the label and the edges of an earlier one in the same image, once snapped and clipped."""

    def __post_init__(self) -> None:
        check_types(self, "annotations")


class Settled(NamedTuple):
    """Annotations that may be stored."""

    record: ImageRecord
    """The record; the same object where nothing was done."""
    mended: Counter[str]
    """How many values or boxes were mended, by what was done; see `mending.MENDED`."""
    duplicate_boxes: int = 0
    """How many boxes repeat an earlier one of the image, and were kept."""


_NOTHING: Counter[str] = Counter()  # shared, and never added to


def settle_annotations(record: ImageRecord, policy: AnnotationPolicy, width: int, height: int) -> Settled:
    """Annotations that may be stored, mended where the policy says so.

    Args:
        record: as it was read.
        policy: what to do with boxes out of bounds.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Raises:
        RecordError: they contradict each other or the image; the message names every fault with its path.
    """
    if is_plain(record) and record.width in (None, width) and record.height in (None, height):
        return _settle_duplicates(record, policy, _NOTHING)
    mended: Counter[str] = Counter()
    extra = record.extra
    objects = snap_rounding(record.object, width, height, mended)
    faults = value_faults(record, width, height)
    if policy.out_of_range is OutOfRange.error:
        faults += range_faults(objects)
    elif not faults:
        objects = clip_objects(objects, mended)
    if policy.degenerate_boxes is DegenerateBoxes.error:
        faults += degenerate_faults(objects.bbox)
    if faults:
        raise RecordError("annotation_invalid", "; ".join(faults))
    if policy.degenerate_boxes is DegenerateBoxes.drop:
        objects, extra = drop_degenerate(objects, extra, mended)
    mended = +mended
    return _settle_duplicates(replace(record, object=objects, extra=extra) if mended else record, policy, mended)


def _settle_duplicates(record: ImageRecord, policy: AnnotationPolicy, mended: Counter[str]) -> Settled:
    duplicates = find_duplicates(record.object)
    if not duplicates:
        return Settled(record, mended)
    if policy.duplicate_boxes is DuplicateBoxes.keep:
        return Settled(record, mended, len(duplicates))
    mended = mended.copy()
    objects, extra = drop_duplicates(record.object, record.extra, {*duplicates}, mended)
    return Settled(replace(record, object=objects, extra=extra), mended)
