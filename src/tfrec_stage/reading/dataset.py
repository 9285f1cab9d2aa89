"""Shards → `tf.data.Dataset`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfrec_stage.errors import ConfigError
from tfrec_stage.reading.fields import EVERYWHERE, KNOWN, check_fields
from tfrec_stage.reading.options import ReadOptions
from tfrec_stage.reading.pipeline import build_pipeline
from tfrec_stage.reading.sharding import deal_shards
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.shards.reader import find_shards, read_features

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

    Elements have the keys of the schema, and with `decode` the key `image` in place of `image/encoded`: RGB, uint8 of
    shape (height, width, 3). Scalars have shape (), lists (n,); in a batch of b records (b,) and (b, None), ragged.

    Args:
        directory_or_glob: a directory of shards, one of them, or a pattern such as `data/shards/*/train-*`.
        fields: keys of the schema to parse; nothing else is. By default those that every record has.
        decode: False keeps `image/encoded` as it is stored.
        image_size: (height, width) in pixels that decoded images are resized to, bilinear, whatever their proportions.
            Boxes and parts are relative to the image, so they still fit. `image/height` and `image/width` stay those of
            the stored image.
        antialias: resize with the filter that a much smaller image needs; takes about as long as decoding.
        images_root: folder of the image files, for shards with `store_images: false`; images come as they would have
            been stored with the default options.
        shuffle: whether the order is random: shards first, then records within a buffer; another one each epoch.
            Otherwise records come in the order in which they are stored, as `read_records` gives them.
        seed: makes the random order the same in each run, for one global seed of TensorFlow; at some cost in speed.
        shuffle_buffer: records that the random order is drawn from, still encoded: of 110 KB each, 1,024 take 110 MB.
        shard: `(index, count)` gives this reader its share: every record belongs to exactly one index below count,
            and `read_records` gives the same. Whole files as far as they come out even.
        batch: records a batch; None for single records.
        drop_remainder: leave out a last batch that is smaller.
        ragged: False pads lists to tensors of shape (b, longest in the batch): with -1, or empty text.
        max_objects: with `ragged=False`, size that all lists of objects are padded to; a longer one is an error.
        max_parts: the same for lists of parts, which hold those of all objects of an image.
        cycle_length: shards that are read at the same time, a record of each in turn; by default 16 with `shuffle`,
            else 1, which keeps the order.
        options: further options of the dataset, applied last.

    Raises:
        ConfigError: an option is unknown, out of its range or contradicts another, the first record lacks a key, or its
            image is not stored and `images_root` is not given.
        ShardError: there are no shards, or the first record is damaged.

    What is wrong with later records is raised by TensorFlow while the dataset is iterated.
    """
    asked = ReadOptions(
        fields=check_fields(EVERYWHERE if fields is None else fields),
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
    shares = deal_shards(shards, shard)
    _check_first_record(shards, asked)
    return build_pipeline(shares, asked)


def _check_first_record(shards: Sequence[Path], asked: ReadOptions) -> None:
    """Tell before the first epoch what would fail in every record."""
    first = next((stored.features for path in shards for stored in read_features(path)), None)
    if first is None:
        return
    absent = [key for key in asked.fields if key not in first]
    if absent:
        raise ConfigError(
            f"fields: the first record in {shards[0].parent} has no {', '.join(absent)}; "
            f"name keys that it has: {', '.join(key for key in first if key in KNOWN)}"
        )
    if asked.decodes and not asked.loads and not any(first[IMAGE_KEY].values):
        raise ConfigError(
            f"decode: the shards in {shards[0].parent} hold no images (store_images: false); name the folder of the "
            "image files with images_root=PATH, or give decode=False"
        )
