"""The keys of a record: image record + encoded image → the features of its Example.

Every key stands on every record: a list may be empty, but its kind is set; a scalar holds exactly one value.
Readers break otherwise (`FixedLenFeature`, DALI, PyTorch readers).
"""

import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import field as option
from hashlib import sha256
from typing import Any, Final, NamedTuple, cast

from tfrec_stage.codecs.example import (
    LIST_DATA,
    Kind,
    Values,
    encode_entry_before,
    entry_head,
    example_header,
    key_field,
)
from tfrec_stage.codecs.image import EncodedImage
from tfrec_stage.codecs.parallel import areas_in_pixels, corners, one_a_box
from tfrec_stage.codecs.profiles import Profile
from tfrec_stage.errors import RecordError
from tfrec_stage.records import ImageRecord

IMAGE_KEY: Final = "image/encoded"
KEPT_SIZES: Final = 1024
"""Lists of fewer bytes have what stands before them kept; larger ones are rare and of many sizes."""

_UNSTORABLE: Final = (ValueError, OverflowError, RecursionError, struct.error)


@dataclass
class SchemaOptions:
    """Which keys a record has. Identity options: they change the bytes of a shard."""

    od_api_keys: bool = False
    """Write the further keys that the TensorFlow Object Detection API reads; the profile `od_api` writes them too."""
    profiles: list[Profile] = option(default_factory=list)
    """Consumers to prepare the shards for."""
    store_images: bool = True
    """False leaves `image/encoded` empty; readers then load `image/filename`."""


class Field(NamedTuple):
    """One key of every record."""

    key: str
    kind: Kind
    is_scalar: bool
    """Exactly one value, else a list of any length."""
    values: Callable[[ImageRecord, EncodedImage], Values]
    meaning: str
    """With unit and range, as the README's table gives it."""


def _text(value: str) -> list[bytes]:
    return [value.encode()]


def _texts(values: list[Any]) -> list[bytes]:
    return [value.encode() for value in values]


def _filename(record: ImageRecord) -> list[bytes]:
    # A file's name may be any bytes; Python carries those that are not UTF-8 as lone surrogates.
    return [record.filename.encode(errors="surrogateescape")]


def _extra(record: ImageRecord) -> list[bytes]:
    extra = record.extra
    # Sorted keys, so that equal values give equal bytes however they were written.
    return _text(
        extra if isinstance(extra, str) else json.dumps(extra, ensure_ascii=False, sort_keys=True, allow_nan=False)
    )


_BYTES, _FLOAT, _INT64 = Kind.BYTES, Kind.FLOAT, Kind.INT64

FIELDS: Final = (
    Field("image/id", _BYTES, True, lambda r, _: _text(str(r.id)), "identifier of the image"),
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
    Field("image/colorspace", _BYTES, True, lambda _, i: _text(i.colorspace), "colour space, `RGB`"),
    Field("image/channels", _INT64, True, lambda _, i: [i.channels], "number of channels, 3"),
    Field(
        "image/format",
        _BYTES,
        True,
        lambda _, i: _text(i.format),
        "format of the image, `JPEG`; with `store_images: false` that of the file",
    ),
    Field("image/extra", _BYTES, True, lambda r, _: _extra(r), "anything else: a string, or JSON text"),
    Field(
        "image/class/label",
        _INT64,
        True,
        lambda r, _: [int(r.class_.label)],
        "index of the image's class, from 0",
    ),
    Field("image/class/text", _BYTES, True, lambda r, _: _text(r.class_.text), "name of the image's class"),
    Field("image/class/conf", _FLOAT, True, lambda r, _: [r.class_.conf], "confidence of that label"),
    Field("image/object/count", _INT64, True, lambda r, _: [r.object.size], "number of objects"),
    Field(
        "image/object/area",
        _FLOAT,
        False,
        lambda r, _: r.object.area,
        "area of each object, over width times height",
    ),
    Field("image/object/id", _BYTES, False, lambda r, _: _texts(r.object.id), "identifier of each object"),
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
        lambda r, _: _texts(r.object.bbox.text),
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

OD_API_FIELDS: Final = (
    Field("image/source_id", _BYTES, True, lambda r, _: _text(str(r.id)), "the same as `image/id`"),
    Field(
        "image/key/sha256",
        _BYTES,
        True,
        lambda _, i: _text(sha256(i.data).hexdigest()),
        "digest of `image/encoded`",
    ),
    Field(
        "image/object/class/label",
        _INT64,
        False,
        lambda r, _: cast("list[int]", r.object.bbox.label),
        "as the box's",
    ),
    Field("image/object/class/text", _BYTES, False, lambda r, _: _texts(r.object.bbox.text), "as the box's"),
    Field(
        "image/object/is_crowd",
        _INT64,
        False,
        lambda r, _: r.object.is_crowd,
        "1 where a box covers a crowd, else 0",
    ),
)

TFDS_FIELDS: Final = (
    Field(
        "objects/bbox",
        _FLOAT,
        False,
        lambda r, _: corners(r.object.bbox),
        "ymin, xmin, ymax, xmax of each box, four numbers a box",
    ),
    Field(
        "objects/label",
        _INT64,
        False,
        lambda r, _: one_a_box(r.object, cast("list[int]", r.object.bbox.label), -1),
        "class of each box, from 0; -1 without one",
    ),
    Field(
        "objects/area",
        _FLOAT,
        False,
        lambda r, i: areas_in_pixels(r.object, i.width, i.height),
        "area in square pixels; that of the box where none is stated",
    ),
    Field(
        "objects/is_crowd",
        _INT64,
        False,
        lambda r, _: one_a_box(r.object, r.object.is_crowd, 0),
        "1 where a box covers a crowd, else 0",
    ),
    Field(
        "objects/id",
        _BYTES,
        False,
        lambda r, _: one_a_box(r.object, _texts(r.object.id), b""),
        "identifier of each box; empty without one",
    ),
)
"""The objects as the builders of TensorFlow Datasets have them: lists that run in parallel, one entry a box."""


def fields_of(options: SchemaOptions) -> tuple[Field, ...]:
    """The keys that a record has under these options, in the order of the README's table."""
    fields: tuple[Field, ...] = FIELDS
    if options.od_api_keys or Profile.od_api in options.profiles:
        fields += OD_API_FIELDS
    if Profile.tfds in options.profiles:
        fields += TFDS_FIELDS
    return fields


class RecordEncoder:
    """Image record + encoded image → the bytes of its Example, in three pieces around the image.

    The image is neither copied nor looked at: it goes from where it was read straight to the kernel.
    """

    def __init__(self, options: SchemaOptions) -> None:
        fields = sorted(fields_of(options), key=lambda field: field.key)
        self._before = _Entries(field for field in fields if field.key < IMAGE_KEY)
        self._after = _Entries(field for field in fields if field.key > IMAGE_KEY)
        self._image_key = key_field(IMAGE_KEY)
        self._stores_images = options.store_images

    def encode(self, record: ImageRecord, image: EncodedImage) -> tuple[bytes, bytes, bytes]:
        """Head, image and tail; joined they are the Example.

        Raises:
            RecordError: a text is not valid Unicode or a number does not fit its kind.
        """
        before, after = self._before.encode(record, image), self._after.encode(record, image)
        data = image.data if self._stores_images else b""
        before += encode_entry_before(self._image_key, len(data))
        return example_header(len(before) + len(data) + len(after)) + before, data, after


class _Entries:
    """Entries of some fields, one after the other.

    What stands before a list depends on its size alone and takes longer to make than the list, so it is kept.
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self._fields = [(field, LIST_DATA[field.kind], key_field(field.key), dict[int, bytes]()) for field in fields]

    def encode(self, record: ImageRecord, image: EncodedImage) -> bytes:
        pieces: list[bytes] = []
        for field, to_data, key, heads in self._fields:
            try:
                data = to_data(field.values(record, image))
            except _UNSTORABLE as error:
                raise RecordError("annotation_invalid", f"{field.key}: this value cannot be stored: {error}") from error
            head = heads.get(len(data))
            if head is None:
                head = entry_head(key, field.kind, len(data))
                if len(data) < KEPT_SIZES:
                    heads[len(data)] = head
            pieces += (head, data)
        return b"".join(pieces)
