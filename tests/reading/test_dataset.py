"""A `tf.data.Dataset` of shards: its elements, their order, batches and options."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import encode_noise
from tests.reading.conftest import IMAGES
from tfrec_stage import create, load_dataset, read_records
from tfrec_stage.errors import ConfigError, ShardError
from tfrec_stage.schema.fields import FIELDS
from tfrec_stage.shards.directory import find_shards

SIZE = (24, 32)


@pytest.fixture(autouse=True)
def _needs_tensorflow(tf) -> None:
    """Every test here needs TensorFlow."""


def ids(dataset: Any) -> list[str]:
    """Ids of all records, batched or not, in order."""
    return [name.decode() for element in dataset for name in np.atleast_1d(element["image/id"].numpy())]


def stored_ids(shards: Path) -> list[str]:
    return [record["id"] for record in read_records(shards)]


def pixels(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image)


# --- elements --------------------------------------------------------------------------------------------------------


def test_elements_are_the_records(shards: Path) -> None:
    """Elements have every key of every record, in the stored order, with a decoded image in place of its bytes."""
    keys = {field.key for field in FIELDS} - {"image/encoded"} | {"image"}
    records = list(read_records(shards))
    assert len(records) == IMAGES
    for element, record in zip(load_dataset(shards), records, strict=True):
        assert set(element) == keys
        assert element["image"].dtype == np.uint8
        assert element["image"].shape == (record["height"], record["width"], 3)
        difference = element["image"].numpy().astype(int) - pixels(record["encoded"])
        assert abs(difference).mean() < 6  # of 255; the images are noise, and two JPEG decoders differ slightly
        assert element["image/id"].numpy().decode() == record["id"]
        assert element["image/object/count"].numpy() == record["object"]["count"]
        for name in ("xmin", "ymax", "label", "conf"):
            assert element[f"image/object/bbox/{name}"].numpy().tolist() == record["object"]["bbox"][name]
        for name in ("x", "y", "v", "score"):
            assert element[f"image/object/parts/{name}"].numpy().tolist() == record["object"]["parts"][name]


def test_without_decoding_jpegs_are_unchanged(shards: Path) -> None:
    """With `decode=False`, `image/encoded` has the stored bytes."""
    records = list(read_records(shards))
    assert len(records) == IMAGES
    for element, record in zip(load_dataset(shards, decode=False), records, strict=True):
        assert element["image/encoded"].numpy() == record["encoded"]
        assert "image" not in element


def test_only_requested_fields_are_parsed(shards: Path) -> None:
    """Elements have only the requested keys; without `image/encoded` there is no image."""
    elements = load_dataset(shards, fields=["image/class/label", "image/object/bbox/xmin"])
    assert set(elements.element_spec) == {"image/class/label", "image/object/bbox/xmin"}
    assert set(load_dataset(shards, fields=["image/encoded"]).element_spec) == {"image"}


def test_images_are_resized(tf, shards: Path) -> None:
    """Images are resized to `image_size` as TensorFlow does, antialiased or not; `image/width` is unchanged."""
    for antialias in (False, True):
        resized = load_dataset(shards, image_size=SIZE, antialias=antialias)
        assert resized.element_spec["image"].shape == (*SIZE, 3)
        for element, whole in zip(resized, load_dataset(shards), strict=True):
            expected = tf.image.resize(whole["image"], SIZE, antialias=antialias)
            assert abs(element["image"].numpy() - expected.numpy()).max() <= 0.5
            assert element["image/width"].numpy() == whole["image"].shape[1]


def test_images_of_that_size_are_unchanged(shards: Path) -> None:
    """Resizing an image to its own size changes no pixel."""
    same = 0
    for element, whole in zip(load_dataset(shards, image_size=(30, 40)), load_dataset(shards), strict=True):
        if whole["image"].shape == (30, 40, 3):
            assert (element["image"].numpy() == whole["image"].numpy()).all()
            same += 1
    assert same == 14


# --- images that are not stored --------------------------------------------------------------------------------------


def test_images_are_loaded_from_their_files(bare_shards: Path, shards: Path, root: Path) -> None:
    """With `images_root` images, decoded or not, equal those that would have been stored, from PNG files too."""
    for options in ({}, {"decode": False}, {"image_size": SIZE, "batch": 7}):
        loaded = load_dataset(bare_shards, images_root=root / "images", **options)
        key = "image/encoded" if options == {"decode": False} else "image"
        expected = list(load_dataset(shards, **options))
        assert sum(np.size(element["image/id"]) for element in expected) == IMAGES
        for ours, stored in zip(loaded, expected, strict=True):
            assert set(ours) == set(stored)
            assert np.all(ours[key].numpy() == stored[key].numpy())


@pytest.mark.parametrize("declared", [{}, {"width": 40, "height": 30}, {"width": 30, "height": 40}])
def test_loaded_images_are_rotated_like_stored_ones(tmp_path: Path, declared: dict[str, int]) -> None:
    """EXIF rotation is applied to a loaded image exactly if it would have been for storing."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(encode_noise(1))) as image:
        image.save(tmp_path / "turned.jpg", exif=exif)
    for folder, store_images in (("out", True), ("bare", False)):
        dataset = [{"filename": "turned.jpg", "id": "0", **declared}]
        create(dataset, "train", tmp_path / folder, 1, 1, store_images=store_images, images_root=tmp_path)
    (stored,), (loaded,) = load_dataset(tmp_path / "out"), load_dataset(tmp_path / "bare", images_root=tmp_path)
    assert stored["image"].shape == ((30, 40, 3) if declared.get("width") == 40 else (40, 30, 3))
    assert np.array_equal(stored["image"], loaded["image"])


def test_keys_needed_for_loading_are_not_in_elements(bare_shards: Path, root: Path) -> None:
    """The file name and size that loading needs are not in elements unless they were requested."""
    loaded = load_dataset(bare_shards, images_root=root / "images", fields=["image/encoded"])
    assert set(loaded.element_spec) == {"image"}
    assert sum(1 for _ in loaded) == IMAGES


def test_stored_images_are_not_loaded(shards: Path, tmp_path: Path) -> None:
    """An image that is stored in the shard is used even if `images_root` is given."""
    elements = list(zip(load_dataset(shards, images_root=tmp_path), load_dataset(shards), strict=True))
    assert len(elements) == IMAGES
    assert all(np.all(ours["image"].numpy() == stored["image"].numpy()) for ours, stored in elements)


def test_images_that_are_not_stored_cannot_be_decoded(bare_shards: Path) -> None:
    """Decoding shards without images is a ConfigError that names both solutions; reading other keys works."""
    with pytest.raises(ConfigError, match=r"hold no images .* images_root=PATH, or give decode=False"):
        load_dataset(bare_shards)
    assert sum(1 for _ in load_dataset(bare_shards, decode=False)) == IMAGES
    assert sum(1 for _ in load_dataset(bare_shards, fields=["image/id"])) == IMAGES


def test_a_missing_file_stops_the_epoch(tf, bare_shards: Path, tmp_path: Path) -> None:
    """A file that is missing in `images_root` stops the epoch with an error that names it."""
    with pytest.raises(tf.errors.OpError, match=r"expected an image file, but there is no .*\d\d\.(jpeg|png)"):
        list(load_dataset(bare_shards, images_root=tmp_path))


# --- order -----------------------------------------------------------------------------------------------------------


def test_the_order_is_the_stored_one(shards: Path) -> None:
    """Without shuffling, every epoch has the order of `read_records`, batched or not."""
    for options in ({"decode": False}, {"decode": False, "batch": 7}, {"image_size": SIZE, "batch": 7}):
        dataset = load_dataset(shards, **options)
        assert ids(dataset) == ids(dataset) == stored_ids(shards)


def test_shuffling_changes_the_order_each_epoch(shards: Path) -> None:
    """With shuffling each epoch has all records, in a different order."""
    dataset = load_dataset(shards, decode=False, shuffle=True)
    first, second, stored = ids(dataset), ids(dataset), stored_ids(shards)
    assert sorted(first) == sorted(second) == sorted(stored)
    assert first != second != stored != first


def test_a_seed_repeats_the_orders(shards: Path) -> None:
    """Datasets with one seed have the same order in each of their epochs; another seed gives another order."""

    def epochs(seed: int) -> list[list[str]]:
        dataset = load_dataset(shards, decode=False, shuffle=True, seed=seed, shuffle_buffer=8)
        return [ids(dataset) for _ in range(3)]

    assert epochs(1) == epochs(1)
    assert epochs(1) != epochs(2)
    assert len(set(map(tuple, epochs(1)))) == 3


def test_several_shards_at_a_time(shards: Path) -> None:
    """With `cycle_length=2` records of two shards alternate, in the same order each time."""
    dataset = load_dataset(shards, decode=False, cycle_length=2)
    paths = sorted(shards.glob("*-of-*"))
    first, second = ([record["id"] for record in read_records(path)] for path in paths[:2])
    assert ids(dataset)[:4] == [first[0], second[0], first[1], second[1]]
    assert ids(dataset) == ids(dataset)


@pytest.mark.parametrize("readers", [1, 2, 3, 5, 8])
def test_readers_get_the_records_of_read_records(shards: Path, readers: int) -> None:
    """Each reader gets the same records as from `read_records`, in that order; together they get all, each once."""
    everything = []
    for index in range(readers):
        part = ids(load_dataset(shards, decode=False, shard=(index, readers), fields=["image/id"]))
        assert part == [record["id"] for record in read_records(shards, shard=(index, readers))]
        everything += part
    assert sorted(everything) == sorted(stored_ids(shards))


def test_shuffling_keeps_the_records_of_a_reader(shards: Path) -> None:
    """Shuffling changes only the order of a reader's records, even if it shares files with others."""
    options = {"decode": False, "shard": (1, 3)}
    shuffled, stored = ids(load_dataset(shards, **options, shuffle=True, seed=3)), ids(load_dataset(shards, **options))
    assert shuffled != stored
    assert sorted(shuffled) == sorted(stored)


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"decode": False}, {"image_size": SIZE}], ids=["encoded", "decoded"])
def test_batches_are_ragged(tf, shards: Path, options: dict) -> None:
    """In batches, scalars are (b,), lists ragged (b, None), images (b, height, width, 3); the last one is smaller."""
    dataset = load_dataset(shards, batch=16, **options)
    records = read_records(shards)
    sizes = []
    for batch in dataset:
        sizes.append(len(batch["image/id"]))
        assert isinstance(batch["image/object/bbox/xmin"], tf.RaggedTensor)
        expected = [next(records)["object"] for _ in range(sizes[-1])]
        assert batch["image/object/bbox/xmin"].to_list() == [objects["bbox"]["xmin"] for objects in expected]
        assert batch["image/object/parts/v"].to_list() == [objects["parts"]["v"] for objects in expected]
        if "image" in batch:
            assert batch["image"].shape == (sizes[-1], *SIZE, 3)
    assert sizes == [16, 16, 8]


def test_a_small_remainder_is_dropped(shards: Path) -> None:
    """With `drop_remainder` every batch has the same size, and the element spec states it."""
    for options in ({"decode": False}, {"image_size": SIZE}):
        dataset = load_dataset(shards, batch=16, drop_remainder=True, **options)
        assert dataset.element_spec["image/id"].shape == (16,)
        assert [len(batch["image/id"]) for batch in dataset] == [16, 16]


@pytest.mark.parametrize("options", [{"decode": False}, {"image_size": SIZE}], ids=["encoded", "decoded"])
def test_lists_are_padded(shards: Path, options: dict) -> None:
    """With `ragged=False` lists are padded to the longest of a batch, with -1 or empty text after the real values."""
    batches = list(load_dataset(shards, batch=8, ragged=False, **options))
    assert len(batches) == IMAGES / 8
    for batch in batches:
        counts = batch["image/object/count"].numpy()
        xmin, text = batch["image/object/bbox/xmin"].numpy(), batch["image/object/bbox/text"].numpy()
        assert xmin.shape == text.shape == (8, counts.max())
        assert batch["image/object/parts/v"].shape == (8, 2 * counts.max())
        for row, count in enumerate(counts):
            assert (xmin[row, :count] >= 0).all()
            assert (xmin[row, count:] == -1).all()
            assert text[row, count:].tolist() == [b""] * (len(text[row]) - count)


def test_lists_are_padded_to_a_size(shards: Path) -> None:
    """With `max_objects` and `max_parts` every batch has the same shape, and the element spec states it."""
    dataset = load_dataset(
        shards, batch=8, drop_remainder=True, ragged=False, max_objects=5, max_parts=9, image_size=SIZE
    )
    assert dataset.element_spec["image/object/area"].shape == (8, 5)
    assert dataset.element_spec["image/object/parts/x"].shape == (8, 9)
    assert all(spec.shape.is_fully_defined() for spec in dataset.element_spec.values())
    assert sum(len(batch["image/id"]) for batch in dataset) == IMAGES


def test_a_list_that_is_too_long_stops_the_epoch(tf, shards: Path) -> None:
    """A list longer than `max_objects` stops the epoch with an error that names the option; nothing is dropped."""
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"a list is longer than max_objects=2; give a larger one"):
        list(load_dataset(shards, decode=False, batch=8, ragged=False, max_objects=2))


# --- options ---------------------------------------------------------------------------------------------------------


def test_options_are_applied(tf, shards: Path) -> None:
    """`options` are set on the dataset; by default its order is fixed unless it is shuffled without a seed."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 3
    assert load_dataset(shards, options=options).options().threading.private_threadpool_size == 3
    assert load_dataset(shards).options().deterministic
    assert load_dataset(shards, shuffle=True, seed=1).options().deterministic
    assert not load_dataset(shards, shuffle=True).options().deterministic


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 8}, "batch: images of different sizes cannot be batched; give image_size="),
        ({"batch": 0}, "batch: expected a whole number of at least 1, but got 0"),
        ({"batch": 8.0}, "batch: expected a whole number of at least 1, but got 8.0"),
        ({"shuffle_buffer": None, "shuffle": True}, "shuffle_buffer: expected a whole number"),
        ({"cycle_length": 0}, "cycle_length: expected a whole number"),
        ({"shuffle": 1}, "shuffle: expected True or False, but got 1"),
        ({"decode": "no"}, "decode: expected True or False, but got 'no'"),
        ({"seed": 1}, "seed: it only affects shuffling; give shuffle=True"),
        ({"seed": -1, "shuffle": True}, "seed: expected a whole number from 0 below"),
        ({"seed": "a", "shuffle": True}, "seed: expected a whole number from 0 below"),
        ({"image_size": 224}, r"image_size: expected \(height, width\) in pixels, but got 224"),
        ({"image_size": (224, 0)}, r"image_size: expected \(height, width\) in pixels"),
        ({"image_size": SIZE, "decode": False}, "image_size: only decoded images can be resized"),
        ({"image_size": SIZE, "fields": ["image/id"]}, "image_size: only decoded images can be resized"),
        ({"antialias": True}, "antialias: it only applies to resized images; give image_size="),
        ({"ragged": False}, "ragged=False: .*; give batch=SIZE as well"),
        ({"drop_remainder": True}, "drop_remainder: .*; give batch=SIZE as well"),
        ({"max_objects": 5, "batch": 8, "decode": False}, "max_objects: .*; give ragged=False to pad them"),
        ({"max_parts": 0, "ragged": False}, "max_parts: expected a whole number"),
        ({"shard": (2, 2)}, r"shard: expected \(index, count\)"),
        ({"fields": ["image/objects/count"]}, "did you mean 'image/object/count'"),
        ({"fields": ["image/id", "image/source_id"]}, "has no image/source_id; name keys that it has: image/"),
    ],
)
def test_wrong_options_are_refused(shards: Path, options: dict, message: str) -> None:
    """An option out of range, contradicting another, or not in the shards is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=message):
        load_dataset(shards, **options)


def test_shards_without_records(make_dataset: Callable, tmp_path: Path) -> None:
    """All images are read if some shards are empty."""
    create(make_dataset(2), "train", tmp_path / "out", 5, 1)
    assert sorted(ids(load_dataset(tmp_path / "out"))) == ["0", "1"]
    options = {"shuffle": True, "seed": 2**63 - 1, "shard": (0, 1)}
    assert sorted(ids(load_dataset(tmp_path / "out", **options))) == ["0", "1"]
    assert sorted(record["id"] for record in read_records(tmp_path / "out")) == ["0", "1"]


def test_a_directory_without_shards_is_an_error(tmp_path: Path) -> None:
    """An empty directory is a ShardError."""
    with pytest.raises(ShardError, match="expected shards such as"):
        load_dataset(tmp_path)


def test_damage_stops_the_epoch(tf, shards: Path, tmp_path: Path) -> None:
    """A record with a wrong checksum stops the epoch."""
    content = bytearray((shards / "train-00001-of-00005").read_bytes())
    content[-10] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        list(load_dataset(tmp_path / "damaged"))


# --- compressed shards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard", [(0, 1), (1, 3)])
def test_compressed_shards_read_like_plain_ones(shards: Path, tmp_path: Path, shard: tuple[int, int]) -> None:
    """Gzip shards give the same records, for one reader or several; a pattern may mix both kinds."""
    create(read_records(shards), "train", tmp_path / "gzip", 5, 1, compression="gzip")
    assert ids(load_dataset(tmp_path / "gzip", shard=shard)) == ids(load_dataset(shards, shard=shard))
    (tmp_path / "plain").symlink_to(shards)
    mixed = f"{tmp_path}/*/train-*"
    assert ids(load_dataset(mixed)) == 2 * stored_ids(shards)
    assert [record["id"] for record in read_records(mixed)] == 2 * stored_ids(shards)


@pytest.mark.parametrize(
    "key", ["image/object/keypoint/x", "image/object/keypoint/num", "objects/bbox", "objects/label"]
)
def test_keys_of_profiles_are_padded_to_their_own_size(shards: Path, tmp_path: Path, key: str) -> None:
    """Lists of parts are padded to `max_parts`, lists of objects to `max_objects`, corners to four times that."""
    create(read_records(shards), "train", tmp_path / "out", 1, 1, profiles=["od_api", "tfds"])
    width = {"image/object/keypoint/x": 6, "objects/bbox": 12}.get(key, 3)
    dataset = load_dataset(tmp_path / "out", fields=[key], batch=8, ragged=False, max_objects=3, max_parts=6)
    assert [tuple(batch[key].shape) for batch in dataset] == [(8, width)] * (IMAGES // 8)


@pytest.mark.parametrize("shard", [(0, 1), (1, 3), (6, 7)])
@pytest.mark.parametrize("batch", [{}, {"batch": 7}, {"batch": 7, "drop_remainder": True}], ids=str)
def test_the_number_of_elements_is_known(shards: Path, batch: dict[str, Any], shard: tuple[int, int]) -> None:
    """The cardinality is the number of elements, for any reader and batch size."""
    dataset = load_dataset(shards, decode=False, shard=shard, **batch)
    assert dataset.cardinality().numpy() == len(list(dataset))


def test_without_an_index_the_number_is_unknown(tf, shards: Path, tmp_path: Path) -> None:
    """Without an index the cardinality is unknown, and all records are read."""
    for path in find_shards(shards):
        (tmp_path / path.name).symlink_to(path)
    dataset = load_dataset(tmp_path, decode=False)
    assert dataset.cardinality().numpy() == tf.data.UNKNOWN_CARDINALITY
    assert len(list(dataset)) == IMAGES
