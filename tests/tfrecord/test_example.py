"""tf.train.Example, with TensorFlow as the judge."""

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
    """Groups of seven bits, the lowest first."""
    assert encode_varint(number).hex() == groups


@pytest.mark.parametrize(
    ("numbers", "groups"),
    [
        pytest.param([], "", id="none"),
        pytest.param([0], "00", id="zero"),
        pytest.param([200], "c801", id="one"),
        pytest.param([0, 1, 127], "00017f", id="a group each"),
        pytest.param([1, 128, 255], "018001ff01", id="bytes that take two groups"),
        pytest.param([255, 256], "ff018002", id="more than a byte"),
        pytest.param([1, -1], "01" + "ff" * 9 + "01", id="a negative one"),
        pytest.param([2**63 - 1, -(2**63)], "ff" * 8 + "7f" + "80" * 9 + "01", id="the largest and the smallest"),
    ],
)
@pytest.mark.parametrize("make", [list, lambda numbers: array("q", numbers)], ids=["list", "array"])
def test_lists_of_integers(make, numbers: list[int], groups: str) -> None:
    """Numbers are packed one after the other, whatever their sizes and in whatever they come."""
    data = bytes.fromhex(groups)
    packed = b"\x0a" + encode_varint(len(data)) + data if data else b""
    assert encode_example({"i": (Kind.INT64, make(numbers))}) == _example(_entry("i", b"\x1a", packed))
    assert decode_example(_example(_entry("i", b"\x1a", packed))) == {"i": Feature(Kind.INT64, numbers)}


@pytest.mark.parametrize(
    ("size", "head"), [(0, "0a00"), (1, "0a01"), (127, "0a7f"), (128, "0a8001"), (129, "0a8101"), (16_384, "0a808001")]
)
def test_lists_of_bytes(size: int, head: str) -> None:
    """Each value stands behind its length, also where that takes more than a byte."""
    data = bytes.fromhex(head) + bytes(size)
    assert encode_example({"b": (Kind.BYTES, [bytes(size)] * 2)}) == _example(_entry("b", b"\x0a", data * 2))
    assert decode_example(_example(_entry("b", b"\x0a", data * 2))) == {"b": Feature(Kind.BYTES, [bytes(size)] * 2)}


def test_unpacked_numbers_are_read() -> None:
    """A reader must take numbers that are not packed: FloatList and Int64List with a tag a value."""
    number_list = bytes.fromhex("08010802")  # field 1, varint, twice
    float_list = b"\x0d" + struct.pack("<f", 0.5)  # field 1, fixed 32 bits
    data = _example(_entry("i", b"\x1a", number_list) + _entry("f", b"\x12", float_list))
    assert decode_example(data) == {"i": Feature(Kind.INT64, [1, 2]), "f": Feature(Kind.FLOAT, [0.5])}


def test_unknown_fields_are_passed_over() -> None:
    """Fields that a later version may add do not disturb, wherever they stand."""
    entry = _entry("i", b"\x20\x05\x1a", b"\x0a\x01\x07")
    entry = b"\x0a" + encode_varint(entry[1] + 2) + entry[2:] + b"\x18\x05"
    other = b"\x12" + _entry("other", b"\x1a", b"\x0a\x01\x07")[1:]
    data = b"\x39" + b"\xff" * 8 + _example(other + entry) + b"\x10\x05" + b"\x3d" + b"\xff" * 4
    assert decode_example(data) == {"i": Feature(Kind.INT64, [7])}


def test_an_entry_without_a_key_has_the_empty_one() -> None:
    """A field that is absent has its default, also in the entry of a map."""
    assert decode_example(_example(b"\x0a\x07\x12\x05\x1a\x03\x0a\x01\x07")) == {"": Feature(Kind.INT64, [7])}


def test_a_varint_has_at_most_ten_bytes() -> None:
    """Ten may spell a small number, too; eleven are none."""
    assert decode_example(b"\x90" + b"\x80" * 8 + b"\x00" + b"\x05") == {}
    with pytest.raises(ShardError, match="more than ten bytes"):
        decode_example(b"\x90" + b"\x80" * 9 + b"\x00" + b"\x05")


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
        pytest.param(b"\x13" + bytes(8), id="an unknown group, with something behind it"),
        pytest.param(b"\x17" + bytes(8), id="an unknown type, with something behind it"),
    ],
)
def test_what_is_no_example_is_an_error(data: bytes) -> None:
    """Bytes that are no Example raise ShardError, never anything else."""
    with pytest.raises(ShardError, match=r"tf\.train\.Example"):
        decode_example(data)


def test_an_integer_ends_with_its_list() -> None:
    """The rest of an integer is not taken from what stands behind its list."""
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
    """Where bytes belong, a field of another type is an error, even if its content could be read."""
    with pytest.raises(ShardError, match="where bytes belong"):
        decode_example(data)


@pytest.mark.parametrize("value", [b"", b"\x12\x00"], ids=["no value", "a value of no kind"])
def test_a_feature_without_a_kind_is_left_out(value: bytes) -> None:
    """A key without a list is none of the features, and those beside it are read."""
    entry = key_field("empty")[:-1] + value
    data = b"\x0a" + encode_varint(len(entry)) + entry
    assert decode_example(_example(data + _entry("i", b"\x1a", b"\x0a\x01\x07"))) == {"i": Feature(Kind.INT64, [7])}


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
