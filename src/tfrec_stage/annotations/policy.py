"""Validate the annotations of a record against each other and against the image, and repair what the policy allows.

An invalid annotation fails only its own image. Nearly all records are valid, which a few comparisons show
(fast_path.py). Only the others are checked value by value (rules.py), and all their problems are reported together.
"""

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from msgspec.structs import replace

from tfrec_stage.annotations.fast_path import passes_fast_path
from tfrec_stage.annotations.repair import (
    clip_objects,
    drop_degenerate,
    drop_duplicates,
    find_duplicates,
    snap_rounding,
)
from tfrec_stage.annotations.rules import degenerate_problems, range_problems, value_problems
from tfrec_stage.errors import RecordError
from tfrec_stage.options import check_types
from tfrec_stage.records import ImageRecord


class OutOfRange(Enum):
    """What to do with coordinates outside [0, 1]."""

    error = "error"
    """The image fails."""
    clip = "clip"
    """Boxes are clipped to the image; keypoints outside it become invisible (v = 0)."""


class DegenerateBoxes(Enum):
    """What to do with boxes that have no area or are reversed."""

    error = "error"
    """The image fails."""
    keep = "keep"
    """They are stored unchanged."""
    drop = "drop"
    """The object is removed, with its keypoints."""


class DuplicateBoxes(Enum):
    """What to do with boxes that repeat an earlier one of the image; see `find_duplicates`."""

    keep = "keep"
    """They are stored unchanged, and counted."""
    drop = "drop"
    """Only the first object is kept; later ones are removed, with their keypoints."""


@dataclass
class AnnotationPolicy:
    """What to do with out-of-range, degenerate or duplicate annotations. Output options: they change the bytes."""

    out_of_range: OutOfRange = OutOfRange.error
    """Coordinates outside [0, 1]. Up to a twentieth of a pixel is taken for rounding and moved to the edge."""
    degenerate_boxes: DegenerateBoxes = DegenerateBoxes.error
    """Boxes that have no area or are reversed."""
    duplicate_boxes: DuplicateBoxes = DuplicateBoxes.keep
    """Boxes with the label and edges of an earlier one in the same image, after snapping and clipping."""

    def __post_init__(self) -> None:
        check_types(self, "annotations")


class ValidationResult(NamedTuple):
    """Annotations that can be stored."""

    record: ImageRecord
    """The record; the same object if nothing was repaired."""
    repaired: Counter[str]
    """How many values or boxes were repaired, by what was done; see `repair.REPAIRS`."""
    duplicate_boxes: int = 0
    """How many boxes repeat an earlier one of the image and were kept."""


_NO_REPAIRS: Counter[str] = Counter()  # shared by all results, so nothing may be added to it


def validate_annotations(record: ImageRecord, policy: AnnotationPolicy, width: int, height: int) -> ValidationResult:
    """Validate annotations, and repair what the policy allows.

    Args:
        record: as it was read.
        policy: what to repair.
        width: width of the image in pixels.
        height: height of the image in pixels.

    Raises:
        RecordError: they contradict each other or the image; the message lists every problem with its path.
    """
    if passes_fast_path(record) and record.width in (None, width) and record.height in (None, height):
        return _handle_duplicates(record, policy, _NO_REPAIRS)
    repaired: Counter[str] = Counter()
    extra = record.extra
    # Rounding is snapped before the checks, since no policy counts it as out of range. Clipping and dropping need lists
    # of the right lengths, so they come after.
    objects = snap_rounding(record.object, width, height, repaired)
    problems = value_problems(record, width, height)
    if policy.out_of_range is OutOfRange.error:
        problems += range_problems(objects)
    elif not problems:
        objects = clip_objects(objects, repaired)
    if policy.degenerate_boxes is DegenerateBoxes.error:
        problems += degenerate_problems(objects.bbox)
    if problems:
        raise RecordError("annotation_invalid", "; ".join(problems))
    if policy.degenerate_boxes is DegenerateBoxes.drop:
        objects, extra = drop_degenerate(objects, extra, repaired)
    repaired = +repaired  # without the zeros that repairs add
    return _handle_duplicates(replace(record, object=objects, extra=extra) if repaired else record, policy, repaired)


def _handle_duplicates(record: ImageRecord, policy: AnnotationPolicy, repaired: Counter[str]) -> ValidationResult:
    duplicates = find_duplicates(record.object)
    if not duplicates:
        return ValidationResult(record, repaired)
    if policy.duplicate_boxes is DuplicateBoxes.keep:
        return ValidationResult(record, repaired, len(duplicates))
    repaired = repaired.copy()  # it may be the shared `_NO_REPAIRS`
    objects, extra = drop_duplicates(record.object, record.extra, {*duplicates}, repaired)
    return ValidationResult(replace(record, object=objects, extra=extra), repaired)
