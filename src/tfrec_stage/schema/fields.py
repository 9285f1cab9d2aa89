"""The keys of stored records, and the encoding of a record with its image as an Example.

Every key is in every record: a list may be empty, but its kind is set; a scalar has exactly one value. Otherwise
readers fail (`FixedLenFeature`, DALI, PyTorch readers).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as option
from enum import Enum
from typing import Final, cast

from tfrec_stage.errors import ConfigError, RecordError
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.options import check_types
from tfrec_stage.records import ImageRecord
from tfrec_stage.schema.extra import extra_text
from tfrec_stage.schema.field import Field, Profile, utf8, utf8_list
from tfrec_stage.schema.od_api import NO_NAMES, OD_API_FIELDS, KeypointNames, od_api_fields
from tfrec_stage.schema.tfds import TFDS_FIELDS
from tfrec_stage.tfrecord.example import (
    LIST_ENCODERS,
    Kind,
    bytes_entry_header,
    entry_header,
    example_header,
    key_field,
)

__all__ = [
    "FIELDS",
    "OD_API_FIELDS",
    "TFDS_FIELDS",
    "AreaUnit",
    "ExampleEncoder",
    "Field",
    "SchemaOptions",
    "fields_of",
]

IMAGE_KEY: Final = "image/encoded"
AREA_KEY: Final = "image/object/area"
KEPT_SIZES: Final = 1024
"""Headers of lists with fewer bytes are cached; larger lists are rare and of many sizes."""

_UNSTORABLE: Final = (ValueError, OverflowError, RecursionError, struct.error)


class AreaUnit(Enum):
    """Unit of `image/object/area`."""

    normalized = "normalized"
    """Divided by width times height."""
    pixels = "pixels"
    """Square pixels of the stored image, as in COCO and as the Object Detection API's metrics expect."""


@dataclass
class SchemaOptions:
    """Which keys a record has. Output options: they change the bytes of shards."""

    od_api_keys: bool = False
    """Older name of the profile `od_api`."""
    profiles: list[Profile] = option(default_factory=list)
    """What to prepare the shards for, besides plain TFRecord readers."""
    area: AreaUnit = AreaUnit.normalized
    """Unit of `image/object/area`."""
    store_images: bool = True
    """False leaves `image/encoded` empty; readers then load `image/filename`."""

    def __post_init__(self) -> None:
        check_types(self, "encode")
        if len(set(self.profiles)) < len(self.profiles):
            names = ", ".join(profile.name for profile in self.profiles)
            raise ConfigError(f"encode.profiles: expected each once, but got [{names}]")

    @property
    def active_profiles(self) -> tuple[Profile, ...]:
        """All profiles, each once, including `od_api` if `od_api_keys` is set."""
        return tuple(dict.fromkeys([*self.profiles, *([Profile.od_api] if self.od_api_keys else [])]))


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


def fields_of(options: SchemaOptions, names: KeypointNames = NO_NAMES) -> tuple[Field, ...]:
    """The keys that a record has under these options, in the order of the README's table.

    Args:
        options: which keys are wanted.
        names: of the parts of objects, for the profile `od_api`.
    """
    fields = FIELDS if options.area is AreaUnit.normalized else tuple(map(_with_area_in_pixels, FIELDS))
    if Profile.od_api in options.active_profiles:
        fields += od_api_fields(names)
    if Profile.tfds in options.active_profiles:
        fields += TFDS_FIELDS
    return fields


def _with_area_in_pixels(field: Field) -> Field:
    return field._replace(values=_areas_in_pixels) if field.key == AREA_KEY else field


def _areas_in_pixels(record: ImageRecord, image: EncodedImage) -> list[float]:
    return [area * image.width * image.height for area in record.object.area]


class ExampleEncoder:
    """Image record + encoded image → the bytes of its Example, in three pieces around the image.

    The image is neither copied nor looked at: it goes from where it was read straight to the kernel.
    """

    def __init__(self, options: SchemaOptions, names: KeypointNames = NO_NAMES) -> None:
        fields = sorted(fields_of(options, names), key=lambda field: field.key)
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
        before += bytes_entry_header(self._image_key, len(data))
        return example_header(len(before) + len(data) + len(after)) + before, data, after


class _Entries:
    """Entries of some fields, one after the other.

    What stands before a list depends on its size alone and takes longer to make than the list, so it is kept.
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self._fields = [
            (field, field.values, LIST_ENCODERS[field.kind], key_field(field.key), dict[int, bytes]())
            for field in fields
        ]

    def encode(self, record: ImageRecord, image: EncodedImage) -> bytes:
        pieces: list[bytes] = []
        for field, values_of, to_data, key, heads in self._fields:
            try:
                values = values_of(record, image)
                data = to_data(values) if values else b""
            except _UNSTORABLE as error:
                raise RecordError("annotation_invalid", f"{field.key}: this value cannot be stored: {error}") from error
            size = len(data)
            head = heads.get(size)
            if head is None:
                head = entry_header(key, field.kind, size)
                if size < KEPT_SIZES:
                    heads[size] = head
            pieces += (head, data)
        return b"".join(pieces)
