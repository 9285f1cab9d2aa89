"""The shard store: what it finds, keeps and gives away."""

from pathlib import Path

import pytest

from tests.project import Project
from tfrec_stage.errors import OutputError
from tfrec_stage.shards.account import ShardAccount
from tfrec_stage.shards.previous import StoredShard
from tfrec_stage.shards.store import FEW_RECORDS, ShardStore, open_shelf, previous_of

MANY = FEW_RECORDS // 10 + 1
"""Records of each of ten shards, which are together more than a few."""


def stored(number: int, records: int) -> StoredShard:
    account = ShardAccount(fingerprint="", records=records, size_bytes=0, crc32c=0, statistics={})
    return StoredShard(Path(str(number)), account, Path(), 0)


def looked_at(records: list[int | None], number: int, num_shards: int) -> list[int]:
    """Numbers of the earlier shards in which the records of a shard are looked for."""
    changed = [None if count is None else stored(index, count) for index, count in enumerate(records)]
    return [int(shard.path.name) for shard in previous_of(changed, number, num_shards)]


@pytest.mark.parametrize(
    ("number", "num_shards", "expected"),
    [
        pytest.param(0, 10, [0, 1], id="the first"),
        pytest.param(5, 10, [4, 5, 6], id="as many shards as before"),
        pytest.param(9, 10, [8, 9], id="the last"),
        pytest.param(1, 4, [1, 2, 3, 4, 5], id="fewer shards"),
        pytest.param(0, 1, list(range(10)), id="one shard"),
        pytest.param(7, 20, [2, 3, 4], id="more shards"),
        pytest.param(19, 20, [8, 9], id="the last of more"),
    ],
)
def test_which_of_many_may_hold_a_record(number: int, num_shards: int, expected: list[int]) -> None:
    """Those whose range overlaps that of the shard, and one more on either side."""
    assert looked_at([MANY] * 10, number, num_shards) == expected


def test_few_records_are_looked_for_everywhere() -> None:
    """A full shard passes records on, sometimes far; entries of shards that stay are never needed."""
    assert looked_at([FEW_RECORDS // 10] * 10, 0, 10) == list(range(10))
    assert looked_at([MANY, None, *[MANY] * 8], 0, 10) == [0, *range(2, 10)]
    assert looked_at([MANY, None, *[MANY] * 9], 0, 11) == [0]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Ten images in two shards, built once."""
    made = Project.of(tmp_path, 10, num_shards=2)
    made.build()
    return made


def test_a_shard_that_is_not_there(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """It is not found, and nothing is said."""
    with ShardStore(project.store, project.out) as store:
        assert store.find("0" * 64) is None
        assert store.place("0" * 64, project.root / "target") is None
    assert not (project.root / "target").exists()
    assert caplog.records == []


def test_a_sidecar_that_cannot_be_read(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """It is told; the shard is built anew."""
    name = min(project.names)
    sidecar = project.stored_path(name).with_name(f"{project.names[name]}.jsonl")
    sidecar.unlink()
    sidecar.mkdir()
    with ShardStore(project.store, project.out) as store:
        assert store.find(project.names[name]) is None
    assert f"cannot use the store {project.store / 'v1'} ([Errno 21] Is a directory" in caplog.text


def test_what_is_in_the_way_of_a_shard(project: Project) -> None:
    """A shard takes the place of a half-written one, whether or not the store has it."""
    target = project.root / "target"
    with ShardStore(project.store, project.out) as store:
        for fingerprint in [project.names[min(project.names)], "0" * 64]:
            target.write_bytes(b"half")
            shard = store.place(fingerprint, target)
            assert target.exists() == (shard is not None)
            if shard is not None:
                assert target.samefile(shard.path)


def test_a_store_in_the_place_of_a_file(tmp_path: Path) -> None:
    """Said in one line, with what to do."""
    (tmp_path / "store").touch()
    message = r"cannot make the shard store .*/store/v1: Not a directory; name another store_dir, or null"
    with pytest.raises(OutputError, match=message):
        open_shelf(tmp_path / "store", tmp_path / "out")
