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
from typing import Any, Final, NamedTuple

from tfrec_stage.errors import ShardError

Values = Sequence[bytes] | Sequence[float] | Sequence[int]
"""What a feature may be made of."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIELD_1: Final = b"\x0a"  # field 1, length-delimited: features, entry, key, packed values, one bytes value
_FIELD_2: Final = b"\x12"  # field 2, length-delimited: the value of an entry
_SHORT_VARINTS: Final = tuple(bytes((number,)) for number in range(128))


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
    number &= 0xFFFFFFFFFFFFFFFF
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _bytes_data(values: Sequence[bytes]) -> bytes:
    return b"".join([_FIELD_1 + encode_varint(len(value)) + value for value in values])


def _float_data(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _int64_data(values: Sequence[int]) -> bytes:
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
        return dict(_decode_features(data))
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise ShardError(
            f"expected the bytes of a tf.train.Example, but got {len(data)} bytes that are not: {error}"
        ) from error


def _decode_features(data: bytes) -> Iterator[tuple[str, Feature]]:
    for number, features in _fields(memoryview(data)):
        if number == 1:
            for entry_number, entry in _fields(_message(features)):
                if entry_number == 1:
                    yield from _decode_entry(_message(entry))


def _decode_entry(entry: memoryview) -> Iterator[tuple[str, Feature]]:
    key, feature = "", None
    for number, value in _fields(entry):
        if number == 1:
            key = str(_message(value), "utf-8")
        elif number == 2:
            feature = _decode_feature(_message(value))
    if feature is not None:
        yield key, feature


def _decode_feature(data: memoryview) -> Feature | None:
    feature = None
    for number, value in _fields(data):
        if number in _KIND_TAGS:
            kind = Kind(number)
            feature = Feature(kind, [item for _, part in _fields(_message(value)) for item in _ITEMS[kind](part)])
    return feature


def _bytes_items(part: memoryview | int) -> list[bytes]:
    return [bytes(_message(part))]


def _float_items(part: memoryview | int) -> list[float]:
    data = _message(part)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _int64_items(part: memoryview | int) -> list[int]:
    numbers = [part] if isinstance(part, int) else list(_varints(part))
    return [number - (1 << 64) if number >> 63 else number for number in numbers]


_ITEMS: Final[dict[Kind, Callable[[memoryview | int], list[Any]]]] = {
    Kind.BYTES: _bytes_items,
    Kind.FLOAT: _float_items,
    Kind.INT64: _int64_items,
}


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and content of each field: an int where it is a varint, else the bytes of a message or fixed number."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            content, position = _varint(data, position)
            yield tag >> 3, content
            continue
        size, position = _size(data, position, wire_type)
        if position + size > len(data):
            raise ValueError(f"a field of {size} bytes at byte {position} runs over the end at {len(data)}")
        yield tag >> 3, data[position : position + size]
        position += size


def _size(data: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _BYTES:
        return _varint(data, position)
    if wire_type in (_FIXED32, _FIXED64):
        return (4 if wire_type == _FIXED32 else 8), position
    raise ValueError(f"wire type {wire_type} at byte {position}")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & 0xFFFFFFFFFFFFFFFF, position
    raise ValueError(f"a varint of more than ten bytes before byte {position}")


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        number, position = _varint(data, position)
        yield number


def _message(content: memoryview | int) -> memoryview:
    if isinstance(content, int):
        raise ValueError("a number stands where bytes belong")  # noqa: TRY004 - it is the data that is wrong
    return content
