"""tf.train.Example: features ↔ wire bytes, without TensorFlow.

The messages, as far as they matter here:

    Example   { Features features = 1; }
    Features  { map<string, Feature> feature = 1; }     an entry is a message: key = 1, value = 2
    Feature   { oneof kind { BytesList = 1; FloatList = 2; Int64List = 3; } }
    the lists { repeated value = 1; }                   floats and ints are packed

Encoding gives the bytes of `SerializeToString(deterministic=True)`: entries sorted by key, numbers packed.
Decoding takes any valid encoding, packed or not, entries in any order.

Source: tensorflow/core/example/{example,feature}.proto and https://protobuf.dev/programming-guides/encoding/.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from tfrec_stage.errors import ShardError

Values = Sequence[bytes] | Sequence[float] | Sequence[int]
"""What a feature may be made of."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIELD_1: Final = b"\x0a"  # field 1, length-delimited: features, entry, key, packed values, one bytes value
_FIELD_2: Final = b"\x12"  # field 2, length-delimited: the value of an entry
_SHORT_VARINTS: Final = tuple(bytes((number,)) for number in range(128))
_SHORT_HEADS: Final = tuple(_FIELD_1 + size for size in _SHORT_VARINTS)


class Kind(IntEnum):
    """What a feature's list holds; the number is its field in `Feature`."""

    BYTES = 1
    FLOAT = 2
    INT64 = 3


class Feature(NamedTuple):
    """One feature: a list and its kind, which an empty list has too."""

    kind: Kind
    values: list[bytes] | list[float] | list[int]


# --- encode ---------------------------------------------------------------------------------------------------------


def encode_example(features: Mapping[str, tuple[Kind, Values]]) -> bytes:
    r"""Features → the bytes of one Example.

    >>> encode_example({"a": (Kind.INT64, [1])})
    b'\n\x0c\n\n\n\x01a\x12\x05\x1a\x03\n\x01\x01'
    """
    entries = [encode_entry(key_field(key), *features[key]) for key in sorted(features)]
    return example_header(sum(map(len, entries))) + b"".join(entries)


def example_header(size_bytes: int) -> bytes:
    """What stands before entries of `size_bytes` in all, to make them an Example."""
    return _FIELD_1 + encode_varint(size_bytes)


def key_field(key: str) -> bytes:
    """The constant beginning of every entry of this key: worth encoding once."""
    name = key.encode()
    return _FIELD_1 + encode_varint(len(name)) + name + _FIELD_2


def encode_entry(key: bytes, kind: Kind, values: Values) -> bytes:
    """One entry of the map: a `key_field` and its list.

    Raises:
        OverflowError, struct.error: a number does not fit a float of 32 or an integer of 64 bits.
    """
    data = LIST_DATA[kind](values)
    return entry_head(key, kind, len(data)) + data


def encode_entry_before(key: bytes, size_bytes: int) -> bytes:
    """The entry of one bytes value up to the value itself, so that an image of `size_bytes` need not be copied."""
    value = _FIELD_1 + encode_varint(size_bytes)
    return entry_head(key, Kind.BYTES, len(value) + size_bytes) + value


def entry_head(key: bytes, kind: Kind, size_bytes: int) -> bytes:
    """What stands in an entry before the `size_bytes` of its list's data; the same for all lists of that size."""
    packing = _FIELD_1 + encode_varint(size_bytes) if kind is not Kind.BYTES and size_bytes else b""
    list_size = len(packing) + size_bytes
    feature = _KIND_TAGS[kind] + encode_varint(list_size) + packing
    feature_size = len(feature) + size_bytes
    entry = key + encode_varint(feature_size)
    return _FIELD_1 + encode_varint(len(entry) + feature_size) + entry + feature


def encode_varint(number: int) -> bytes:
    """An integer in groups of seven bits, the lowest first; negative ones as their two's complement of 64 bits."""
    if 0 <= number < 128:
        return _SHORT_VARINTS[number]
    if 0 <= number < 0x4000:
        return bytes((number & 127 | 128, number >> 7))
    number &= 0xFFFFFFFFFFFFFFFF
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _bytes_data(values: Sequence[bytes]) -> bytes:
    return b"".join([_bytes_head(len(value)) + value for value in values])


def _bytes_head(size_bytes: int) -> bytes:
    """What stands before one value of so many bytes."""
    return _SHORT_HEADS[size_bytes] if size_bytes < 128 else _FIELD_1 + encode_varint(size_bytes)


def _float_data(values: Sequence[float]) -> bytes:
    return _float_packer(len(values))(*values)


@lru_cache(256)
def _float_packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}f").pack


def _int64_data(values: Sequence[int]) -> bytes:
    if len(values) == 1:
        return encode_varint(values[0])
    try:
        data = bytes([*values])  # a list, for of an array `bytes` would take the memory
    except ValueError:  # one is negative, or more than 255
        return _varints(values)
    # Numbers below 128 are their own varints, and in most lists all are: labels, visibilities.
    return data if data.isascii() else _varints(values)


def _varints(values: Sequence[int]) -> bytes:
    return b"".join([encode_varint(value) for value in values])


LIST_DATA: Final[dict[Kind, Callable[[Any], bytes]]] = {
    Kind.BYTES: _bytes_data,
    Kind.FLOAT: _float_data,
    Kind.INT64: _int64_data,
}
"""What a list of each kind holds: values with their lengths, or packed numbers."""

_KIND_TAGS: Final = {kind: bytes((kind << 3 | _BYTES,)) for kind in Kind}


# --- decode ---------------------------------------------------------------------------------------------------------


def decode_example(data: bytes) -> dict[str, Feature]:
    """The bytes of one Example → its features.

    A feature whose kind is not set is left out, as it has no list.

    Raises:
        ShardError: the bytes are not an Example.
    """
    try:
        return dict(_decode_features(bytes(data)))
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise ShardError(
            f"expected the bytes of a tf.train.Example, but got {len(data)} bytes that are not: {error}"
        ) from error


def _decode_features(data: bytes) -> Iterator[tuple[str, Feature]]:
    for number, wire_type, begin, end in _fields(data, 0, len(data)):
        if number == 1:
            _need_message(wire_type, end)
            for entry_number, entry_type, entry_begin, entry_end in _fields(data, begin, end):
                if entry_number == 1:
                    _need_message(entry_type, entry_end)
                    yield from _decode_entry(data, entry_begin, entry_end)


def _decode_entry(data: bytes, begin: int, end: int) -> Iterator[tuple[str, Feature]]:
    key, feature = "", None
    for number, wire_type, start, stop in _fields(data, begin, end):
        if number == 1:
            _need_message(wire_type, stop)
            key = data[start:stop].decode()
        elif number == 2:
            _need_message(wire_type, stop)
            feature = _decode_feature(data, start, stop)
    if feature is not None:
        yield key, feature


def _decode_feature(data: bytes, begin: int, end: int) -> Feature | None:
    feature = None
    for number, wire_type, start, stop in _fields(data, begin, end):
        if number in _LISTS:
            _need_message(wire_type, stop)
            kind, to_items = _LISTS[number]
            values: list[Any] = []
            for _, item_type, item_start, item_stop in _fields(data, start, stop):
                values += to_items(data, item_type, item_start, item_stop)
            feature = Feature(kind, values)
    return feature


def _bytes_items(data: bytes, wire_type: int, begin: int, end: int) -> list[bytes]:
    _need_message(wire_type, end)
    return [data[begin:end]]


def _float_items(data: bytes, _wire_type: int, begin: int, end: int) -> tuple[float, ...]:
    """Packed or one by one, it is the same bytes."""
    return struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])


def _int64_items(data: bytes, _wire_type: int, begin: int, end: int) -> list[int]:
    """Packed or one by one, it is the same bytes."""
    numbers = []
    while begin < end:
        number, begin = _varint(data, begin)
        numbers.append(number - (1 << 64) if number >> 63 else number)
    if begin > end:
        raise ValueError(f"an integer runs over the end of its list at byte {end}")
    return numbers


_LISTS: Final[dict[int, tuple[Kind, Callable[[bytes, int, int, int], Sequence[Any]]]]] = {
    Kind.BYTES.value: (Kind.BYTES, _bytes_items),
    Kind.FLOAT.value: (Kind.FLOAT, _float_items),
    Kind.INT64.value: (Kind.INT64, _int64_items),
}
"""By the number of its field in `Feature`: what a list is, and what makes values of its bytes."""


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message that stands between two offsets: number, wire type, and the offsets of the content."""
    while position < end:
        tag, position = _varint(data, position)
        wire_type = tag & 7
        begin, position = _content(data, position, wire_type)
        if position > end:
            raise ValueError(f"a field of {position - begin} bytes at byte {begin} runs over the end at {end}")
        yield tag >> 3, wire_type, begin, position


def _content(data: bytes, position: int, wire_type: int) -> tuple[int, int]:
    """Where the content of a field begins and ends."""
    if wire_type == _BYTES:
        size, begin = _varint(data, position)
        return begin, begin + size
    if wire_type == _VARINT:
        return position, _varint(data, position)[1]
    if wire_type in (_FIXED32, _FIXED64):
        return position, position + (4 if wire_type == _FIXED32 else 8)
    raise ValueError(f"wire type {wire_type} at byte {position}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The integer at an offset, and the offset behind it."""
    number = data[position]
    if number < 128:  # most are
        return number, position + 1
    number = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & 0xFFFFFFFFFFFFFFFF, position
    raise ValueError(f"a varint of more than ten bytes before byte {position}")


def _need_message(wire_type: int, end: int) -> None:
    if wire_type != _BYTES:
        raise ValueError(f"wire type {wire_type} before byte {end}, where bytes belong")
