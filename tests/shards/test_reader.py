"""Shards found by directory, file or pattern."""

from pathlib import Path

import pytest

from tests.conftest import MakeDataset
from tfrec_stage import create, read_records
from tfrec_stage.errors import ShardError
from tfrec_stage.shards.reader import find_shards


@pytest.fixture
def shards(tmp_path: Path, make_dataset: MakeDataset) -> Path:
    """A directory of two shards with everything that profiles lay beside them; its name looks like a pattern."""
    directory = tmp_path / "m[1] *"
    create(make_dataset(8), "train", directory, 2, 1, profiles=["od_api", "tfds", "dali", "csv", "croissant"])
    return directory


@pytest.mark.parametrize("place", ["", "train-00000-of-00002"])
def test_a_name_may_look_like_a_pattern(shards: Path, place: str) -> None:
    """A directory or file that exists is taken by its name."""
    expected = [shards / f"train-0000{number}-of-00002" for number in range(1 if place else 2)]
    assert find_shards(shards / place) == expected


@pytest.mark.parametrize("pattern", ["train-*", "*"])
def test_a_pattern_takes_shards_alone(shards: Path, pattern: str) -> None:
    """Files of profiles and accounts beside shards are none."""
    found = find_shards(shards.parent / "m*" / pattern)
    assert [path.name for path in found] == ["train-00000-of-00002", "train-00001-of-00002"]
    assert len(list(read_records(shards.parent / "m*" / pattern))) == 8


def test_a_shard_that_was_cut_is_refused(shards: Path) -> None:
    """A shard of another size than the index has is not read as if it were whole, even if it ends between records."""
    path = shards / "train-00000-of-00002"
    path.unlink()
    path.touch()
    with pytest.raises(ShardError, match=r"bytes in the shard .*, as the index says, but it has 0"):
        find_shards(shards)
    (shards / "index.json").write_text("[" * 100_000)  # says nothing
    assert len(find_shards(shards)) == 2
