"""The shard store: what it finds, keeps and gives away."""

import json
import os
import shutil
from pathlib import Path

import pytest
from google_crc32c import value

from tests.disk import names
from tests.project import Project
from tfrec_stage.cache.disk_cache import DiskCache, open_cache
from tfrec_stage.cache.hash_cache import ImageHash, ImageSignature
from tfrec_stage.cache.reuse import SEARCH_ALL, ChangedShards
from tfrec_stage.cache.shard_cache import CachedBuild, CachedShard
from tfrec_stage.errors import ManifestError, OutputError
from tfrec_stage.shards.metadata import ShardMetadata, WrittenShard
from tfrec_stage.shards.statistics import Statistics

MANY = SEARCH_ALL // 10 + 1
"""Records of each of ten shards, which are together more than a few."""


def stored(number: int, records: int) -> CachedShard:
    metadata = ShardMetadata(fingerprint="", records=records, size_bytes=0, crc32c=0, statistics={})
    return CachedShard(Path(str(number)), metadata, Path(), 0)


def looked_at(records: list[int | None], number: int, num_shards: int) -> list[int]:
    """Numbers of the earlier shards in which the records of a shard are looked for."""
    changed = [None if count is None else stored(index, count) for index, count in enumerate(records)]
    return [int(shard.path.name) for shard in ChangedShards([changed]).near(number, num_shards)]


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
    assert looked_at([SEARCH_ALL // 10] * 10, 0, 10) == list(range(10))
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
    with DiskCache(project.store, project.out) as store:
        assert store.find("0" * 64) is None
        assert store.link("0" * 64, project.root / "target") is None
    assert not (project.root / "target").exists()
    assert caplog.records == []


def test_a_sidecar_that_cannot_be_read(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """It is told; the shard is built again."""
    name = min(project.names)
    sidecar = project.stored_path(name).with_name(f"{project.names[name]}.jsonl")
    sidecar.unlink()
    sidecar.mkdir()
    with DiskCache(project.store, project.out) as store:
        assert store.find(project.names[name]) is None
    assert f"cannot use the shard cache {project.store / 'v1'} ([Errno 21] Is a directory" in caplog.text


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_shard_of_another_stamp(project: Project, is_damaged: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It is read to the end: whole, it is known by that stamp from then on; damaged, it is removed and told."""
    path = project.stored_path(min(project.names))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"x" if is_damaged else content)
    with DiskCache(project.store, project.out) as store:
        assert (store.find(path.name) is None) == is_damaged
        if not is_damaged:
            path.chmod(0o644)
            path.write_bytes(b"x" * len(content))  # what is not looked for any more behind a stamp that is known
            os.utime(path, ns=(0, stamped_ns(path)))
            assert store.find(path.name) is not None
    assert path.exists() != is_damaged
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged; the shard is built again" for _ in range(is_damaged)
    ]


def stamped_ns(path: Path) -> int:
    """When the shard changed, as its sidecar has it."""
    head = path.with_name(f"{path.name}.jsonl").read_bytes().partition(b"\n")[0]
    return json.loads(head.partition(b" ")[2])["stamp"][1]


@pytest.mark.parametrize("place", [0, 5, 30, 120])
def test_a_head_that_was_changed(project: Project, place: int, caplog: pytest.LogCaptureFixture) -> None:
    """A sidecar of which the checksum or the metadata says something else is not believed."""
    path = project.stored_path(min(project.names))
    sidecar = path.with_name(f"{path.name}.jsonl")
    content = bytearray(sidecar.read_bytes())
    content[place] = ord("1") if content[place] != ord("1") else ord("2")
    sidecar.write_bytes(content)
    with DiskCache(project.store, project.out) as store:
        assert store.find(path.name) is None
    assert not path.exists()
    assert not sidecar.exists()
    assert f"{path} is damaged" in caplog.text


def test_what_is_in_the_way_of_a_shard(project: Project) -> None:
    """A shard takes the place of a half-written one, whether or not the store has it."""
    target = project.root / "target"
    with DiskCache(project.store, project.out) as store:
        for fingerprint in [project.names[min(project.names)], "0" * 64]:
            target.write_bytes(b"half")
            shard = store.link(fingerprint, target)
            assert target.exists() == (shard is not None)
            if shard is not None:
                assert target.samefile(shard.path)


def keep(store: DiskCache, folder: Path, number: int) -> str:
    """Have the store keep a shard; its fingerprint."""
    path, fingerprint = folder / f"shard {number}", f"{number:064x}"
    path.write_bytes(b"%d" % number)
    statistics = Statistics().as_dict()
    metadata = ShardMetadata(
        fingerprint=fingerprint, records=0, size_bytes=1, crc32c=value(b"%d" % number), statistics=statistics
    )
    store.add(WrittenShard(number, path, metadata, b"", folder / "failures", 0))
    return fingerprint


def kept(root: Path) -> tuple[list[str], list[str]]:
    """Fingerprints of the shards of a store, and the kinds of files that builds have there."""
    shards = [name for name in names(root / "v1" / "shards") if not name.endswith(".jsonl")]
    return shards, sorted(path.name.partition(".")[2].rpartition(".")[2] for path in (root / "v1" / "builds").iterdir())


class TestWhatIsKept:
    """Shards that a build needs that has ended or still runs, and no other."""

    def test_a_build_that_runs_beside(self, tmp_path: Path) -> None:
        """A build of the same output that ends first takes nothing from one that still runs."""
        with DiskCache(tmp_path / "store", tmp_path / "out") as running:
            first = keep(running, tmp_path, 1)
            with DiskCache(tmp_path / "store", tmp_path / "out") as other:
                second = keep(other, tmp_path, 2)
                other.commit(CachedBuild([second]), [])
            assert kept(tmp_path / "store") == ([first, second], ["json", "wip"])
            running.commit(CachedBuild([first]), [])
        assert kept(tmp_path / "store") == ([first], ["json"])

    def test_an_interrupted_build(self, tmp_path: Path) -> None:
        """What it made stays until a build of the same output ends well; one of another output leaves it alone."""
        with pytest.raises(KeyboardInterrupt), DiskCache(tmp_path / "store", tmp_path / "out") as store:
            first = keep(store, tmp_path, 1)
            raise KeyboardInterrupt
        assert kept(tmp_path / "store") == ([first], ["wip"])
        with DiskCache(tmp_path / "store", tmp_path / "other") as store:
            assert not store.has_earlier_build()
            store.commit(CachedBuild([]), [])
        assert kept(tmp_path / "store") == ([first], ["json", "wip"])
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            assert store.has_earlier_build()
            store.commit(CachedBuild([]), [])
        assert kept(tmp_path / "store") == ([], ["json", "json"])

    def test_a_build_whose_manifest_changed(self, tmp_path: Path) -> None:
        """Nothing that it made is kept, for it may stand under the wrong key; the newest build loses nothing."""
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            first = keep(store, tmp_path, 1)
            store.commit(CachedBuild([first]), [])
        with pytest.raises(ManifestError), DiskCache(tmp_path / "store", tmp_path / "out") as store:
            keep(store, tmp_path, 2)
            raise ManifestError("changed")
        assert kept(tmp_path / "store") == ([first], ["json"])

    def test_a_build_that_was_refused(self, tmp_path: Path) -> None:
        """It keeps its shards beside those of the newest build until one is finished, and what it knows of images."""
        first_note, second_note = (ImageHash("a", ImageSignature(1, 2, number), b"x" * 32) for number in range(2))
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            first = keep(store, tmp_path, 1)
            store.reject(CachedBuild([first]), [first_note])
        assert kept(tmp_path / "store") == ([first], ["images", "json"])
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            assert (store.latest_build().fingerprints, store.rejected_build().fingerprints) == ([], [first])
            assert store.read_image_hashes() == {"a": first_note}
            second = keep(store, tmp_path, 2)
            store.commit(CachedBuild([second]), [second_note])
            assert (store.latest_build().fingerprints, store.rejected_build().fingerprints) == ([second], [])
            assert store.read_image_hashes() == {"a": second_note}
            store.reject(CachedBuild([second]), [first_note])
            assert store.read_image_hashes() == {"a": second_note}
        assert kept(tmp_path / "store") == ([second], ["images", "json", "json"])

    def test_a_shard_that_is_kept_twice(self, tmp_path: Path) -> None:
        """The same, once more, over what an earlier attempt left half-written."""
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            fingerprint = keep(store, tmp_path, 1)
            (tmp_path / "store" / "v1" / "shards" / f".{fingerprint}.partial").write_bytes(b"half")
            (tmp_path / "shard 1").unlink()
            assert keep(store, tmp_path, 1) == fingerprint
            shard = store.find(fingerprint)
            store.commit(CachedBuild([fingerprint]), [])
        assert shard is not None
        assert shard.path.samefile(tmp_path / "shard 1")
        assert kept(tmp_path / "store") == ([fingerprint], ["json"])


def test_a_store_that_is_gone_before_it_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, finds nothing and keeps nothing, and the build goes on."""
    store = DiskCache(tmp_path / "store", tmp_path / "out")
    shutil.rmtree(tmp_path / "store")
    with store:
        assert (store.latest_build(), store.rejected_build(), store.has_earlier_build(), store.find("0" * 64)) == (
            CachedBuild([]),
            CachedBuild([]),
            False,
            None,
        )
        keep(store, tmp_path, 1)
        store.commit(CachedBuild([f"{1:064x}"]), [])
    assert names(tmp_path) == ["shard 1"]
    assert f"cannot use the shard cache {tmp_path / 'store' / 'v1'}" in caplog.text


def test_a_store_in_the_place_of_a_file(tmp_path: Path) -> None:
    """Said in one line, with what to do."""
    (tmp_path / "store").touch()
    message = r"cannot make the shard cache .*/store/v1: Not a directory; name another store_dir, or null"
    with pytest.raises(OutputError, match=message):
        open_cache(tmp_path / "store", tmp_path / "out")
