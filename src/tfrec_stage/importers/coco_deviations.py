"""Convert entries of COCO files that deviate from the specification.

What is unambiguous is read: integral floats, null, a missing box that a polygon or a mask gives. Anything else raises
`AnnotationError`, which says what is wrong with the entry.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard, TypeVar

import msgspec

from tfrec_stage.importers.coco_file import Annotation, Category, DerivedAnnotation, Image, Key
from tfrec_stage.importers.interface import AnnotationError
from tfrec_stage.importers.shapes import Box, Segmentation, points_box, segmentation_area, segmentation_box
from tfrec_stage.text_files import is_utf8

T = TypeVar("T")

_SHOWN: Final = 80
"""Characters of a value that a message shows."""
NO_BOX: Final = "expected 4 numbers in `bbox`, or an outline or visible keypoints to derive them from, but got {}"
"""Message for an object without a box."""


def to_image(entry: Any) -> Image:
    """Convert one of `images`; a size of 0 means unknown, and `coco_url` replaces a missing `file_name`.

    Raises:
        AnnotationError: it is not an image.
    """
    values = _expect_object(entry)
    name = values.get("file_name") or values.get("coco_url")
    if not isinstance(name, str):
        raise AnnotationError(f"expected `file_name` or `coco_url`, but got {show(name)}")
    return Image(_to_key(values, "id"), name, _to_size(values, "width"), _to_size(values, "height"))


def to_category(entry: Any) -> Category:
    """Convert one of `categories`; a missing name becomes an empty one.

    Raises:
        AnnotationError: it is not a category.
    """
    values = _expect_object(entry)
    name, keypoints = values.get("name"), values.get("keypoints") or []
    if not isinstance(keypoints, list):
        raise AnnotationError(f"expected a list of names in `keypoints`, but got {show(keypoints)}")
    texts = ["" if name is None else str(name), *map(str, keypoints)]
    if not all(map(is_utf8, texts)):
        raise AnnotationError(f"expected names in UTF-8, but got {show(texts)}")
    return Category(_to_key(values, "id"), texts[0], tuple(texts[1:]))


def to_annotation(entry: Any) -> Annotation:
    """Convert one of `annotations`; a missing box is derived from the segmentation, else from the visible keypoints.

    Raises:
        AnnotationError: it is not an annotation, or a number that is needed is not finite.
    """
    values = _expect_object(entry)
    image_id, category_id = _to_key(values, "image_id"), _to_key(values, "category_id")
    key = None if values.get("id") is None else _to_key(values, "id")
    area, is_crowd, keypoints = _to_area(values), _to_flag(values, "iscrowd"), _to_keypoints(values)
    box = _to_box(values)
    if box is not None:
        area = _to_segmentation_area(values) if area is None else area
        return Annotation(image_id, category_id, key, box, area, is_crowd, keypoints)
    derived, source = _derive_box(values, keypoints)
    if derived is not None:
        # A class of its own: where another file states the box of this annotation, that one is used instead.
        area = _to_segmentation_area(values) if area is None else area
        return DerivedAnnotation(image_id, category_id, key, derived, area, is_crowd, keypoints, source=source)
    if values.get("bbox") or values.get("segmentation") or keypoints:
        raise AnnotationError(NO_BOX.format(show(values.get("bbox"))))
    return Annotation(image_id, category_id, key, None, area, is_crowd)


def find_key(entry: Any, name: str) -> Key | None:
    """Return an id of an entry; None if there is none or it is malformed."""
    try:
        return _to_key(entry, name)
    except (AnnotationError, AttributeError, TypeError):
        return None


def _expect_object(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise AnnotationError(f"expected an object with names and values, but got {show(entry)}")
    return entry


def _to_key(values: Mapping[str, Any], name: str) -> Key:
    value = values.get(name)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    # `True` is an int to Python, and would pass for the id 1.
    if isinstance(value, bool) or not isinstance(value, int | str) or not is_utf8(str(value)):
        raise AnnotationError(f"expected an integer or a text in `{name}`, but got {show(value)}")
    return value


def _to_size(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if not value:
        return None  # some tools write 0 for what they do not know
    if not _is_finite(value) or not 1 <= value < 2**31 or value != int(value):
        raise AnnotationError(f"expected a whole number of pixels in `{name}`, but got {show(value)}")
    return int(value)


def _to_flag(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    if value is None:
        return 0
    if not isinstance(value, int | float) or value not in {0, 1}:
        raise AnnotationError(f"expected 0 or 1 in `{name}`, but got {show(value)}")
    return int(value)


def _to_area(values: Mapping[str, Any]) -> float | None:
    value = values.get("area")
    if value is not None and not _is_finite(value):
        raise AnnotationError(f"expected a finite number in `area`, but got {show(value)}")
    return None if value is None else float(value)


def _to_keypoints(values: Mapping[str, Any]) -> tuple[float, ...]:
    value = values.get("keypoints") or []
    if not isinstance(value, list) or not all(map(_is_finite, value)):
        raise AnnotationError(f"expected a list of finite numbers in `keypoints`, but got {show(value)}")
    return tuple(map(float, value))


def _to_box(values: Mapping[str, Any]) -> Box | None:
    """Return the box; None if it has to be derived.

    A list of another length or with other values counts as missing; a number that is not finite is a problem.
    """
    value = values.get("bbox")
    numbers = value if isinstance(value, list) else []
    if any(_is_number(each) and not _is_finite(each) for each in numbers):
        raise AnnotationError(f"expected 4 finite numbers in `bbox`, but got {show(value)}")
    if len(numbers) != 4 or not all(map(_is_finite, numbers)):
        return None
    x, y, width, height = map(float, numbers)
    return x, y, width, height


def _derive_box(values: Mapping[str, Any], keypoints: tuple[float, ...]) -> tuple[Box | None, str]:
    """Return the box and what it was derived from; None if there is nothing to derive it from."""
    from_segmentation = _measure(segmentation_box, values)
    if from_segmentation is not None:
        return from_segmentation, "outlines"
    visible = [(x, y) for x, y, v in zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=False) if v]
    return points_box([x for x, _ in visible], [y for _, y in visible]), "keypoints"


def _to_segmentation_area(values: Mapping[str, Any]) -> float | None:
    """Return the area of the segmentation; None if there is none."""
    return _measure(segmentation_area, values) or None


def _measure(measure: Callable[[Segmentation], T], values: Mapping[str, Any]) -> T:
    value = values.get("segmentation") or None
    if isinstance(value, list) and _is_number(value[0]):
        value = [value]  # a single polygon that is not in a list
    try:
        measured = measure(msgspec.convert(value, Segmentation))
    except ValueError as error:  # msgspec.ValidationError is one, too
        raise AnnotationError(f"`segmentation`: {error}") from None
    numbers = measured if isinstance(measured, tuple) else (measured or 0,)
    if not all(map(_is_finite, numbers)):
        raise AnnotationError(f"expected finite numbers in `segmentation`, but got {show(value)}")
    return measured


def _is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number; Booleans, which are integers to Python, are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number that a float can hold; NaN fails the comparison."""
    return _is_number(value) and abs(value) <= sys.float_info.max


def show(value: object) -> str:
    """Return a value for a message, shortened if it is long."""
    text = "nothing" if value is None else repr(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
