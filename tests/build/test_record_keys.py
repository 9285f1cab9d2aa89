"""Keys of records: equal if the bytes are the same, different otherwise."""

import json
from typing import Any

import pytest

from tfrec_stage.build.fingerprint import KEY_SIZE, KeyMaker, has_image, key_of_failure, key_with_image, split_keys
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.manifest.parsing import convert_record, decode_record
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, InvalidRecord, Objects, Parts

KEYS = KeyMaker(OutputOptions())
GOOD = {"filename": "a.jpg", "id": "a"}
SHA = "0" * 64
IMAGE = {"height": 1, "width": 1, "format": "JPEG", "colorspace": "RGB", "channels": 3}


def key(**record: Any) -> bytes:
    return KEYS.key(convert_record({**GOOD, **record}))


OTHERS = {
    "filename": {"filename": "b.jpg"},
    "id": {"id": "b"},
    "class.label": {"class": {"label": 1}},
    "class.text": {"class": {"text": "x"}},
    "class.conf": {"class": {"conf": 0.5}},
    "object.count": {"object": {"count": 1}},
    "object.area": {"object": {"area": [0.5]}},
    "object.id": {"object": {"id": ["x"]}},
    "object.is_crowd": {"object": {"is_crowd": [0]}},
    **{f"object.bbox.{name}": {"object": {"bbox": {name: [0.5]}}} for name in ("xmin", "xmax", "ymin", "ymax")},
    **{f"object.bbox.{name}": {"object": {"bbox": {name: [0.25]}}} for name in ("score", "conf")},
    "object.bbox.label": {"object": {"bbox": {"label": [1]}}},
    "object.bbox.text": {"object": {"bbox": {"text": ["x"]}}},
    **{f"object.parts.{name}": {"object": {"parts": {name: [0.5]}}} for name in ("x", "y", "score")},
    "object.parts.v": {"object": {"parts": {"v": [1]}}},
    "extra": {"extra": "x"},
    "sha256": {"sha256": SHA},
    "height": {"height": 1},
    "width": {"width": 1},
    "encoded": {"encoded": b"x", **IMAGE},
    "format": {"encoded": b"x", **IMAGE, "format": "PNG"},
    "colorspace": {"encoded": b"x", **IMAGE, "colorspace": "YCbCr"},
    "channels": {"encoded": b"x", **IMAGE, "channels": 1},
}


def test_every_field_is_in_the_key() -> None:
    """Two records that differ in one field have different keys; the table has every field of a record."""
    shapes = {ImageRecord: "", ImageClass: "class.", Objects: "object.", Boxes: "object.bbox.", Parts: "object.parts."}
    fields = {f"{path}{name}" for shape, path in shapes.items() for name in shape.__struct_encode_fields__}
    nested = {"class", "object", "object.bbox", "object.parts"}
    assert set(OTHERS) == fields - nested - {"error_msg", "reason"}
    keys = [key(), *(key(**changes) for changes in OTHERS.values())]
    assert len(set(keys)) == len(keys)
    assert {len(each) for each in keys} == {KEY_SIZE}


@pytest.mark.parametrize(
    "written",
    [
        pytest.param({"class": {}}, id="an empty class"),
        pytest.param({"class": {"label": 0, "text": "", "conf": 1.0}}, id="defaults of the class"),
        pytest.param({"class": {"conf": 1}}, id="a whole number for a float"),
        pytest.param({"object": {"bbox": {}, "parts": {"x": []}, "area": []}}, id="empty lists"),
        pytest.param({"extra": ""}, id="an empty extra"),
        pytest.param({"sha256": None, "height": None}, id="nulls"),
        pytest.param({"error_msg": "was broken", "reason": "image_missing"}, id="an earlier failure"),
    ],
)
def test_it_does_not_depend_on_how_defaults_are_written(written: dict) -> None:
    """Records with the same bytes have the same key, from Python and from JSON."""
    assert key(**written) == key()
    assert KEYS.key(decode_record(json.dumps({**written, **GOOD}).encode())) == key()


def test_it_does_not_depend_on_the_order_of_keys() -> None:
    """Nor does the order of keys in `extra` matter, from Python or from JSON."""
    one, other = {"a": 1, "b": [2]}, {"b": [2], "a": 1}
    assert key(extra=one) == key(extra=other)
    written = [json.dumps({**GOOD, "extra": extra}).encode() for extra in (one, other)]
    assert {KEYS.key(decode_record(each)) for each in written} == {key(extra=one)}


EXTRAS = [
    "",
    "null",
    '{"a": null}',
    None,
    {"a": None},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": "NaN"},
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {"a": "1"},
    {"a": [1]},
    {"a": b"1"},
    {"a": "\udce9"},
    {"a": 2**64},
]


def test_every_extra_has_its_own() -> None:
    """NaN is not null, text is not the JSON value it spells, and values that JSON cannot hold have keys as well."""
    assert len({key(extra=extra) for extra in EXTRAS}) == len(EXTRAS)


@pytest.mark.parametrize("record", [{"id": "\udce9"}, {"filename": "\udce9"}, {"extra": "\udce9"}])
def test_texts_that_are_not_utf8(record: dict) -> None:
    """Text with a lone surrogate has a key of its own."""
    (name,) = record
    assert len({key(**record), key(**{name: "\udcea"}), key(**{name: r"\udce9"}), key()}) == 4


def test_invalid_records_have_one_too() -> None:
    """The key of an invalid record covers its id and its problem; no image is needed."""
    records = [InvalidRecord("a", "x"), InvalidRecord("a", "y"), InvalidRecord("b", "x")]
    assert len({*map(KEYS.key, records), key(), key(id="b")}) == 5
    assert all(map(has_image, records))


@pytest.mark.parametrize("extra", ["x", {"a": 1}, {"a": "\udce9"}], ids=["text", "JSON", "no UTF-8"])
def test_what_stands_beside_an_extra_decides(extra: Any) -> None:
    """Records with the same `extra`, of any kind, have different keys."""
    assert len({key(extra=extra, **others) for others in ({}, {"id": "b"}, {"class": {"label": 1}})}) == 3


def test_images_that_records_hold_decide() -> None:
    """Two images held by records that are otherwise equal have different keys."""
    assert key(encoded=b"x", **IMAGE) != key(encoded=b"y", **IMAGE)


def test_a_number_that_cannot_be_written() -> None:
    """A record whose `extra` Python refuses to print has a key that no valid record has."""
    assert key(extra={"n": 10**5000}) not in {key(), key(extra={"n": 10**4000}), key(extra="not storable")}


def test_keys_of_a_failure_and_of_an_image() -> None:
    """Keys of failures and keys with images are as long as others, and all different."""
    keys = [key(), key(id="b")]
    made = [*keys, *map(key_of_failure, keys)]
    made += [key_with_image(each, digest) for each in keys for digest in (b"x" * 32, b"y" * 32)]
    assert len(set(made)) == len(made) == 8
    assert {len(each) for each in made} == {KEY_SIZE}


def test_whether_the_key_knows_the_image() -> None:
    """It does if the record pins or holds the image."""
    given = [{}, {"sha256": SHA}, {"encoded": b"x", **IMAGE}]
    assert [has_image(convert_record({**GOOD, **each})) for each in given] == [False, True, True]


def test_keys_are_split_where_they_were_joined() -> None:
    """Concatenated keys are split into the original ones."""
    keys = [key(id=name) for name in "abc"]
    assert list(split_keys(b"".join(keys))) == keys
