"""Encoding of one record: image file, proof that it decodes, Example."""

import pickle
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import encode_noise
from tfrec_stage.build.failures import FailedRecord
from tfrec_stage.build.fingerprint import KeyMaker
from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions, keypoint_names_by_label
from tfrec_stage.build.record_encoder import EncodedRecord, RecordEncoder
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError, RecordError
from tfrec_stage.manifest.parsing import convert_record
from tfrec_stage.records import InvalidRecord
from tfrec_stage.schema.options import Profile

IMAGE = encode_noise(1)
PIN = sha256(IMAGE).hexdigest()


@pytest.fixture
def encoder(tmp_path: Path) -> RecordEncoder:
    """An encoder that finds one image of 40 by 30 pixels."""
    (tmp_path / "a.jpg").write_bytes(IMAGE)
    return RecordEncoder(OutputOptions(), tmp_path)


def encode(encoder: RecordEncoder, **record: Any) -> EncodedRecord | FailedRecord:
    return encoder(convert_record({"filename": "a.jpg", "id": "a", **record}))


def test_an_image_that_is_the_pinned_one(encoder: RecordEncoder) -> None:
    """Its image key is returned, and its hash if no record pins it; an image in the record is not read from a file."""
    held = {"encoded": IMAGE, "height": 30, "width": 40, "format": "JPEG", "colorspace": "RGB", "channels": 3}
    for record in ({}, {"sha256": PIN}, {"filename": "absent.jpg", **held}):
        encoded = encode(encoder, **record)
        assert isinstance(encoded, EncodedRecord)
        key = KeyMaker(encoder.output_options).image_key(encoded.record, bytes.fromhex(PIN))
        assert (encoded.image_key, encoded.payload[1]) == (key, IMAGE)
        assert (encoded.image_hash is None) == bool(record)


@pytest.mark.parametrize(
    ("record", "reason", "message"),
    [
        ({"sha256": "0" * 64}, "image_changed", f"expected an image with sha256 {'0' * 64}, .* but a.jpg has {PIN}"),
        ({"filename": "b.jpg"}, "image_missing", "b.jpg"),
        ({"width": 41, "height": 30}, "annotation_invalid", "41"),
        ({"class": []}, "record_invalid", "expected an object at"),
    ],
)
def test_what_fails_comes_back(encoder: RecordEncoder, record: dict, reason: str, message: str) -> None:
    """A failure is returned with its reason, since the other images go on."""
    failed = encode(encoder, **record)
    assert isinstance(failed, FailedRecord)
    assert failed.reason == reason
    with pytest.raises(RecordError, match=message):
        raise RecordError(failed.reason, failed.message)


def test_a_wrong_size_is_reported_with_other_problems(encoder: RecordEncoder) -> None:
    """Everything that has to be repaired is reported at once."""
    boxes = {"xmin": [0.5], "xmax": [0.25], "ymin": [0.0], "ymax": [1.0]}
    both, alone = (
        encode(encoder, width=41, height=30, **more) for more in ({"object": {"bbox": boxes}}, {"object": {}})
    )
    other = encode(encoder, object={"bbox": boxes})
    assert isinstance(both, FailedRecord)
    assert isinstance(alone, FailedRecord)
    assert isinstance(other, FailedRecord)
    assert both.message == f"{alone.message}; {other.message}"


def test_a_broken_image_is_reported_alone(encoder: RecordEncoder, tmp_path: Path) -> None:
    """Annotations that fit no image are reported once there is one, whether or not the record states a size."""
    (tmp_path / "a.jpg").write_bytes(b"")
    boxes = {"xmin": [0.5], "xmax": [0.25], "ymin": [0.0], "ymax": [1.0]}
    sizes: list[dict[str, int]] = [{}, {"width": 40, "height": 30}]
    failed = [encode(encoder, object={"bbox": boxes}, **size) for size in sizes]
    assert [each.reason for each in failed if isinstance(each, FailedRecord)] == ["image_empty"] * 2
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 broken")
    broken = encode(encoder, object={"bbox": boxes}, width=40, height=30)
    assert isinstance(broken, FailedRecord)
    assert broken.reason.startswith("image_")
    alone = encode(encoder)
    assert isinstance(alone, FailedRecord)
    assert (broken.reason, broken.message) == (alone.reason, alone.message)


def test_a_worker_gets_the_same(encoder: RecordEncoder, tmp_path: Path) -> None:
    """A pickled encoder encodes to the same bytes, keypoint names included."""
    output_options = OutputOptions(encode=EncodeOptions(profiles=[Profile.od_api]))
    named = RecordEncoder(output_options, tmp_path, {1: ("nose",)})
    received = pickle.loads(pickle.dumps(named))
    assert (received.output_options, received.images_root, received.keypoint_names) == (
        output_options,
        tmp_path,
        named.keypoint_names,
    )
    assert encode(received) == encode(named)


def test_around_an_image_that_is_encoded(encoder: RecordEncoder, tmp_path: Path) -> None:
    """The Example is the same without reading the file; an invalid record has none."""
    encoded = encode(encoder)
    assert isinstance(encoded, EncodedRecord)
    (tmp_path / "a.jpg").unlink()
    assert encoder.encode_with_image(encoded.record, encoded.image) == encoded.payload
    with pytest.raises(RecordError, match="no class"):
        encoder.encode_with_image(InvalidRecord("a", "no class"), encoded.image)


def test_names_of_parts_are_for_those_who_have_them() -> None:
    """Only labels that have keypoint names, and only with the profile that stores them."""
    labels = [Label(0, "car"), Label(1, "person", keypoints=("nose",))]
    assert keypoint_names_by_label(labels, EncodeOptions(profiles=[Profile.od_api])) == {1: ("nose",)}
    assert keypoint_names_by_label(labels, EncodeOptions(profiles=[Profile.csv])) == {}


@pytest.mark.parametrize("profile", [Profile.tfds, Profile.dali])
def test_profiles_that_need_uncompressed_shards(profile: Profile) -> None:
    """Profiles that need uncompressed shards and compression are refused together, and accepted alone."""
    with pytest.raises(ConfigError, match=f"expected none with the profile {profile.name}"):
        EncodeOptions(profiles=[profile], compression=Compression.gzip)
    assert EncodeOptions(profiles=[profile]).profiles == [profile]
    assert EncodeOptions(profiles=[Profile.csv], compression=Compression.gzip).compression is Compression.gzip


@pytest.mark.parametrize(
    "option",
    [
        {"compression": "gzip"},
        {"seed": -1},
        {"jpeg_quality": 0},
        {"profiles": ["unknown"]},
        {"profiles": [Profile.csv] * 2},
        {"format": 0},
    ],
)
def test_every_group_of_options_is_checked(option: dict) -> None:
    """Compression, placement, images, schema and the format version."""
    with pytest.raises(ConfigError, match=f"{next(iter(option))}: "):
        EncodeOptions(**option)
