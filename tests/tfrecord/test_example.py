"""tf.train.Example, compared with TensorFlow."""

import math
import struct
from array import array
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.example import (
    Feature,
    Kind,
    bytes_entry_header,
    decode_example,
    encode_example,
    encode_varint,
    example_header,
    key_field,
)

tf = pytest.importorskip("tensorflow")

floats = st.floats(width=32, allow_nan=False)


def has_no_prefix(features: dict) -> bool:
    """Check that no key begins with another. Protobuf's runtimes sort such keys differently; the schema has none."""
    return not any(a != b and b.startswith(a) for a in features for b in features)


features = st.dictionaries(
    st.text(max_size=20),
    st.one_of(
        st.tuples(st.just(Kind.BYTES), st.lists(st.binary(max_size=200), max_size=4)),
        st.tuples(st.just(Kind.FLOAT), st.lists(floats, max_size=40)),
        st.tuples(st.just(Kind.INT64), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6)),
    ),
    max_size=8,
).filter(has_no_prefix)


def tensorflow_example(ours: dict):
    make = {
        Kind.BYTES: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
        Kind.FLOAT: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
        Kind.INT64: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
    }
    feature = {key: make[kind](values) for key, (kind, values) in ours.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature))


@given(features)
def test_bytes_equal_tensorflow(ours: dict) -> None:
    """Encoding equals SerializeToString(deterministic=True) byte for byte."""
    assert encode_example(ours) == tensorflow_example(ours).SerializeToString(deterministic=True)


@given(features)
def test_decoding_reverses_encoding(ours: dict) -> None:
    """Decoding returns what was encoded, with the kinds of empty lists."""
    assert decode_example(encode_example(ours)) == {key: Feature(*value) for key, value in ours.items()}


@given(features)
def test_examples_of_tensorflow_are_decoded(ours: dict) -> None:
    """Decoding accepts any order of keys, as TensorFlow may serialise them."""
    data = tensorflow_example(ours).SerializeToString()
    assert decode_example(data) == {key: Feature(*value) for key, value in ours.items()}


@given(st.binary(max_size=300))
def test_an_entry_header_and_its_value(image: bytes) -> None:
    """The header of an entry and the image after it are the bytes of the whole entry."""
    entry = bytes_entry_header(key_field("image/encoded"), len(image)) + image
    whole = encode_example({"image/encoded": (Kind.BYTES, [image])})
    assert example_header(len(entry)) + entry == whole


@pytest.mark.parametrize(
    ("number", "groups"),
    [
        pytest.param(0, "00", id="zero"),
        pytest.param(127, "7f", id="largest of one group"),
        pytest.param(128, "8001", id="smallest of two groups"),
        pytest.param(2**14 - 1, "ff7f", id="largest of two groups"),
        pytest.param(2**14, "808001", id="smallest of three groups"),
        pytest.param(300, "ac02", id="the example of the specification"),
        pytest.param(2**63 - 1, "ffffffffffffffff7f", id="largest int64"),
        pytest.param(-1, "ffffffffffffffffff01", id="negative numbers take ten groups"),
    ],
)
def test_varint(number: int, groups: str) -> None:
    """A varint has groups of seven bits, the lowest first."""
    assert encode_varint(number).hex() == groups


@pytest.mark.parametrize(
    ("numbers", "groups"),
    [
        pytest.param([], "", id="no number"),
        pytest.param([0], "00", id="zero"),
        pytest.param([200], "c801", id="one number"),
        pytest.param([0, 1, 127], "00017f", id="one group each"),
        pytest.param([1, 128, 255], "018001ff01", id="bytes that take two groups"),
        pytest.param([255, 256], "ff018002", id="more than a byte"),
        pytest.param([1, -1], "01" + "ff" * 9 + "01", id="a negative number"),
        pytest.param([2**63 - 1, -(2**63)], "ff" * 8 + "7f" + "80" * 9 + "01", id="the largest and the smallest"),
    ],
)
@pytest.mark.parametrize("make", [list, lambda numbers: array("q", numbers)], ids=["list", "array"])
def test_lists_of_integers(make, numbers: list[int], groups: str) -> None:
    """Integers of any size are packed one after the other, whether they come in a list or in an array."""
    data = bytes.fromhex(groups)
    packed = b"\x0a" + encode_varint(len(data)) + data if data else b""
    assert encode_example({"i": (Kind.INT64, make(numbers))}) == _example(_entry("i", b"\x1a", packed))
    assert decode_example(_example(_entry("i", b"\x1a", packed))) == {"i": Feature(Kind.INT64, numbers)}


@pytest.mark.parametrize(
    ("size", "head"), [(0, "0a00"), (1, "0a01"), (127, "0a7f"), (128, "0a8001"), (129, "0a8101"), (16_384, "0a808001")]
)
def test_lists_of_bytes(size: int, head: str) -> None:
    """Each value follows its tag and its length, which may take several bytes."""
    data = bytes.fromhex(head) + bytes(size)
    assert encode_example({"b": (Kind.BYTES, [bytes(size)] * 2)}) == _example(_entry("b", b"\x0a", data * 2))
    assert decode_example(_example(_entry("b", b"\x0a", data * 2))) == {"b": Feature(Kind.BYTES, [bytes(size)] * 2)}


def test_unpacked_numbers_are_read() -> None:
    """Numbers with one tag per value are read, as any protobuf parser has to."""
    number_list = bytes.fromhex("08010802")  # field 1, varint, twice
    float_list = b"\x0d" + struct.pack("<f", 0.5)  # field 1, fixed 32 bits
    data = _example(_entry("i", b"\x1a", number_list) + _entry("f", b"\x12", float_list))
    assert decode_example(data) == {"i": Feature(Kind.INT64, [1, 2]), "f": Feature(Kind.FLOAT, [0.5])}


def test_unknown_fields_are_ignored() -> None:
    """Fields that a later version may add are ignored, in every message."""
    entry = _entry("i", b"\x20\x05\x1a", b"\x0a\x01\x07")
    entry = b"\x0a" + encode_varint(entry[1] + 2) + entry[2:] + b"\x18\x05"
    other = b"\x12" + _entry("other", b"\x1a", b"\x0a\x01\x07")[1:]
    data = b"\x39" + b"\xff" * 8 + _example(other + entry) + b"\x10\x05" + b"\x3d" + b"\xff" * 4
    assert decode_example(data) == {"i": Feature(Kind.INT64, [7])}


def test_an_entry_without_a_key_has_an_empty_key() -> None:
    """An absent field has its default, also in the entry of a map."""
    assert decode_example(_example(b"\x0a\x07\x12\x05\x1a\x03\x0a\x01\x07")) == {"": Feature(Kind.INT64, [7])}


def test_a_varint_has_at_most_ten_bytes() -> None:
    """A small number may be padded to ten bytes; more are an error."""
    assert decode_example(b"\x90" + b"\x80" * 8 + b"\x00" + b"\x05") == {}
    with pytest.raises(ShardError, match="more than ten bytes"):
        decode_example(b"\x90" + b"\x80" * 9 + b"\x00" + b"\x05")


def test_nan_and_infinity_are_kept() -> None:
    """NaN and infinity are encoded and decoded like other floats; whether to store them is decided elsewhere."""
    data = encode_example({"f": (Kind.FLOAT, [math.nan, math.inf])})
    nan, infinity = decode_example(data)["f"].values
    assert math.isnan(nan)
    assert infinity == math.inf


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x05abc", id="a length beyond the end"),
        pytest.param(b"\x0a", id="a tag without a length"),
        pytest.param(b"\xff" * 11, id="an endless varint"),
        pytest.param(b"\x0b", id="a group, which proto3 does not have"),
        pytest.param(b"\x08\x01", id="a number where the features belong"),
        pytest.param(b"\x0a\x05\x0a\x03\x0a\x01\xff", id="a key that is not UTF-8"),
        pytest.param(b"\x13" + bytes(8), id="an unknown group, followed by bytes"),
        pytest.param(b"\x17" + bytes(8), id="an unknown type, followed by bytes"),
    ],
)
def test_other_bytes_are_an_error(data: bytes) -> None:
    """Bytes that are not an Example raise ShardError and no other exception."""
    with pytest.raises(ShardError, match=r"tf\.train\.Example"):
        decode_example(data)


def test_an_integer_ends_with_its_list() -> None:
    """An integer that is cut by the end of its list is not completed from the bytes after it."""
    cut, whole = _entry("i", b"\x1a", b"\x0a\x01\x80"), _entry("j", b"\x1a", b"\x0a\x01\x07")
    with pytest.raises(ShardError, match="an integer runs over the end of its list"):
        decode_example(_example(cut + whole))


FIXED = b"\x0d\x1a\x02aa"
"""Field 1 as a number of 32 bits, whose bytes could be read as a message with an unknown field."""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(FIXED, id="features"),
        pytest.param(b"\x0a\x05" + FIXED, id="an entry"),
        pytest.param(b"\x0a\x07\x0a\x05\x0d" + b"keys", id="a key"),
        pytest.param(b"\x0a\x07\x0a\x05\x15" + b"\x1a\x02aa", id="a feature"),
        pytest.param(b"\x0a\x09\x0a\x07\x12\x05\x0d" + b"\x0a\x02aa", id="a list of bytes"),
        pytest.param(b"\x0a\x08\x0a\x06\x12\x04\x0a\x02\x08\x61", id="one of the bytes"),
    ],
)
def test_a_number_is_never_read_as_bytes(data: bytes) -> None:
    """A field of another type where bytes are expected is an error, even if its content could be read as a message."""
    with pytest.raises(ShardError, match="where bytes belong"):
        decode_example(data)


@pytest.mark.parametrize("value", [b"", b"\x12\x00"], ids=["no value", "a value of no kind"])
def test_a_feature_without_a_kind_is_omitted(value: bytes) -> None:
    """An entry without a list is omitted, and the others are read."""
    entry = key_field("empty")[:-1] + value
    data = b"\x0a" + encode_varint(len(entry)) + entry
    assert decode_example(_example(data + _entry("i", b"\x1a", b"\x0a\x01\x07"))) == {"i": Feature(Kind.INT64, [7])}


@given(features, st.data())
def test_damage_raises_no_other_exception(ours: dict, data: st.DataObject) -> None:
    """Decoding an Example with one byte changed returns features or raises ShardError."""
    encoded = bytearray(encode_example(ours)) or bytearray(b"\x00")
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ShardError):
        decode_example(bytes(encoded))


def _example(entries: bytes) -> bytes:
    return b"\x0a" + encode_varint(len(entries)) + entries


def _entry(key: str, kind_tag: bytes, values: bytes) -> bytes:
    feature = kind_tag + encode_varint(len(values)) + values
    entry = key_field(key) + encode_varint(len(feature)) + feature
    return b"\x0a" + encode_varint(len(entry)) + entry
