"""The steps from shards to elements of a `tf.data.Dataset`, in order.

    shards ──interleave──▶ records ──shuffle──▶ records ──parse, decode──▶ elements ──batch, pad──▶ batches

If images are neither decoded nor loaded, records are batched first and parsed together, which is faster.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tfrec_stage.images.encode import encode_image
from tfrec_stage.images.file import read_image_file
from tfrec_stage.images.policy import ImagePolicy, Verify
from tfrec_stage.reading.fields import FIELD_BY_KEY, feature_spec
from tfrec_stage.reading.options import ReadOptions
from tfrec_stage.reading.sharding import ShardAssignment, count_records
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.schema.tfds import CORNERS_KEY
from tfrec_stage.shards.reader import compression_of

_POLICY: Final = ImagePolicy(verify=Verify.structure)
"""The default options of a build, except that images are not decoded to verify them: TensorFlow decodes them next."""


def decode_image(tf: Any, encoded: Any, image_size: tuple[int, int] | None, antialias: bool = False) -> Any:
    """Pixels of one image.

    Args:
        tf: TensorFlow.
        encoded: the JPEG (or PNG), a string tensor of shape ().
        image_size: height and width in pixels to resize to, without keeping the proportions; None does not resize.
        antialias: whether to filter when an image becomes smaller.

    Returns:
        RGB, uint8 of shape (height, width, 3).
    """
    pixels = tf.io.decode_jpeg(encoded, channels=3)
    if image_size is None:
        return pixels
    # Resized values are floats that may lie slightly outside 0 to 255, which a plain cast would not clip.
    resized = tf.image.resize(pixels, image_size, antialias=antialias)
    return tf.saturate_cast(tf.round(resized), tf.uint8)


def image_loader(tf: Any, images_root: Path) -> Callable[[Any, Any, Any, Any], Any]:
    """A function that gives the stored image of a record, or reads its file if none is stored.

    A file is converted to what `store_images: true` would have stored, an upright RGB JPEG, so boxes and parts fit it.

    Args:
        tf: TensorFlow.
        images_root: folder that relative names of image files start from.

    Returns:
        A function of `image/encoded`, `image/filename`, `image/height` and `image/width`, for use in `Dataset.map`. If
        an image cannot be read it raises `tf.errors.UnknownError` with the reason.
    """

    def read(encoded: bytes, filename: bytes, height: int, width: int) -> bytes:
        if encoded:
            return encoded
        # The size shows whether annotations were made on the upright frame or on the frame in the file.
        content = read_image_file(images_root / os.fsdecode(filename))
        return encode_image(content, _POLICY, annotated_size=(int(width), int(height))).data

    def load(encoded: Any, filename: Any, height: Any, width: Any) -> Any:
        image = tf.numpy_function(read, [encoded, filename, height, width], tf.string, stateful=False)
        return tf.ensure_shape(image, [])  # numpy_function loses the shape

    return load


PIXELS_KEY: Final = "image"
"""Key of the decoded image in an element."""
CYCLE_LENGTH: Final = 16
"""Number of shards that are read at the same time if their order does not matter."""

_LOADER_KEYS: Final = (IMAGE_KEY, "image/filename", "image/height", "image/width")
"""Keys needed to load an image that is not stored."""
_PART_KEYS: Final = frozenset(
    key
    for key in FIELD_BY_KEY
    if key.startswith(("image/object/parts/", "image/object/keypoint/")) and key != "image/object/keypoint/num"
)
"""Lists with one value per part. All other lists have one value per object, except the corners of boxes."""

Element = dict[str, Any]
"""Tensors by key."""


def build_pipeline(assignments: Sequence[ShardAssignment], options: ReadOptions) -> Any:
    """The `tf.data.Dataset` of a reader's records; see `load_dataset`.

    Args:
        assignments: what the reader reads of each shard.
        options: the options of `load_dataset`.
    """
    import tensorflow as tf  # noqa: PLC0415 - takes seconds, and most of this package does not need it

    records = _read_records(tf, assignments, options)
    if options.shuffle:
        records = records.shuffle(options.shuffle_buffer, options.seed)
    batch = _batch_images if options.decodes or options.loads else _batch_records
    elements = batch(tf, records, options)
    if (num_records := count_records(assignments)) is not None:
        # Keras then knows the number of steps per epoch. It also turns a truncated shard into an error instead of a
        # shorter epoch.
        elements = elements.apply(tf.data.experimental.assert_cardinality(_count_elements(num_records, options)))
    if not options.ragged:
        elements = elements.map(_pad(tf, options), tf.data.AUTOTUNE)
    elements = elements.prefetch(tf.data.AUTOTUNE).with_options(_default_options(tf, options))
    return elements if options.options is None else elements.with_options(options.options)


def _count_elements(records: int, options: ReadOptions) -> int:
    """Number of elements: of records, or of batches, rounded down if the remainder is dropped."""
    if options.batch is None:
        return records
    return records // options.batch if options.drop_remainder else -(-records // options.batch)


def _read_records(tf: Any, assignments: Sequence[ShardAssignment], options: ReadOptions) -> Any:
    """Serialized records of all shards; several shards are read at the same time."""
    # Absolute paths, so that the process may change its directory between epochs.
    paths = [os.fsencode(each.path.absolute()) for each in assignments]
    # A tensor needs masks of one length: a mask has `count` entries, or 1 for a whole shard, which is repeated.
    longest = max(len(each.mask) for each in assignments)
    masks = [each.mask * (longest // len(each.mask)) for each in assignments]
    compressions = [compression_of(each.path) for each in assignments]
    files = tf.data.Dataset.from_tensor_slices((paths, compressions, masks))
    if options.shuffle:
        files = files.shuffle(len(assignments), options.seed)

    def read_whole(path: Any, compression: Any, _mask: Any) -> Any:
        return tf.data.TFRecordDataset(path, compression)

    def read_masked(path: Any, compression: Any, mask: Any) -> Any:
        numbered = tf.data.TFRecordDataset(path, compression).enumerate()
        return numbered.filter(lambda number, _: mask[number % longest]).map(lambda _, record: record)

    return files.interleave(
        read_whole if longest == 1 else read_masked,  # without a mask no record has to be numbered and filtered
        cycle_length=options.cycle_length or (min(CYCLE_LENGTH, len(assignments)) if options.shuffle else 1),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _batch_records(tf: Any, records: Any, options: ReadOptions) -> Any:
    """Parsed records, single or in batches, with images as they are stored."""
    spec = feature_spec(options.fields)
    if options.batch is None:
        return records.map(lambda record: tf.io.parse_single_example(record, spec), tf.data.AUTOTUNE)
    batches = records.batch(options.batch, options.drop_remainder)
    return batches.map(lambda batch: tf.io.parse_example(batch, spec), tf.data.AUTOTUNE)


def _batch_images(tf: Any, records: Any, options: ReadOptions) -> Any:
    """Parsed records, single or in batches, with images loaded or decoded."""
    elements = records.map(_image_parser(tf, options), tf.data.AUTOTUNE)
    return elements if options.batch is None else elements.ragged_batch(options.batch, options.drop_remainder)


def _image_parser(tf: Any, options: ReadOptions) -> Callable[[Any], Element]:
    """A function that parses one record and loads or decodes its image."""
    spec = feature_spec((*options.fields, *(_LOADER_KEYS if options.loads else ())))
    load = image_loader(tf, options.images_root or Path()) if options.loads else None

    def parse(record: Any) -> Element:
        element = tf.io.parse_single_example(record, spec)
        if load is not None:
            element[IMAGE_KEY] = load(*(element[key] for key in _LOADER_KEYS))
        element = {key: element[key] for key in options.fields}  # without keys that only the loader needs
        if options.decodes:
            element[PIXELS_KEY] = decode_image(tf, element.pop(IMAGE_KEY), options.image_size, options.antialias)
        return element

    return parse


def _pad(tf: Any, options: ReadOptions) -> Callable[[Element], Element]:
    """A function that pads the ragged lists of a batch to dense tensors."""

    def pad(element: Element) -> Element:
        return {
            key: _to_dense(tf, key, value, options) if isinstance(value, tf.RaggedTensor) else value
            for key, value in element.items()
        }

    return pad


def _to_dense(tf: Any, key: str, lists: Any, options: ReadOptions) -> Any:
    name = "max_parts" if key in _PART_KEYS else "max_objects"
    size = getattr(options, name)
    if size is not None and key == CORNERS_KEY:  # four numbers per box
        size *= 4
    checks = []
    if size is not None:  # `to_tensor` would cut a longer list without an error
        message = f"{key}: a list is longer than {name}={size}; give a larger one"
        checks.append(
            tf.debugging.assert_less_equal(lists.bounding_shape(axis=1), tf.constant(size, tf.int64), message)
        )
    filler = tf.constant("" if lists.dtype == tf.string else -1, lists.dtype)
    with tf.control_dependencies(checks):
        return lists.to_tensor(filler, shape=(None, size))


def _default_options(tf: Any, options: ReadOptions) -> Any:
    defaults = tf.data.Options()
    # A fixed order costs speed, so it is only kept if it was requested: by a seed, or by not shuffling.
    defaults.deterministic = options.is_deterministic
    return defaults
