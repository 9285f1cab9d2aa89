"""Encode an image record and its image as the bytes of an Example.

Source: `tfrecord/example.py`, which describes the messages.
"""

import struct
from collections.abc import Iterable
from typing import Final

from tfrec_stage.errors import RecordError
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.records import ImageRecord
from tfrec_stage.schema.fields import IMAGE_KEY, Field
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames
from tfrec_stage.schema.options import SchemaOptions, fields_of
from tfrec_stage.tfrecord.example import LIST_ENCODERS, bytes_entry_header, entry_header, example_header, key_field

MAX_CACHED_BYTES: Final = 1024
"""Headers of lists with fewer bytes are cached; larger lists are rare and of many sizes."""

# What encoding raises for lone surrogates in a text, and for numbers that do not fit 64 bits or a 32-bit float.
_UNSTORABLE: Final = (ValueError, OverflowError, RecursionError, struct.error)


class ExampleEncoder:
    """Encodes records with the same keys.

    An Example comes in three pieces, with the image in the middle. The image is neither copied nor inspected: the bytes
    object that it was read into is written to the shard.
    """

    def __init__(self, options: SchemaOptions, names: KeypointNames = NO_NAMES) -> None:
        # Entries are sorted by key, as in `SerializeToString(deterministic=True)`: the order decides the bytes.
        fields = sorted(fields_of(options, names), key=lambda field: field.key)
        self._before = _EntryEncoder(field for field in fields if field.key < IMAGE_KEY)
        self._after = _EntryEncoder(field for field in fields if field.key > IMAGE_KEY)
        self._image_key = key_field(IMAGE_KEY)
        self._stores_images = options.store_images

    def encode(self, record: ImageRecord, image: EncodedImage) -> tuple[bytes, bytes, bytes]:
        """Return the bytes before the image, the image, and the bytes after it; joined they are the Example.

        Raises:
            RecordError: a text is not valid Unicode or a number does not fit its kind.
        """
        before, after = self._before.encode(record, image), self._after.encode(record, image)
        data = image.data if self._stores_images else b""
        before += bytes_entry_header(self._image_key, len(data))
        # The length of the whole message comes first, so it is known only after both sides are encoded.
        return example_header(len(before) + len(data) + len(after)) + before, data, after


class _EntryEncoder:
    """Encodes the entries of some fields, one after the other."""

    def __init__(self, fields: Iterable[Field]) -> None:
        # The header of an entry depends only on its key and the size of its list, and takes longer to encode than most
        # lists. So each field has a cache of headers by size.
        self._fields = [
            (field, field.values, LIST_ENCODERS[field.kind], key_field(field.key), dict[int, bytes]())
            for field in fields
        ]

    def encode(self, record: ImageRecord, image: EncodedImage) -> bytes:
        pieces: list[bytes] = []
        for field, values_of, encode_list, key, headers in self._fields:
            try:
                values = values_of(record, image)
                data = encode_list(values) if values else b""
            except _UNSTORABLE as error:
                raise RecordError("annotation_invalid", f"{field.key}: this value cannot be stored: {error}") from error
            size = len(data)
            header = headers.get(size)
            if header is None:
                header = entry_header(key, field.kind, size)
                if size < MAX_CACHED_BYTES:
                    headers[size] = header
            pieces += (header, data)
        return b"".join(pieces)
