"""What TensorFlow's parsers are told of the keys."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tfrec_stage.codecs.example import Kind
from tfrec_stage.codecs.schema import FIELDS, OD_API_FIELDS, TFDS_FIELDS, Field
from tfrec_stage.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

KNOWN: Final[Mapping[str, Field]] = {field.key: field for field in (*FIELDS, *OD_API_FIELDS, *TFDS_FIELDS)}
"""Every key that a record can have."""


def feature_spec(fields: Iterable[str] | None = None) -> "dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]":
    """Feature spec for `tf.io.parse_example` and `tf.io.parse_single_example`.

    A scalar key is parsed to a tensor of shape `()`, a list to shape `(n,)`: ragged once batched.

    Args:
        fields: keys, for example `["image/encoded", "image/class/label"]`; by default those that every record has.

    Raises:
        ConfigError: a key is not one of the schema.
    """
    import tensorflow as tf  # noqa: PLC0415 - seconds, and most of this package does without

    dtypes: dict[Kind, Any] = {Kind.BYTES: tf.string, Kind.FLOAT: tf.float32, Kind.INT64: tf.int64}
    spec = {}
    for key in [field.key for field in FIELDS] if fields is None else fields:
        if key not in KNOWN:
            raise ConfigError(f"fields: expected keys of the schema, but got {key!r}; known are {', '.join(KNOWN)}")
        kind, is_scalar = KNOWN[key].kind, KNOWN[key].is_scalar
        spec[key] = tf.io.FixedLenFeature([], dtypes[kind]) if is_scalar else _ragged(tf, dtypes[kind])
    return spec


def _ragged(tf: Any, dtype: Any) -> Any:
    return tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
