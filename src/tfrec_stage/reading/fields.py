"""The keys that a reader can request, and how TensorFlow parses them."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from tfrec_stage.errors import ConfigError
from tfrec_stage.schema.fields import FIELDS, Field
from tfrec_stage.schema.od_api import OD_API_FIELDS
from tfrec_stage.schema.tfds import TFDS_FIELDS
from tfrec_stage.tfrecord.example import Kind

if TYPE_CHECKING:
    import tensorflow as tf

FIELD_BY_KEY: Final[Mapping[str, Field]] = {field.key: field for field in (*FIELDS, *OD_API_FIELDS, *TFDS_FIELDS)}
"""Every key that a record can have, including those of profiles."""
DEFAULT_KEYS: Final = tuple(field.key for field in FIELDS)
"""The keys that every record has."""


def feature_spec(fields: Iterable[str] | None = None) -> "dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature]":
    """Feature spec for `tf.io.parse_example` and `tf.io.parse_single_example`.

    A scalar key is parsed to a tensor of shape `()`, a list to shape `(n,)`. For a batch of b records the shapes are
    `(b,)` and, as a `tf.RaggedTensor`, `(b, None)`. Types are `tf.string`, `tf.float32` and `tf.int64`.

    Args:
        fields: keys, for example `["image/encoded", "image/class/label"]`; by default those that every record has.

    Raises:
        ConfigError: a key is not in the schema; the text names the nearest one.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, and most of this package does not need it

    dtypes: dict[Kind, Any] = {Kind.BYTES: tf.string, Kind.FLOAT: tf.float32, Kind.INT64: tf.int64}
    spec = {}
    for key in check_fields(DEFAULT_KEYS if fields is None else fields):
        field = FIELD_BY_KEY[key]
        dtype = dtypes[field.kind]
        # int64 as in `Dataset.ragged_batch`, the other way to batch; the default here is int32.
        ragged = tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
        spec[key] = tf.io.FixedLenFeature([], dtype) if field.is_scalar else ragged
    return spec


def check_fields(fields: Iterable[str], known: Collection[str] = FIELD_BY_KEY) -> tuple[str, ...]:
    """The requested keys, without repetitions.

    Args:
        fields: keys, for example `["image/encoded", "image/class/label"]`.
        known: keys that can be requested.

    Raises:
        ConfigError: a key is unknown (the text names the nearest known one), or there is no key.
    """
    # A string is an iterable of strings too: each letter would be reported as an unknown key.
    if isinstance(fields, str):
        raise ConfigError(f"fields: expected a list of keys, but got the text {fields!r}; write [{fields!r}]")
    keys = tuple(dict.fromkeys(fields))
    if not keys:
        raise ConfigError("fields: expected at least one key, but got none; leave fields out to get all")
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"fields: expected keys of the schema, but got {key!r}: {hint}")
    return keys
