"""The keys of every record: their names, kinds, and where their values come from.

Every key is in every record: a list may be empty, but its kind is set; a scalar has exactly one value. Otherwise
readers fail (`FixedLenFeature`, DALI, PyTorch readers).
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, cast

from tfrec_stage.errors import RecordError
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.records import ImageRecord
from tfrec_stage.tfrecord.example import Kind, Values

IMAGE_KEY: Final = "image/encoded"
AREA_KEY: Final = "image/object/area"

_NOT_JSON: Final = (TypeError, ValueError, RecursionError)


class Field(NamedTuple):
    """One key of every record."""

    key: str
    kind: Kind
    is_scalar: bool
    """Whether it has exactly one value; otherwise it is a list of any length."""
    values: Callable[[ImageRecord, EncodedImage], Values]
    meaning: str
    """Description with unit and range, for the README's table."""


def utf8(value: str) -> list[bytes]:
    """Encode the value of a key that has one text."""
    return [value.encode()]


def utf8_list(values: Iterable[str]) -> list[bytes]:
    """Encode the values of a key that has one text per object."""
    return [value.encode() for value in values]


def extra_text(extra: Any) -> str:
    """Return the text of `image/extra`: a string unchanged, any other value as JSON.

    Raises:
        RecordError: the value cannot be stored as JSON, for example bytes or NaN; the message has its path.
    """
    if isinstance(extra, str):
        return extra
    try:
        return _dump(extra)
    except _NOT_JSON as error:
        raise RecordError("annotation_invalid", f"image/extra: {_explain(extra, '$.extra') or error}") from error


def _dump(value: Any) -> str:
    # Keys are sorted, so that equal values give equal bytes, whatever the order in the manifest.
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _explain(value: Any, path: str) -> str | None:
    """Find the first value inside that is not JSON, and describe it with its path; None if there is none."""
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    # Children first: a container fails because of what it contains, and the innermost path is the most precise.
    # The recursion ends: records with more than `records.MAX_NESTING` levels are malformed and never come here.
    for where, child in children:
        if found := _explain(child, where):
            return found
    try:
        _dump(value)
    except _NOT_JSON as error:
        return f"`{path}`: this value cannot be stored as JSON: {error}"
    return None


def _filename(record: ImageRecord) -> list[bytes]:
    # A file name may be any bytes; Python represents those that are not UTF-8 as lone surrogates.
    return [record.filename.encode(errors="surrogateescape")]


_BYTES, _FLOAT, _INT64 = Kind.BYTES, Kind.FLOAT, Kind.INT64

FIELDS: Final = (
    Field("image/id", _BYTES, True, lambda r, _: utf8(str(r.id)), "identifier of the image"),
    Field(
        "image/filename",
        _BYTES,
        True,
        lambda r, _: _filename(r),
        "path of the image file, as the manifest has it",
    ),
    Field(
        IMAGE_KEY,
        _BYTES,
        True,
        lambda _, i: [i.data],
        "the image: an RGB JPEG; empty with `store_images: false`",
    ),
    Field("image/height", _INT64, True, lambda _, i: [i.height], "height in pixels"),
    Field("image/width", _INT64, True, lambda _, i: [i.width], "width in pixels"),
    Field("image/colorspace", _BYTES, True, lambda _, i: utf8(i.colorspace), "colour space, `RGB`"),
    Field("image/channels", _INT64, True, lambda _, i: [i.channels], "number of channels, 3"),
    Field(
        "image/format",
        _BYTES,
        True,
        lambda _, i: utf8(i.format),
        "format of the image, `JPEG`; with `store_images: false` that of the file",
    ),
    Field("image/extra", _BYTES, True, lambda r, _: utf8(extra_text(r.extra)), "anything else: a string, or JSON text"),
    Field(
        "image/class/label",
        _INT64,
        True,
        lambda r, _: [int(r.class_.label)],
        "index of the image's class, from 0",
    ),
    Field("image/class/text", _BYTES, True, lambda r, _: utf8(r.class_.text), "name of the image's class"),
    Field("image/class/conf", _FLOAT, True, lambda r, _: [r.class_.conf], "confidence of that label"),
    Field("image/object/count", _INT64, True, lambda r, _: [r.object.size], "number of objects"),
    Field(
        AREA_KEY,
        _FLOAT,
        False,
        lambda r, _: r.object.area,
        "area of each object, over width times height; in pixels with `encode.area: pixels`",
    ),
    Field(
        "image/object/id",
        _BYTES,
        False,
        lambda r, _: utf8_list(cast("list[str]", r.object.id)),
        "identifier of each object",
    ),
    Field(
        "image/object/bbox/xmin",
        _FLOAT,
        False,
        lambda r, _: r.object.bbox.xmin,
        "left edge of each box, over width",
    ),
    Field("image/object/bbox/xmax", _FLOAT, False, lambda r, _: r.object.bbox.xmax, "right edge, over width"),
    Field("image/object/bbox/ymin", _FLOAT, False, lambda r, _: r.object.bbox.ymin, "top edge, over height"),
    Field("image/object/bbox/ymax", _FLOAT, False, lambda r, _: r.object.bbox.ymax, "bottom edge, over height"),
    Field("image/object/bbox/score", _FLOAT, False, lambda r, _: r.object.bbox.score, "score of each box"),
    Field(
        "image/object/bbox/label",
        _INT64,
        False,
        lambda r, _: cast("list[int]", r.object.bbox.label),
        "class of each box, from 0",
    ),
    Field(
        "image/object/bbox/text",
        _BYTES,
        False,
        lambda r, _: utf8_list(r.object.bbox.text),
        "name of each box's class",
    ),
    Field(
        "image/object/bbox/conf",
        _FLOAT,
        False,
        lambda r, _: r.object.bbox.conf,
        "confidence of each box's label",
    ),
    Field(
        "image/object/parts/x",
        _FLOAT,
        False,
        lambda r, _: r.object.parts.x,
        "position of each part, over width",
    ),
    Field(
        "image/object/parts/y",
        _FLOAT,
        False,
        lambda r, _: r.object.parts.y,
        "position of each part, over height",
    ),
    Field(
        "image/object/parts/v",
        _INT64,
        False,
        lambda r, _: r.object.parts.v,
        "0 not in image, 1 occluded, 2 visible",
    ),
    Field("image/object/parts/score", _FLOAT, False, lambda r, _: r.object.parts.score, "score of each part"),
)
"""The keys that every record has, in the order of the README's table."""
