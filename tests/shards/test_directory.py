"""Which shards a directory, file or pattern names, and which files in an output directory are foreign."""

from pathlib import Path

import pytest

from tests.conftest import MakeDataset
from tfrec_stage import create, read_records
from tfrec_stage.errors import OutputError, ShardError
from tfrec_stage.shards.directory import find_foreign_files, find_shards, refuse_foreign_files

OWN = ["index.json", "stats.json", "classes.json", "failures.jsonl", "a.b-00000-of-00002", "a.b-100000-of-100001"]
FOREIGN = [
    "aXb-00000-of-00002",
    "a.b-0000-of-00002",
    "a.b-00000-of-0002",
    "a.b-00000-of-00002.index",
    "xa.b-00000-of-00002",
    "index.json.bak",
    "old index.json",
    "indexXjson",
    "label_map.pbtxt",
]


class TestFindShards:
    """Shards are found by directory, file or pattern."""

    @pytest.fixture
    def shards(self, tmp_path: Path, make_dataset: MakeDataset) -> Path:
        """A directory of two shards with the exports of all profiles; its name looks like a pattern."""
        directory = tmp_path / "m[1] *"
        create(make_dataset(8), "train", directory, 2, 1, profiles=["od_api", "tfds", "dali", "csv", "croissant"])
        return directory

    @pytest.mark.parametrize("place", ["", "train-00000-of-00002"])
    def test_a_name_may_look_like_a_pattern(self, shards: Path, place: str) -> None:
        """A path that exists is not used as a pattern."""
        expected = [shards / f"train-0000{number}-of-00002" for number in range(1 if place else 2)]
        assert find_shards(shards / place) == expected

    @pytest.mark.parametrize("pattern", ["train-*", "*"])
    def test_a_pattern_matches_only_shards(self, shards: Path, pattern: str) -> None:
        """Exports and metadata files that a pattern matches are not returned."""
        found = find_shards(shards.parent / "m*" / pattern)
        assert [path.name for path in found] == ["train-00000-of-00002", "train-00001-of-00002"]
        assert len(list(read_records(shards.parent / "m*" / pattern))) == 8

    def test_a_truncated_shard_is_refused(self, shards: Path) -> None:
        """A shard whose size is not that of the index is an error, even if it ends between two records."""
        path = shards / "train-00000-of-00002"
        path.unlink()
        path.touch()
        with pytest.raises(ShardError, match=r"bytes in the shard .*, as the index says, but it has 0"):
            find_shards(shards)
        (shards / "index.json").write_text("[" * 100_000)  # unreadable, so there is no size to compare with
        assert len(find_shards(shards)) == 2


class TestForeignFiles:
    """An output directory is replaced only if it holds nothing but an earlier build of the same name."""

    def test_foreign_files_are_found_by_name(self, tmp_path: Path) -> None:
        """All files are foreign except shards of the same name, metadata files and exports, by their whole names."""
        for name in [*OWN, *FOREIGN]:
            (tmp_path / name).touch()
        assert find_foreign_files(tmp_path, "a.b") == sorted(FOREIGN)
        assert find_foreign_files(tmp_path, "a.b", [r"label_map\.pbtxt"]) == sorted(FOREIGN[:-1])
        assert find_foreign_files(tmp_path, "a.b", [r"label_map"]) == sorted(FOREIGN)

    def test_folders_are_foreign_and_links_are_not(self, tmp_path: Path) -> None:
        """A folder is foreign under any name; a link is not, since removing it leaves what it points to."""
        (tmp_path / "index.json").mkdir()
        (tmp_path / "stats.json").symlink_to(tmp_path / "index.json")
        assert find_foreign_files(tmp_path, "a") == ["index.json"]

    @pytest.mark.parametrize(
        ("count", "shown"),
        [(1, "x0;"), (3, "x0, x1, x2;"), (4, "x0, x1, x2 and 1 more;"), (9, "x0, x1, x2 and 6 more;")],
    )
    def test_foreign_files_are_named(self, tmp_path: Path, count: int, shown: str) -> None:
        """The error names the first three foreign files and the number of the others."""
        for number in range(count):
            (tmp_path / f"x{number}").touch()
        with pytest.raises(OutputError, match=rf"to hold shards of 'a' alone, .* but it holds {shown} move them away"):
            refuse_foreign_files(tmp_path, "a")

    def test_what_may_be_replaced(self, tmp_path: Path) -> None:
        """An absent or empty directory and one of the same build may be replaced, a file may not."""
        refuse_foreign_files(tmp_path / "absent", "a.b")
        refuse_foreign_files(tmp_path, "a.b")
        for name in OWN:
            (tmp_path / name).touch()
        refuse_foreign_files(tmp_path, "a.b")
        with pytest.raises(OutputError, match="to be a directory or absent, but it is a file; name another output_dir"):
            refuse_foreign_files(tmp_path / "index.json", "a.b")
