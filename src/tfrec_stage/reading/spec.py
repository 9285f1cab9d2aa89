"""What TensorFlow's parsers are told of the keys."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tfrec_stage.reading.fields import EVERYWHERE, KNOWN, check_fields
from tfrec_stage.tfrecord.example import Kind

if TYPE_CHECKING:
    import tensorflow as tf


def feature_spec(fields: Iterable[str] | None = None) -> "dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]":
    """Feature spec for `tf.io.parse_example` and `tf.io.parse_single_example`.

    A scalar key is parsed to a tensor of shape `()`, a list to shape `(n,)`; of a batch of b records to `(b,)` and to
    a `tf.RaggedTensor` of shape `(b, None)`. Types are `tf.string`, `tf.float32` and `tf.int64`.

    Args:
        fields: keys, for example `["image/encoded", "image/class/label"]`; by default those that every record has.

    Raises:
        ConfigError: a key is not one of the schema; the text names the nearest one.
    """
    import tensorflow as tf  # noqa: PLC0415 - seconds, and most of this package does without

    dtypes: dict[Kind, Any] = {Kind.BYTES: tf.string, Kind.FLOAT: tf.float32, Kind.INT64: tf.int64}
    spec = {}
    for key in check_fields(EVERYWHERE if fields is None else fields):
        kind, is_scalar = KNOWN[key].kind, KNOWN[key].is_scalar
        spec[key] = tf.io.FixedLenFeature([], dtypes[kind]) if is_scalar else _ragged(tf, dtypes[kind])
    return spec


def _ragged(tf: Any, dtype: Any) -> Any:
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
