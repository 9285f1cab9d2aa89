"""Shards → `tf.data.Dataset`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfrec_stage.errors import ConfigError
from tfrec_stage.reading.fields import DEFAULT_KEYS, FIELD_BY_KEY, check_fields
from tfrec_stage.reading.options import ReadOptions
from tfrec_stage.reading.pipeline import build_pipeline
from tfrec_stage.reading.sharding import assign_shards
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.shards.directory import find_shards
from tfrec_stage.shards.reader import read_features

if TYPE_CHECKING:
    import tensorflow as tf


def load_dataset(
    directory_or_glob: str | Path,
    *,
    fields: Iterable[str] | None = None,
    decode: bool = True,
    image_size: tuple[int, int] | None = None,
    antialias: bool = False,
    images_root: str | Path | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    shuffle_buffer: int = 1024,
    shard: tuple[int, int] = (0, 1),
    batch: int | None = None,
    drop_remainder: bool = False,
    ragged: bool = True,
    max_objects: int | None = None,
    max_parts: int | None = None,
    cycle_length: int | None = None,
    options: "tf.data.Options | None" = None,
) -> "tf.data.Dataset":
    """Shards as a `tf.data.Dataset` of dicts: one epoch, parsed and decoded in parallel, prefetched.

    Elements have the keys of the schema. With `decode` the key `image` replaces `image/encoded`: RGB, uint8 of shape
    (height, width, 3). Scalars have shape (), lists (n,); in a batch of b records (b,) and (b, None), ragged.

    Args:
        directory_or_glob: a directory of shards, one of them, or a pattern such as `data/shards/*/train-*`.
        fields: keys of the schema to parse, and no others; by default those that every record has.
        decode: False keeps `image/encoded` as it is stored.
        image_size: (height, width) in pixels to resize decoded images to, bilinearly, without keeping the proportions.
            Boxes and parts are relative to the image, so they still fit. `image/height` and `image/width` stay those of
            the stored image.
        antialias: filter when images become much smaller; takes about as long as decoding.
        images_root: folder of the image files, for shards with `store_images: false`. Images are what would have been
            stored with the default options.
        shuffle: whether the order is random, a different one in each epoch: first of shards, then of records within a
            buffer. Otherwise records are in the order in which they are stored, as `read_records` gives them.
        seed: makes the random order the same in each run, for one global seed of TensorFlow; at some cost in speed.
        shuffle_buffer: number of records in the buffer, still encoded: 1,024 records of 110 KB take 110 MB.
        shard: `(index, count)` selects the records of one of several readers, the same as in `read_records`. Every
            record belongs to exactly one index below count. Readers get whole files if count divides their number.
        batch: number of records in a batch; None for single records.
        drop_remainder: drop a last batch that is smaller.
        ragged: False pads lists to tensors of shape (b, longest in the batch), with -1 or empty text.
        max_objects: with `ragged=False`, length to pad all lists of objects to; a longer list is an error.
        max_parts: the same for lists of parts, which hold the parts of all objects of an image.
        cycle_length: number of shards to read at the same time, one record of each in turn; by default 16 with
            `shuffle`, else 1, which keeps the order.
        options: further options of the dataset, applied last.

    Raises:
        ConfigError: an option is unknown, out of its range or contradicts another, the first record lacks a key, or its
            image is not stored and `images_root` is not given.
        ShardError: there are no shards, or the first record is damaged.

    Problems of later records are raised by TensorFlow while the dataset is iterated.
    """
    read_options = ReadOptions(
        fields=check_fields(DEFAULT_KEYS if fields is None else fields),
        decode=decode,
        image_size=image_size,
        antialias=antialias,
        images_root=None if images_root is None else Path(images_root),
        shuffle=shuffle,
        seed=seed,
        shuffle_buffer=shuffle_buffer,
        batch=batch,
        drop_remainder=drop_remainder,
        ragged=ragged,
        max_objects=max_objects,
        max_parts=max_parts,
        cycle_length=cycle_length,
        options=options,
    )
    shards = find_shards(directory_or_glob)
    assignments = assign_shards(shards, shard)
    _check_first_record(shards, read_options)
    return build_pipeline(assignments, read_options)


def _check_first_record(shards: Sequence[Path], options: ReadOptions) -> None:
    """Report before the first epoch what would fail in every record."""
    first = next((stored.features for path in shards for stored in read_features(path)), None)
    if first is None:
        return
    missing = [key for key in options.fields if key not in first]
    if missing:
        raise ConfigError(
            f"fields: the first record in {shards[0].parent} has no {', '.join(missing)}; "
            f"name keys that it has: {', '.join(key for key in first if key in FIELD_BY_KEY)}"
        )
    if options.decodes and not options.loads and not any(first[IMAGE_KEY].values):
        raise ConfigError(
            f"decode: the shards in {shards[0].parent} hold no images (store_images: false); name the folder of the "
            "image files with images_root=PATH, or give decode=False"
        )
