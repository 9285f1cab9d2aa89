"""The feature spec works in TensorFlow's own parsers, and knows every key."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reading.conftest import IMAGES
from tfrec_stage import create, feature_spec, read_records
from tfrec_stage.errors import ConfigError
from tfrec_stage.schema.fields import FIELDS
from tfrec_stage.schema.od_api import OD_API_FIELDS


def test_single_examples(tf, shards: Path) -> None:
    """`parse_single_example` gives scalars of shape () and lists of shape (n,) with the values of the records."""
    raw = tf.data.TFRecordDataset([str(path) for path in sorted(shards.glob("*-of-*"))])
    count = 0
    for serialized, record in zip(raw, read_records(shards), strict=True):
        parsed = tf.io.parse_single_example(serialized, feature_spec())
        assert set(parsed) == {field.key for field in FIELDS}
        assert parsed["image/id"].numpy().decode() == record["id"]
        assert parsed["image/object/bbox/xmin"].numpy().tolist() == record["object"]["bbox"]["xmin"]
        assert all(parsed[field.key].shape.rank == (0 if field.is_scalar else 1) for field in FIELDS)
        count += 1
    assert count == IMAGES


def test_batches_of_examples(tf, shards: Path) -> None:
    """`parse_example` gives scalars of shape (b,) and ragged lists of shape (b, None) with the records' values."""
    paths = [str(path) for path in sorted(shards.glob("*-of-*"))]
    (batch,) = tf.data.TFRecordDataset(paths).batch(IMAGES)
    parsed = tf.io.parse_example(batch, feature_spec())
    records = list(read_records(shards))
    for field in FIELDS:
        assert parsed[field.key].shape.as_list() == ([IMAGES] if field.is_scalar else [IMAGES, None])
    assert [name.decode() for name in parsed["image/id"].numpy()] == [record["id"] for record in records]
    assert parsed["image/object/parts/v"].to_list() == [record["object"]["parts"]["v"] for record in records]


def test_keys_of_the_object_detection_api(tf, make_dataset: Callable, tmp_path: Path) -> None:
    """Keys of profiles are in the spec if they are requested."""
    create(make_dataset(3), "train", tmp_path / "out", 1, 1, od_api_keys=True)
    spec = feature_spec([field.key for field in OD_API_FIELDS])
    stored = list(tf.data.TFRecordDataset(str(tmp_path / "out" / "train-00000-of-00001")))
    assert len(stored) == 3
    for serialized in stored:
        parsed = tf.io.parse_single_example(serialized, spec)
        assert len(parsed["image/key/sha256"].numpy()) == 64
        assert parsed["image/object/class/label"].shape == (1,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["image/class/lable"], r"got 'image/class/lable': did you mean 'image/class/label'\?"),
        (["zebra"], r"got 'zebra': known are image/id, image/filename, "),
        ([7], r"got 7: known are image/id, "),
        ([], r"expected at least one key, but got none"),
        ("image/id", r"expected a list of keys, but got the text 'image/id'; write \['image/id'\]"),
    ],
)
def test_wrong_fields_are_refused(fields, message: str) -> None:
    """An unknown key or a value that is not a list of keys is a ConfigError, from all three readers."""
    from tfrec_stage import load_dataset

    for read in (
        feature_spec,
        *(lambda fields, f=f: f("nowhere", fields=fields) for f in (read_records, load_dataset)),
    ):
        with pytest.raises(ConfigError, match=message):
            read(fields)
