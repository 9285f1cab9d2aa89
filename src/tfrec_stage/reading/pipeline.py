"""The steps from shards to elements, in the order in which records take them.

    shards ──interleave──▶ records ──shuffle──▶ records ──parse, decode──▶ elements ──batch, pad──▶ batches

Without decoding, records are made a batch first and parsed together, which is faster.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tfrec_stage.reading.fields import KNOWN
from tfrec_stage.reading.images import decode_image, image_loader
from tfrec_stage.reading.options import ReadOptions
from tfrec_stage.reading.sharding import Share, count_records
from tfrec_stage.reading.spec import feature_spec
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.schema.tfds import CORNERS_KEY
from tfrec_stage.shards.reader import compression_of

PIXELS_KEY: Final = "image"
"""Where elements have the decoded image."""
CYCLE_LENGTH: Final = 16
"""Shards that are read at the same time, where their order does not matter."""

_LOADED_BY: Final = (IMAGE_KEY, "image/filename", "image/height", "image/width")
"""Keys needed to load an image that is not stored."""
_OF_PARTS: Final = frozenset(
    key
    for key in KNOWN
    if key.startswith(("image/object/parts/", "image/object/keypoint/")) and key != "image/object/keypoint/num"
)
"""Lists with a value a part; all others have one an object, but for the corners of boxes."""

Element = dict[str, Any]
"""Tensors by key."""


def build_pipeline(shares: Sequence[Share], options: ReadOptions) -> Any:
    """A `tf.data.Dataset` of these shares; see `load_dataset`."""
    import tensorflow as tf  # noqa: PLC0415 - seconds, and most of this package does without

    records = _read_shares(tf, shares, options)
    if options.shuffle:
        records = records.shuffle(options.shuffle_buffer, options.seed)
    make = _batch_images if options.decodes or options.loads else _batch_records
    elements = make(tf, records, options)
    if (records_in_all := count_records(shares)) is not None:
        # Keras then knows how many steps an epoch has, and a shard that is not whole is no shorter epoch.
        elements = elements.apply(tf.data.experimental.assert_cardinality(_count_elements(records_in_all, options)))
    if not options.ragged:
        elements = elements.map(_pad(tf, options), tf.data.AUTOTUNE)
    elements = elements.prefetch(tf.data.AUTOTUNE).with_options(_own_options(tf, options))
    return elements if options.options is None else elements.with_options(options.options)


def _count_elements(records: int, options: ReadOptions) -> int:
    if options.batch is None:
        return records
    return records // options.batch if options.drop_remainder else -(-records // options.batch)


def _read_shares(tf: Any, shares: Sequence[Share], options: ReadOptions) -> Any:
    """Serialized records, several shards at the same time."""
    paths = [os.fsencode(share.path.absolute()) for share in shares]  # whoever changes directory reads on
    longest = max(len(share.turns) for share in shares)
    turns = [share.turns * (longest // len(share.turns)) for share in shares]
    compressions = [compression_of(share.path) for share in shares]
    files = tf.data.Dataset.from_tensor_slices((paths, compressions, turns))
    if options.shuffle:
        files = files.shuffle(len(shares), options.seed)

    def read_whole(path: Any, compression: Any, _turns: Any) -> Any:
        return tf.data.TFRecordDataset(path, compression)

    def read_turns(path: Any, compression: Any, turns: Any) -> Any:
        numbered = tf.data.TFRecordDataset(path, compression).enumerate()
        return numbered.filter(lambda number, _: turns[number % longest]).map(lambda _, record: record)

    return files.interleave(
        read_whole if longest == 1 else read_turns,
        cycle_length=options.cycle_length or (min(CYCLE_LENGTH, len(shares)) if options.shuffle else 1),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _batch_records(tf: Any, records: Any, options: ReadOptions) -> Any:
    """Parsed records whose images stay as they are."""
    spec = feature_spec(options.fields)
    if options.batch is None:
        return records.map(lambda record: tf.io.parse_single_example(record, spec), tf.data.AUTOTUNE)
    batches = records.batch(options.batch, options.drop_remainder)
    return batches.map(lambda batch: tf.io.parse_example(batch, spec), tf.data.AUTOTUNE)


def _batch_images(tf: Any, records: Any, options: ReadOptions) -> Any:
    """Parsed records whose images are loaded or decoded, one by one."""
    elements = records.map(_image_parser(tf, options), tf.data.AUTOTUNE)
    return elements if options.batch is None else elements.ragged_batch(options.batch, options.drop_remainder)


def _image_parser(tf: Any, options: ReadOptions) -> Callable[[Any], Element]:
    spec = feature_spec((*options.fields, *(_LOADED_BY if options.loads else ())))
    load = image_loader(tf, options.images_root or Path()) if options.loads else None

    def parse(record: Any) -> Element:
        element = tf.io.parse_single_example(record, spec)
        if load is not None:
            element[IMAGE_KEY] = load(*(element[key] for key in _LOADED_BY))
        element = {key: element[key] for key in options.fields}
        if options.decodes:
            element[PIXELS_KEY] = decode_image(tf, element.pop(IMAGE_KEY), options.image_size, options.antialias)
        return element

    return parse


def _pad(tf: Any, options: ReadOptions) -> Callable[[Element], Element]:
    """What makes ragged lists of a batch dense."""

    def pad(element: Element) -> Element:
        return {
            key: _to_dense(tf, key, value, options) if isinstance(value, tf.RaggedTensor) else value
            for key, value in element.items()
        }

    return pad


def _to_dense(tf: Any, key: str, lists: Any, options: ReadOptions) -> Any:
    name = "max_parts" if key in _OF_PARTS else "max_objects"
    size = getattr(options, name)
    if size is not None and key == CORNERS_KEY:
        size *= 4
    checks = []
    if size is not None:
        message = f"{key}: a list is longer than {name}={size}; give a larger one"
        checks.append(
            tf.debugging.assert_less_equal(lists.bounding_shape(axis=1), tf.constant(size, tf.int64), message)
        )
    filler = tf.constant("" if lists.dtype == tf.string else -1, lists.dtype)
    with tf.control_dependencies(checks):
        return lists.to_tensor(filler, shape=(None, size))


def _own_options(tf: Any, options: ReadOptions) -> Any:
    own = tf.data.Options()
    own.deterministic = options.is_deterministic
    return own
