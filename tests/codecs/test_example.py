"""tf.train.Example, with TensorFlow as the judge."""

import math
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.codecs.example import (
    Feature,
    Kind,
    decode_example,
    encode_entry_before,
    encode_example,
    encode_varint,
    example_header,
    key_field,
)
from tfrec_stage.errors import ShardError

tf = pytest.importorskip("tensorflow")

floats = st.floats(width=32, allow_nan=False)


def has_no_prefix(features: dict) -> bool:
    """Protobuf's runtimes order a key and a key that begins with it differently; our schema has no such pair."""
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
def test_bytes_are_those_of_tensorflow(ours: dict) -> None:
    """Encoding equals SerializeToString(deterministic=True) byte for byte."""
    assert encode_example(ours) == tensorflow_example(ours).SerializeToString(deterministic=True)


@given(features)
def test_decoding_takes_back_encoding(ours: dict) -> None:
    """What was encoded comes back, kinds of empty lists included."""
    assert decode_example(encode_example(ours)) == {key: Feature(*value) for key, value in ours.items()}


@given(features)
def test_decoding_reads_tensorflow(ours: dict) -> None:
    """What TensorFlow serialised, in whichever order of keys, is decoded."""
    data = tensorflow_example(ours).SerializeToString()
    assert decode_example(data) == {key: Feature(*value) for key, value in ours.items()}


@given(st.binary(max_size=300))
def test_an_entry_can_be_written_around_its_value(image: bytes) -> None:
    """The entry's beginning and the image make the same bytes as the whole entry."""
    entry = encode_entry_before(key_field("image/encoded"), len(image)) + image
    whole = encode_example({"image/encoded": (Kind.BYTES, [image])})
    assert example_header(len(entry)) + entry == whole


@pytest.mark.parametrize(
    ("number", "groups"),
    [
        pytest.param(0, "00", id="zero"),
        pytest.param(127, "7f", id="largest of one group"),
        pytest.param(128, "8001", id="smallest of two groups"),
        pytest.param(300, "ac02", id="the example of the specification"),
        pytest.param(2**63 - 1, "ffffffffffffffff7f", id="largest int64"),
        pytest.param(-1, "ffffffffffffffffff01", id="negative numbers take ten groups"),
    ],
)
def test_varint(number: int, groups: str) -> None:
    """Groups of seven bits, the lowest first."""
    assert encode_varint(number).hex() == groups


def test_unpacked_numbers_are_read() -> None:
    """A reader must take numbers that are not packed: FloatList and Int64List with a tag a value."""
    number_list = bytes.fromhex("08010802")  # field 1, varint, twice
    float_list = b"\x0d" + struct.pack("<f", 0.5)  # field 1, fixed 32 bits
    data = _example(_entry("i", b"\x1a", number_list) + _entry("f", b"\x12", float_list))
    assert decode_example(data) == {"i": Feature(Kind.INT64, [1, 2]), "f": Feature(Kind.FLOAT, [0.5])}


def test_unknown_fields_are_passed_over() -> None:
    """Fields that a later version may add do not disturb, wherever they stand."""
    entry = _entry("i", b"\x1a", b"\x0a\x01\x07")
    entry = b"\x0a" + encode_varint(entry[1] + 2) + entry[2:] + b"\x18\x05"
    data = _example(entry) + b"\x10\x05" + b"\x39" + bytes(8)
    assert decode_example(data) == {"i": Feature(Kind.INT64, [7])}


def test_nan_and_infinity_are_kept() -> None:
    """Floats that are no numbers are data here; whether they may be stored is judged elsewhere."""
    data = encode_example({"f": (Kind.FLOAT, [math.nan, math.inf])})
    nan, infinity = decode_example(data)["f"].values
    assert math.isnan(nan)
    assert infinity == math.inf


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x05abc", id="length over the end"),
        pytest.param(b"\x0a", id="tag without a length"),
        pytest.param(b"\xff" * 11, id="endless varint"),
        pytest.param(b"\x0b", id="a group, which proto3 does not have"),
        pytest.param(b"\x08\x01", id="a number where the features belong"),
        pytest.param(b"\x0a\x05\x0a\x03\x0a\x01\xff", id="a key that is not UTF-8"),
        pytest.param(bytes.fromhex("0a0c 0a0a 0a0169 1205 1a03 0a0180 10"), id="an integer that ends behind its list"),
    ],
)
def test_what_is_no_example_is_an_error(data: bytes) -> None:
    """Bytes that are no Example raise ShardError, never anything else."""
    with pytest.raises(ShardError, match=r"tf\.train\.Example"):
        decode_example(data)


@given(features, st.data())
def test_damage_never_raises_anything_else(ours: dict, data: st.DataObject) -> None:
    """Whatever is done to an Example, decoding gives features or ShardError."""
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
