"""The files for TensorFlow Datasets and Croissant, checked without the packages that read them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exporters.splits import Record, Split, box, build_split
from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.schema.fields import FIELDS
from tfrec_stage.schema.options import Profile
from tfrec_stage.schema.tfds import TFDS_FIELDS

CLASSES: list[Record] = [{"class": {"label": number % 3, "text": f"class {number % 3}"}} for number in range(7)]
FILES = {
    "tfds": {"features.json", "dataset_info.json", "objects-label.labels.txt", "image.class.label.labels.txt"},
    "croissant": {"metadata.json"},
}
ALL = sorted(FILES)


@pytest.fixture
def build_again(tmp_path: Path) -> Callable[..., tuple[Split, int]]:
    """A function that builds the same images with a store; returns the split and the number of shards written."""
    directory = build_split(tmp_path, CLASSES).directory  # draws the images
    records = [{"id": str(number), "filename": f"{number}.jpg"} | record for number, record in enumerate(CLASSES)]

    def make(*profiles: str) -> tuple[Split, int]:
        output_options = OutputOptions(EncodeOptions(profiles=[Profile(name) for name in profiles]))
        request = BuildRequest("train", directory, 2, output_options, tmp_path, store_directory=tmp_path / "store")
        return Split(directory), len(build(RecordList(records), request).built)

    return make


def names_in(split: Split) -> set[str]:
    return {path.name for path in split.directory.iterdir()} & set().union(*FILES.values())


def test_croissant_builds_no_shard(build_again: Callable[..., tuple[Split, int]]) -> None:
    """Adding or removing a profile without keys of its own builds no shard."""
    assert build_again()[1] == 2
    for profiles in (["croissant"], ["croissant"], []):
        split, built = build_again(*profiles)
        assert built == 0
        assert names_in(split) == (FILES["croissant"] if profiles else set())


def test_tfds_builds_every_shard_once(build_again: Callable[..., tuple[Split, int]]) -> None:
    """Adding or removing a profile with keys builds every shard once; without the profile its files are gone."""
    assert [build_again(*profiles)[1] for profiles in ([], ["tfds"], ["tfds"])] == [2, 2, 0]
    split, built = build_again("tfds", "croissant")
    assert (names_in(split), built) == (FILES["tfds"] | FILES["croissant"], 0)
    split, built = build_again()
    assert (names_in(split), built) == (set(), 2)


def test_files_do_not_depend_on_threads(tmp_path: Path) -> None:
    """Neither the number of threads nor the directory changes a byte of any file."""
    made = []
    for threads in (1, 4):
        (tmp_path / str(threads)).mkdir()
        split = build_split(tmp_path / str(threads), [*CLASSES, box(1)], profiles=ALL, num_threads=threads)
        made.append({path.name: path.read_bytes() for path in split.directory.iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) > set().union(*FILES.values())


def test_features_are_the_keys(tmp_path: Path) -> None:
    """features.json has every key of a record: those of objects nested, the others under their own names."""
    split = build_split(tmp_path, CLASSES, profiles=["tfds"])
    features = json.loads((split.directory / "features.json").read_text())["featuresDict"]["features"]
    nested = features.pop("objects")["sequence"]["feature"]["featuresDict"]["features"]
    assert set(features) == {field.key for field in FIELDS}
    assert {f"objects/{name}" for name in nested} == {field.key for field in TFDS_FIELDS}


def test_images_that_are_not_stored_are_not_features(tmp_path: Path) -> None:
    """With `store_images: false` features.json has no image, and dataset_info.json no supervised keys."""
    split = build_split(tmp_path, CLASSES, profiles=["tfds"], store_images=False)
    assert "image/encoded" not in (split.directory / "features.json").read_text()
    assert "supervisedKeys" not in json.loads((split.directory / "dataset_info.json").read_text())
