r"""tf.train.Example: features ↔ wire bytes, without TensorFlow.

The messages, in the part used here:

    Example   { Features features = 1; }
    Features  { map<string, Feature> feature = 1; }     an entry is a message: key = 1, value = 2
    Feature   { oneof kind { BytesList = 1; FloatList = 2; Int64List = 3; } }
    the lists { repeated value = 1; }                   floats and ints are packed

On the wire a field is a tag, `field number << 3 | wire type`, and its content. Wire type 2 is a length and that many
bytes: messages, strings and packed lists. `{"a": [1]}` reads:

    0a 0c                 Example.features, 12 bytes
      0a 0a               Features.feature, 10 bytes: one entry of the map
        0a 01 61          its key: "a"
        12 05             its value, 5 bytes
          1a 03           Feature.int64_list, 3 bytes
            0a 01 01      the packed values, 1 byte: 1

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
"""The values of one feature."""

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are groups, which proto3 dropped
_FIELD_1: Final = b"\x0a"  # 1 << 3 | 2: features, an entry, its key, packed values, one bytes value
_FIELD_2: Final = b"\x12"  # 2 << 3 | 2: the value of an entry
_SHORT_VARINTS: Final = tuple(bytes((number,)) for number in range(128))
_SHORT_VALUE_HEADERS: Final = tuple(_FIELD_1 + size for size in _SHORT_VARINTS)


class Kind(IntEnum):
    """The kind of a feature's list; the number is that of its field in `Feature`."""

    BYTES = 1
    FLOAT = 2
    INT64 = 3


class Feature(NamedTuple):
    """One feature: a list and its kind, which an empty list has too."""

    kind: Kind
    values: list[bytes] | list[float] | list[int]


# --- encode ---------------------------------------------------------------------------------------------------------


def encode_example(features: Mapping[str, tuple[Kind, Values]]) -> bytes:
    r"""Encode features as the bytes of one Example.

    >>> encode_example({"a": (Kind.INT64, [1])})
    b'\n\x0c\n\n\n\x01a\x12\x05\x1a\x03\n\x01\x01'
    """
    # Python sorts by code point, which is the order of the UTF-8 bytes that protobuf sorts by.
    entries = [encode_entry(key_field(key), *features[key]) for key in sorted(features)]
    return example_header(sum(map(len, entries))) + b"".join(entries)


def example_header(size_bytes: int) -> bytes:
    """Return the bytes before the entries of an Example, which have `size_bytes` together."""
    return _FIELD_1 + encode_varint(size_bytes)


def key_field(key: str) -> bytes:
    """Encode the key of an entry, up to the tag of its value: constant for a key, so worth encoding once."""
    name = key.encode()
    return _FIELD_1 + encode_varint(len(name)) + name + _FIELD_2


def encode_entry(key: bytes, kind: Kind, values: Values) -> bytes:
    """Encode one entry of the map, given its `key_field` and its list. Integers have to fit in 64 bits.

    Raises:
        OverflowError, struct.error: a value does not fit in a float of 32 bits, or is not a number.
    """
    data = LIST_ENCODERS[kind](values)
    return entry_header(key, kind, len(data)) + data


def bytes_entry_header(key: bytes, size_bytes: int) -> bytes:
    """Return an entry of one bytes value up to the value, so that an image of `size_bytes` need not be copied."""
    value = _FIELD_1 + encode_varint(size_bytes)
    return entry_header(key, Kind.BYTES, len(value) + size_bytes) + value


def entry_header(key: bytes, kind: Kind, size_bytes: int) -> bytes:
    """Return an entry up to its list's data, which have `size_bytes`; it is the same for all lists of that size."""
    # A length comes before its content, so the sizes are computed from the inside out. Packed numbers share one tag and
    # length; bytes values have their own, which are part of the data. An empty list is an empty message: `1a 00`.
    packing = _FIELD_1 + encode_varint(size_bytes) if kind is not Kind.BYTES and size_bytes else b""
    list_size = len(packing) + size_bytes
    feature = _KIND_TAGS[kind] + encode_varint(list_size) + packing
    feature_size = len(feature) + size_bytes
    entry = key + encode_varint(feature_size)
    return _FIELD_1 + encode_varint(len(entry) + feature_size) + entry + feature


def encode_varint(number: int) -> bytes:
    """Encode an integer in groups of seven bits, the lowest first; all groups but the last have their high bit set."""
    if 0 <= number < 128:
        return _SHORT_VARINTS[number]
    if 0 <= number < 0x4000:
        return bytes((number & 127 | 128, number >> 7))
    # A negative int64 is its two's complement of 64 bits, hence always ten groups; ZigZag is for sint64 only.
    number &= 0xFFFFFFFFFFFFFFFF
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _encode_bytes_list(values: Sequence[bytes]) -> bytes:
    return b"".join([_value_header(len(value)) + value for value in values])


def _value_header(size_bytes: int) -> bytes:
    """Return tag and length of one bytes value."""
    return _SHORT_VALUE_HEADERS[size_bytes] if size_bytes < 128 else _FIELD_1 + encode_varint(size_bytes)


def _encode_float_list(values: Sequence[float]) -> bytes:
    return _float_packer(len(values))(*values)


@lru_cache(256)
def _float_packer(count: int) -> Callable[..., bytes]:
    return struct.Struct(f"<{count}f").pack


def _encode_int64_list(values: Sequence[int]) -> bytes:
    if len(values) == 1:
        return encode_varint(values[0])
    try:
        data = bytes([*values])  # convert to a list: `bytes(array)` would copy its raw buffer
    except ValueError:  # one is negative or above 255
        return _encode_varints(values)
    # Numbers below 128 are their own varints. Most lists hold nothing else: labels, visibilities.
    return data if data.isascii() else _encode_varints(values)


def _encode_varints(values: Sequence[int]) -> bytes:
    return b"".join([encode_varint(value) for value in values])


LIST_ENCODERS: Final[dict[Kind, Callable[[Any], bytes]]] = {
    Kind.BYTES: _encode_bytes_list,
    Kind.FLOAT: _encode_float_list,
    Kind.INT64: _encode_int64_list,
}
"""For each kind, the function that encodes a list's data: values with tag and length, or packed numbers without."""

_KIND_TAGS: Final = {kind: bytes((kind << 3 | _LENGTH_DELIMITED,)) for kind in Kind}


# --- decode ---------------------------------------------------------------------------------------------------------


def decode_example(data: bytes) -> dict[str, Feature]:
    """Decode the bytes of one Example into its features.

    A feature whose kind is not set has no list and is omitted. Of two entries with one key the last one counts, as for
    any protobuf map.

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
            _expect_length_delimited(wire_type, end)
            for entry_number, entry_type, entry_begin, entry_end in _fields(data, begin, end):
                if entry_number == 1:
                    _expect_length_delimited(entry_type, entry_end)
                    yield from _decode_entry(data, entry_begin, entry_end)


def _decode_entry(data: bytes, begin: int, end: int) -> Iterator[tuple[str, Feature]]:
    key, feature = "", None  # proto3: an absent key is the empty one
    for number, wire_type, start, stop in _fields(data, begin, end):
        if number == 1:
            _expect_length_delimited(wire_type, stop)
            key = data[start:stop].decode()
        elif number == 2:
            _expect_length_delimited(wire_type, stop)
            feature = _decode_feature(data, start, stop)
    if feature is not None:
        yield key, feature


def _decode_feature(data: bytes, begin: int, end: int) -> Feature | None:
    feature = None
    for number, wire_type, start, stop in _fields(data, begin, end):
        if number in _LIST_DECODERS:
            _expect_length_delimited(wire_type, stop)
            kind, decode_values = _LIST_DECODERS[number]
            values: list[Any] = []
            # One field per value, or one for many packed values, or both mixed: a parser has to accept each.
            for _, item_type, item_start, item_stop in _fields(data, start, stop):
                values += decode_values(data, item_type, item_start, item_stop)
            feature = Feature(kind, values)
    return feature


def _decode_bytes(data: bytes, wire_type: int, begin: int, end: int) -> list[bytes]:
    _expect_length_delimited(wire_type, end)
    return [data[begin:end]]


def _decode_floats(data: bytes, _wire_type: int, begin: int, end: int) -> tuple[float, ...]:
    # The content of one fixed32 field is the same bytes as a packed list of one float.
    return struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])


def _decode_int64s(data: bytes, _wire_type: int, begin: int, end: int) -> list[int]:
    # The content of one varint field is the same bytes as a packed list of one integer.
    numbers = []
    while begin < end:
        number, begin = _decode_varint(data, begin)
        numbers.append(number - (1 << 64) if number >> 63 else number)  # from two's complement
    if begin > end:
        raise ValueError(f"an integer runs over the end of its list at byte {end}")
    return numbers


_LIST_DECODERS: Final[dict[int, tuple[Kind, Callable[[bytes, int, int, int], Sequence[Any]]]]] = {
    Kind.BYTES.value: (Kind.BYTES, _decode_bytes),
    Kind.FLOAT.value: (Kind.FLOAT, _decode_floats),
    Kind.INT64.value: (Kind.INT64, _decode_int64s),
}
"""By field number in `Feature`: the kind, and the function that decodes the content of one field of its list."""


def _fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Iterate over the fields of a message between two offsets: number, wire type, begin and end of the content."""
    while position < end:
        tag, position = _decode_varint(data, position)
        wire_type = tag & 7
        begin, position = _content(data, position, wire_type)
        # Slices of bytes would silently be shorter, so a length that is too large has to be found here.
        if position > end:
            raise ValueError(f"a field of {position - begin} bytes at byte {begin} runs over the end at {end}")
        yield tag >> 3, wire_type, begin, position


def _content(data: bytes, position: int, wire_type: int) -> tuple[int, int]:
    """Return begin and end of the content of a field whose tag ends at `position`."""
    if wire_type == _LENGTH_DELIMITED:
        size, begin = _decode_varint(data, position)
        return begin, begin + size
    if wire_type == _VARINT:
        return position, _decode_varint(data, position)[1]
    if wire_type in (_FIXED32, _FIXED64):
        return position, position + (4 if wire_type == _FIXED32 else 8)
    raise ValueError(f"wire type {wire_type} at byte {position}")


def _decode_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the unsigned integer at an offset, and the offset after it."""
    number = data[position]
    if number < 128:  # most have one byte
        return number, position + 1
    number = 0
    for shift in range(0, 70, 7):  # ten groups hold 70 bits, of which 64 count
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & 0xFFFFFFFFFFFFFFFF, position
    raise ValueError(f"a varint of more than ten bytes before byte {position}")


def _expect_length_delimited(wire_type: int, end: int) -> None:
    # Without this check a number's bytes could be read as a message, and damage would pass as other features.
    if wire_type != _LENGTH_DELIMITED:
        raise ValueError(f"wire type {wire_type} before byte {end}, where bytes belong")
