"""TensorFlow Datasets, the released package, reads the files of the profile `tfds`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from tests.exporters.splits import box, build_split
from tfrec_stage import create

tfds = pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets")

CLASSES = [{"class": {"label": number % 3, "text": f"class {number % 3}"}} for number in range(7)]
FILES = {"features.json", "dataset_info.json", "objects-label.labels.txt", "image.class.label.labels.txt"}


def read(directory: Path, split: str = "train", **options: Any) -> list[Any]:
    """Examples as TFDS reads them, in the order of the shards."""
    builder = tfds.builder_from_directory(directory)
    return list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, **options)))


def test_every_key_is_a_feature(tmp_path: Path) -> None:
    """Every example has every key under its own name, with the image decoded."""
    split = build_split(tmp_path, CLASSES, profiles=["tfds", "od_api"])
    examples = read(split.directory)
    stored = list(split.finished().records())
    assert len(examples) == len(stored) == 7
    for example, record in zip(examples, stored, strict=True):
        keys = {name for name in example if name != "objects"} | {f"objects/{name}" for name in example["objects"]}
        assert keys == set(record.features)
        assert example["image/encoded"].shape == (30, 40, 3)
        assert example["image/id"] == record.features["image/id"].values[0]
        assert example["image/object/bbox/xmin"].tolist() == record.features["image/object/bbox/xmin"].values


def test_objects_have_one_entry_per_box(tmp_path: Path) -> None:
    """Under `objects` every list has one entry per box, even for values that the record does not have."""
    records = [box(1, "dog"), box(), {"object": {"count": 2, "is_crowd": [0, 1]}}, {}]
    split = build_split(tmp_path, records, num_shards=1, shuffle=False, profiles=["tfds"], labels=["cat", "dog"])
    objects = [example["objects"] for example in read(split.directory)]
    assert [{len(values) for values in each.values()} for each in objects] == [{1}, {1}, {0}, {0}]
    assert objects[0]["bbox"][0] == pytest.approx([0.2, 0.25, 0.6, 0.75])
    assert objects[0]["area"] == pytest.approx([0.5 * 0.4 * 40 * 30])
    assert [each["label"].tolist() for each in objects] == [[1], [-1], [], []]
    assert objects[0]["is_crowd"].tolist() == [False]
    assert objects[0]["id"].tolist() == [b""]


def test_sizes_of_shards_are_known(tmp_path: Path) -> None:
    """TFDS knows the files and their numbers of examples and bytes, so it can slice the split anywhere."""
    split = build_split(tmp_path, CLASSES, num_shards=3, profiles=["tfds"])
    info = tfds.builder_from_directory(split.directory).info.splits["train"]
    assert [Path(path) for path in info.filepaths] == split.shards()
    assert info.shard_lengths == [shard["records"] for shard in index(split.directory)["shards"]]
    assert info.num_bytes == sum(path.stat().st_size for path in split.shards())
    names = [example["image/id"] for example in read(split.directory)]
    assert [example["image/id"] for example in read(split.directory, "train[2:5]")] == names[2:5]
    assert [example["image/id"] for example in read(split.directory, "train[50%:]")] == names[4:]


def index(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "index.json").read_text())


def test_empty_shards_are_skipped(tmp_path: Path) -> None:
    """A split with empty shards gives all its records."""
    split = build_split(tmp_path, CLASSES[:2], num_shards=5, profiles=["tfds"])
    assert sorted(example["image/id"] for example in read(split.directory)) == [b"0", b"1"]


def test_supervised_gives_image_and_class(tmp_path: Path) -> None:
    """`as_supervised` gives pairs of image and class, and the feature of the class has all names."""
    split = build_split(tmp_path, CLASSES, num_shards=1, shuffle=False, profiles=["tfds"])
    pairs = read(split.directory, as_supervised=True)
    assert [(image.shape, int(label)) for image, label in pairs[:2]] == [((30, 40, 3), 0), ((30, 40, 3), 1)]
    names = tfds.builder_from_directory(split.directory).info.features["image/class/label"].names
    assert names == ["class 0", "class 1", "class 2"]


def test_supervised_gives_objects_if_images_have_no_class(tmp_path: Path) -> None:
    """If no record states the class of its image, the label is a plain number and the target is `objects`."""
    split = build_split(tmp_path, [box(1, "dog")], num_shards=1, profiles=["tfds"])
    ((image, objects),) = read(split.directory, as_supervised=True)
    assert image.shape == (30, 40, 3)
    assert objects["label"].tolist() == [1]
    features = tfds.builder_from_directory(split.directory).info.features
    assert features["objects"]["label"].names == ["0", "dog"]
    assert not isinstance(features["image/class/label"], tfds.features.ClassLabel)


def test_files_equal_those_of_tfds(tmp_path: Path) -> None:
    """TFDS writes the features that it read back byte for byte, and knows every field of dataset_info.json."""
    split = build_split(tmp_path, [*CLASSES, box(1, "dog")], profiles=["tfds"])
    builder = tfds.builder_from_directory(split.directory)
    (tmp_path / "again").mkdir()
    builder.info.features.save_config(str(tmp_path / "again"))
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert set(again) == FILES - {"dataset_info.json"}
    assert again == {name: (split.directory / name).read_bytes() for name in again}
    stated = json.loads((split.directory / "dataset_info.json").read_text())
    kept = json.loads(json_format.MessageToJson(builder.info.as_proto))
    assert stated == {key: value for key, value in kept.items() if key not in {"moduleName", "redistributionInfo"}}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["cat", "cat", "dog"], ["cat", "cat (1)", "dog"]),
        (["two\nlines", " padded ", "padded"], ["two lines", "padded", "padded (2)"]),
        (["été", "  ", "猫"], ["été", "(1)", "猫"]),
    ],
    ids=["twice", "spaces", "unicode"],
)
def test_names_are_read_back_in_order(tmp_path: Path, texts: list[str], expected: list[str]) -> None:
    """TFDS reads one unique name per number, whatever texts the records have."""
    records = [{"class": {"label": number, "text": text}} for number, text in enumerate(texts)]
    split = build_split(tmp_path, records, profiles=["tfds"])
    label = tfds.builder_from_directory(split.directory).info.features["image/class/label"]
    assert (label.names, label.num_classes) == (expected, len(expected))
    assert [label.str2int(name) for name in expected] == list(range(len(expected)))


def test_a_split_without_any_label_is_read(tmp_path: Path) -> None:
    """Without any label there are no files of names, and the label of every box is -1."""
    split = build_split(tmp_path, [box(), {}], profiles=["tfds"])
    assert sorted(example["objects"]["label"].tolist() for example in read(split.directory)) == [[], [-1]]
    assert {path.name for path in split.directory.glob("*.labels.txt")} == set()


def test_images_that_are_not_stored(tmp_path: Path) -> None:
    """With `store_images: false` TFDS reads everything but the image, including the name of its file."""
    split = build_split(tmp_path, CLASSES, profiles=["tfds"], store_images=False)
    examples = read(split.directory)
    assert not any("image/encoded" in example for example in examples)
    assert {example["image/filename"] for example in examples} == {f"{number}.jpg".encode() for number in range(7)}
    assert tfds.builder_from_directory(split.directory).info.supervised_keys is None


def test_directories_of_splits_are_one_dataset(tmp_path: Path) -> None:
    """`builder_from_directories` joins splits with different numbers of shards."""
    build_split(tmp_path, CLASSES)  # draws the images
    for name, numbers, shards in (("train", range(4), 2), ("val", range(4, 6), 1), ("test", range(6, 7), 3)):
        records = [{"id": str(number), "filename": f"{number}.jpg", **CLASSES[number]} for number in numbers]
        assert create(records, name, tmp_path / name, shards, 2, images_root=tmp_path, profiles=["tfds"]) == []
    builder = tfds.builder_from_directories([tmp_path / name for name in ("train", "val", "test")])
    sizes = {name: info.num_examples for name, info in builder.info.splits.items()}
    assert sizes == {"train": 4, "val": 2, "test": 1}
    for name, size in sizes.items():
        assert len(list(builder.as_dataset(split=name))) == size
    assert len(list(builder.as_dataset(split="train+test[:100%]"))) == 5


def test_load_reads_a_directory_by_name_and_version(tmp_path: Path) -> None:
    """`tfds.load` reads a split in `<data_dir>/<name>/<version>`."""
    split = build_split(tmp_path, CLASSES, profiles=["tfds"])
    shutil.copytree(split.directory, tmp_path / "data" / "birds" / "1.0.0")
    dataset, info = tfds.load("birds", data_dir=tmp_path / "data", split="train", with_info=True)
    assert len(list(dataset)) == info.splits["train"].num_examples == 7


def test_croissant_beside_tfds(tmp_path: Path) -> None:
    """TFDS reads any `metadata.json` as free-form metadata, so that of Croissant does not disturb it."""
    split = build_split(tmp_path, CLASSES, profiles=["croissant", "tfds"])
    assert len(read(split.directory)) == 7
    assert tfds.builder_from_directory(split.directory).info.metadata["@type"] == "sc:Dataset"


def test_the_description_is_passed_on(tmp_path: Path) -> None:
    """TFDS gives the name, version, description, licence, address and citation in `about`."""
    about = {
        "name": "birds",
        "version": "2.1.0",
        "description": "In gardens.",
        "license": "CC0",
        "citation": "@misc{b}",
    }
    options = {"profiles": ["tfds"], "about": {**about, "url": "https://example.com/birds"}}
    info = tfds.builder_from_directory(build_split(tmp_path, CLASSES, **options).directory).info
    assert (info.full_name, info.description, info.citation) == ("birds/2.1.0", "In gardens.", "@misc{b}")
    assert (info.redistribution_info.license, info.homepage) == ("CC0", "https://example.com/birds")
