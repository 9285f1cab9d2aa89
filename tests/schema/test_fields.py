"""The keys of a record: their names, their kinds, and the values that are encoded."""

from hashlib import sha256
from typing import Any

import pytest

from tfrec_stage.errors import RecordError
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.records import Boxes, ImageClass, ImageRecord, Objects, Parts
from tfrec_stage.schema.encoder import ExampleEncoder
from tfrec_stage.schema.fields import FIELDS
from tfrec_stage.schema.od_api import OD_API_FIELDS
from tfrec_stage.schema.options import AreaUnit, Profile, SchemaOptions, fields_of
from tfrec_stage.schema.tfds import TFDS_FIELDS
from tfrec_stage.tfrecord.example import Kind, decode_example

BYTES, FLOAT, INT64 = Kind.BYTES, Kind.FLOAT, Kind.INT64
SCALAR, LIST = True, False

CORE_KEYS = [
    ("image/id", BYTES, SCALAR),
    ("image/filename", BYTES, SCALAR),
    ("image/encoded", BYTES, SCALAR),
    ("image/height", INT64, SCALAR),
    ("image/width", INT64, SCALAR),
    ("image/colorspace", BYTES, SCALAR),
    ("image/channels", INT64, SCALAR),
    ("image/format", BYTES, SCALAR),
    ("image/extra", BYTES, SCALAR),
    ("image/class/label", INT64, SCALAR),
    ("image/class/text", BYTES, SCALAR),
    ("image/class/conf", FLOAT, SCALAR),
    ("image/object/count", INT64, SCALAR),
    ("image/object/area", FLOAT, LIST),
    ("image/object/id", BYTES, LIST),
    ("image/object/bbox/xmin", FLOAT, LIST),
    ("image/object/bbox/xmax", FLOAT, LIST),
    ("image/object/bbox/ymin", FLOAT, LIST),
    ("image/object/bbox/ymax", FLOAT, LIST),
    ("image/object/bbox/score", FLOAT, LIST),
    ("image/object/bbox/label", INT64, LIST),
    ("image/object/bbox/text", BYTES, LIST),
    ("image/object/bbox/conf", FLOAT, LIST),
    ("image/object/parts/x", FLOAT, LIST),
    ("image/object/parts/y", FLOAT, LIST),
    ("image/object/parts/v", INT64, LIST),
    ("image/object/parts/score", FLOAT, LIST),
]
OD_API_KEYS = [
    ("image/source_id", BYTES, SCALAR),
    ("image/key/sha256", BYTES, SCALAR),
    ("image/object/class/label", INT64, LIST),
    ("image/object/class/text", BYTES, LIST),
    ("image/object/is_crowd", INT64, LIST),
    ("image/object/group_of", INT64, LIST),
    ("image/object/difficult", INT64, LIST),
    ("image/object/keypoint/x", FLOAT, LIST),
    ("image/object/keypoint/y", FLOAT, LIST),
    ("image/object/keypoint/visibility", INT64, LIST),
    ("image/object/keypoint/num", INT64, LIST),
    ("image/object/keypoint/text", BYTES, LIST),
]
TFDS_KEYS = [
    ("objects/bbox", FLOAT, LIST),
    ("objects/label", INT64, LIST),
    ("objects/area", FLOAT, LIST),
    ("objects/is_crowd", INT64, LIST),
    ("objects/id", BYTES, LIST),
]


@pytest.mark.parametrize(
    ("fields", "keys"), [(FIELDS, CORE_KEYS), (OD_API_FIELDS, OD_API_KEYS), (TFDS_FIELDS, TFDS_KEYS)]
)
def test_keys_do_not_change(fields: tuple, keys: list) -> None:
    """Names, kinds and scalars are part of the format, which readers depend on."""
    assert [(field.key, field.kind, field.is_scalar) for field in fields] == keys


IMAGE = EncodedImage(b"\xff\xd8 jpeg \xff\xd9", 40, 30)
RECORD = ImageRecord(
    filename="a/b.jpg",
    id="7",
    class_=ImageClass(label=3, text="bird", conf=0.5),
    object=Objects(
        area=[0.25, 0.5],
        id=["p", "q"],
        is_crowd=[0, 1],
        bbox=Boxes(
            xmin=[0.125, 0.5],
            xmax=[0.25, 0.75],
            ymin=[0.0, 0.625],
            ymax=[0.375, 1.0],
            label=[0, 300],
            text=["wren", "é"],
            score=[0.75, 0.875],
            conf=[1.0, 0.0625],
        ),
        parts=Parts(x=[0.5, 0.25, 0.125, 1.0], y=[0.0, 0.75, 0.5, 0.25], v=[2, 0, 1, 2], score=[0.5, 1.0, 0.25, 0.0]),
    ),
    extra={"difficult": [1, 0], "b": "ü", "a": None},
)
EXAMPLE = {
    "image/id": [b"7"],
    "image/filename": [b"a/b.jpg"],
    "image/encoded": [IMAGE.data],
    "image/height": [30],
    "image/width": [40],
    "image/colorspace": [b"RGB"],
    "image/channels": [3],
    "image/format": [b"JPEG"],
    "image/extra": ['{"a": null, "b": "ü", "difficult": [1, 0]}'.encode()],
    "image/class/label": [3],
    "image/class/text": [b"bird"],
    "image/class/conf": [0.5],
    "image/object/count": [2],
    "image/object/area": [0.25, 0.5],
    "image/object/id": [b"p", b"q"],
    "image/object/bbox/xmin": [0.125, 0.5],
    "image/object/bbox/xmax": [0.25, 0.75],
    "image/object/bbox/ymin": [0.0, 0.625],
    "image/object/bbox/ymax": [0.375, 1.0],
    "image/object/bbox/score": [0.75, 0.875],
    "image/object/bbox/label": [0, 300],
    "image/object/bbox/text": [b"wren", "é".encode()],
    "image/object/bbox/conf": [1.0, 0.0625],
    "image/object/parts/x": [0.5, 0.25, 0.125, 1.0],
    "image/object/parts/y": [0.0, 0.75, 0.5, 0.25],
    "image/object/parts/v": [2, 0, 1, 2],
    "image/object/parts/score": [0.5, 1.0, 0.25, 0.0],
}
OD_API = {
    "image/source_id": [b"7"],
    "image/key/sha256": [sha256(IMAGE.data).hexdigest().encode()],
    "image/object/class/label": [1, 301],
    "image/object/class/text": [b"wren", "é".encode()],
    "image/object/is_crowd": [0, 1],
    "image/object/group_of": [0, 1],
    "image/object/difficult": [1, 0],
    "image/object/keypoint/x": [0.5, 0.25, 0.125, 1.0],
    "image/object/keypoint/y": [0.0, 0.75, 0.5, 0.25],
    "image/object/keypoint/visibility": [2, 0, 1, 2],
    "image/object/keypoint/num": [1, 2],
    "image/object/keypoint/text": [b"nose", b"", b"", b""],
}
TFDS = {
    "objects/bbox": [0.0, 0.125, 0.375, 0.25, 0.625, 0.5, 1.0, 0.75],
    "objects/label": [0, 300],
    "objects/area": [0.25 * 1200, 0.5 * 1200],
    "objects/is_crowd": [0, 1],
    "objects/id": [b"p", b"q"],
}
NAMES = {0: ("nose",)}


def encode(record: ImageRecord = RECORD, image: EncodedImage = IMAGE, names: Any = NAMES, **options: Any) -> bytes:
    return b"".join(ExampleEncoder(SchemaOptions(**options), names).encode(record, image))


def values_of(data: bytes) -> dict[str, list]:
    return {key: feature.values for key, feature in decode_example(data).items()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, EXAMPLE, id="core"),
        pytest.param({"profiles": [Profile.od_api]}, EXAMPLE | OD_API, id="od_api"),
        pytest.param({"od_api_keys": True}, EXAMPLE | OD_API, id="od_api_keys"),
        pytest.param({"profiles": [Profile.tfds]}, EXAMPLE | TFDS, id="tfds"),
        pytest.param({"profiles": [Profile.tfds, Profile.od_api]}, EXAMPLE | OD_API | TFDS, id="both"),
        pytest.param({"profiles": [Profile.csv, Profile.dali, Profile.croissant]}, EXAMPLE, id="files alone"),
        pytest.param({"store_images": False}, EXAMPLE | {"image/encoded": [b""]}, id="without images"),
        pytest.param({"area": AreaUnit.pixels}, EXAMPLE | {"image/object/area": [300.0, 600.0]}, id="areas in pixels"),
        pytest.param(
            {"area": AreaUnit.pixels, "profiles": [Profile.od_api]},
            EXAMPLE | OD_API | {"image/object/area": [300.0, 600.0]},
            id="areas in pixels, as the metrics of od_api expect them",
        ),
    ],
)
def test_every_key_has_its_value(options: dict[str, Any], expected: dict[str, list]) -> None:
    """A record with every value set is encoded key by key, with entries sorted by key."""
    data = encode(**options)
    assert values_of(data) == expected
    positions = [data.index(bytes([10, len(key)]) + key.encode()) for key in sorted(expected)]
    assert positions == sorted(positions)


def test_each_field_returns_its_values() -> None:
    """`Field.values` returns what is encoded, also for the image, which the encoder handles on its own."""
    assert {field.key: list(field.values(RECORD, IMAGE)) for field in FIELDS} == EXAMPLE


def test_bytes_do_not_change() -> None:
    """The bytes of a record are part of the format: these digests change only with its version."""
    digests = [
        sha256(encode(**options)).hexdigest()[:16] for options in ({}, {"profiles": [Profile.od_api, Profile.tfds]})
    ]
    assert digests == ["a3fad86256d78b6f", "20fd1206a96849b5"]


def test_a_minimal_record_has_every_key() -> None:
    """A minimal record has every key with its kind; scalars have their default, lists are empty."""
    features = decode_example(encode(ImageRecord(filename="a", id="1"), names={}, profiles=list(Profile)))
    kinds = {key: kind for key, kind, _ in CORE_KEYS + OD_API_KEYS + TFDS_KEYS}
    assert {key: feature.kind for key, feature in features.items()} == kinds
    lengths = {key: int(is_scalar) for key, _, is_scalar in CORE_KEYS + OD_API_KEYS + TFDS_KEYS}
    assert {key: len(feature.values) for key, feature in features.items()} == lengths


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("", ""),
        ("{}", "{}"),
        ({"b": 1, "a": {"d": 2, "c": "é"}}, '{"a": {"c": "é", "d": 2}, "b": 1}'),
        ([1.5, None, True], "[1.5, null, true]"),
        (None, "null"),
        (7, "7"),
    ],
)
def test_extra_is_text(extra: object, text: str) -> None:
    """A string is stored unchanged, any other value as JSON with sorted keys and without escaped letters."""
    assert values_of(encode(ImageRecord(filename="a", id="1", extra=extra)))["image/extra"] == [text.encode()]


def test_file_names_may_be_any_bytes() -> None:
    """Names that are not UTF-8 come from the file system with lone surrogates, and are stored as their bytes."""
    record = ImageRecord(filename=b"a\xe9.jpg".decode(errors="surrogateescape"), id="1")
    assert values_of(encode(record))["image/filename"] == [b"a\xe9.jpg"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        pytest.param({"class_": ImageClass(conf=1e300)}, "image/class/conf", id="beyond a float of 32 bits"),
        pytest.param({"class_": ImageClass(text="\ud800")}, "image/class/text", id="not Unicode"),
        pytest.param({"extra": {"a": [1, float("nan")]}}, r"image/extra: `\$\.extra\.a\[1\]`", id="not JSON"),
        pytest.param(
            {"object": Objects(count=2**63 - 1, bbox=Boxes(ymin=[1e39]))}, "image/object/bbox/ymin", id="list"
        ),
    ],
)
def test_values_that_cannot_be_stored_are_named(changes: dict[str, Any], key: str) -> None:
    """A value that does not fit its kind fails its image, with a message that names the key."""
    with pytest.raises(RecordError, match=f"^{key}: this value cannot be stored") as caught:
        encode(ImageRecord(filename="a", id="1", **changes))
    assert caught.value.reason == "annotation_invalid"


def test_one_encoder_serves_lists_of_any_length() -> None:
    """Headers cached for one record do not affect the next: an encoder gives the bytes of a new one."""
    encoder = ExampleEncoder(SchemaOptions())
    for count in (0, 1, 127, 128, 255, 256, 257, 1, 0, 257, 4096):
        boxes = Boxes(
            **dict.fromkeys(("xmin", "xmax", "ymin", "ymax"), [0.5] * count), text=["a" * count] * (count > 0)
        )
        record = ImageRecord(filename="f" * count, id="1", object=Objects(bbox=boxes))
        assert b"".join(encoder.encode(record, IMAGE)) == encode(record)
        assert values_of(encode(record))["image/object/bbox/xmax"] == [0.5] * count


def test_the_image_is_not_copied() -> None:
    """The piece in the middle is the same bytes object that was passed in."""
    head, image, tail = ExampleEncoder(SchemaOptions()).encode(RECORD, IMAGE)
    assert image is IMAGE.data
    assert head.endswith(bytes([10, len(image)]))
    assert tail.startswith(b"\n")


def test_omitted_lists_are_filled_for_tfds() -> None:
    """Missing labels become -1, crowd flags 0, ids empty, and areas those of the boxes."""
    boxes = Boxes(xmin=[0.0, 0.5], xmax=[0.5, 1.0], ymin=[0.0, 0.0], ymax=[0.5, 1.0])
    record = ImageRecord(filename="a", id="1", object=Objects(bbox=boxes))
    got = values_of(encode(record, profiles=[Profile.tfds]))
    assert {key: got[key] for key in TFDS} == {
        "objects/bbox": [0.0, 0.0, 0.5, 0.5, 0.0, 0.5, 1.0, 1.0],
        "objects/label": [-1, -1],
        "objects/area": [300.0, 600.0],
        "objects/is_crowd": [0, 0],
        "objects/id": [b"", b""],
    }


def test_keys_have_the_order_of_the_table() -> None:
    """First the core, then the Object Detection API, then TensorFlow Datasets, whatever the order of profiles."""
    fields = fields_of(SchemaOptions(profiles=[Profile.tfds, Profile.od_api]))
    keys = CORE_KEYS + OD_API_KEYS + TFDS_KEYS
    assert [(field.key, field.kind, field.is_scalar) for field in fields] == keys
