"""The shard cache on disk: what it finds, keeps and removes."""

import json
import os
import shutil
from pathlib import Path

import pytest
from google_crc32c import value

from tests.disk import names
from tests.project import Project
from tfrec_stage.cache.disk_cache import DiskCache, open_cache
from tfrec_stage.cache.hash_cache import ImageHash, ImageSignature, encode_image_hashes
from tfrec_stage.cache.shard_cache import CachedBuild
from tfrec_stage.errors import ManifestError, OutputError
from tfrec_stage.shards.metadata import ShardMetadata, WrittenShard
from tfrec_stage.shards.statistics import Statistics


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Ten images in two shards, built once."""
    made = Project.of(tmp_path, 10, num_shards=2)
    made.build()
    return made


def test_a_shard_that_is_not_there(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """It is not found, and nothing is logged."""
    with DiskCache(project.store, project.out) as store:
        assert store.find("0" * 64) is None
        assert store.link("0" * 64, project.root / "target") is None
    assert not (project.root / "target").exists()
    assert caplog.records == []


def test_a_sidecar_that_cannot_be_read(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the shard is built again."""
    name = min(project.names)
    sidecar = project.stored_path(name).with_name(f"{project.names[name]}.jsonl")
    sidecar.unlink()
    sidecar.mkdir()
    with DiskCache(project.store, project.out) as store:
        assert store.find(project.names[name]) is None
    assert f"cannot use the shard cache {project.store / 'v1'} ([Errno 21] Is a directory" in caplog.text


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_shard_of_another_stamp(project: Project, is_damaged: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A shard with another signature is read to the end: accepted with that signature if intact, removed if damaged."""
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
    """Return the mtime of the shard in its sidecar."""
    head = path.with_name(f"{path.name}.jsonl").read_bytes().partition(b"\n")[0]
    return json.loads(head.partition(b" ")[2])["stamp"][1]


@pytest.mark.parametrize("place", [0, 5, 30, 120])
def test_a_head_that_was_changed(project: Project, place: int, caplog: pytest.LogCaptureFixture) -> None:
    """A sidecar whose checksum or metadata disagrees is not believed."""
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
    """A shard replaces a half-written one, whether or not the cache has it."""
    target = project.root / "target"
    with DiskCache(project.store, project.out) as store:
        for fingerprint in [project.names[min(project.names)], "0" * 64]:
            target.write_bytes(b"half")
            shard = store.link(fingerprint, target)
            assert target.exists() == (shard is not None)
            if shard is not None:
                assert target.samefile(shard.path)


def keep(store: DiskCache, folder: Path, number: int) -> str:
    """Add a shard to the cache; return its fingerprint."""
    path, fingerprint = folder / f"shard {number}", f"{number:064x}"
    path.write_bytes(b"%d" % number)
    statistics = Statistics().as_dict()
    metadata = ShardMetadata(
        fingerprint=fingerprint, records=0, size_bytes=1, crc32c=value(b"%d" % number), statistics=statistics
    )
    store.add(WrittenShard(number, path, metadata, b"", folder / "failures", 0))
    return fingerprint


def kept(root: Path) -> tuple[list[str], list[str]]:
    """Return the fingerprints of the shards in a cache, and the suffixes of the files of its builds."""
    shards = [name for name in names(root / "v1" / "shards") if not name.endswith(".jsonl")]
    return shards, sorted(path.name.partition(".")[2].rpartition(".")[2] for path in (root / "v1" / "builds").iterdir())


class TestWhatIsKept:
    """Exactly the shards that a finished or running build needs are kept."""

    def test_a_build_that_runs_beside(self, tmp_path: Path) -> None:
        """A build of the same output that ends first removes nothing that a running one needs."""
        with DiskCache(tmp_path / "store", tmp_path / "out") as running:
            first = keep(running, tmp_path, 1)
            with DiskCache(tmp_path / "store", tmp_path / "out") as other:
                second = keep(other, tmp_path, 2)
                other.commit(CachedBuild([second]))
            assert kept(tmp_path / "store") == ([first, second], ["json", "wip"])
            running.commit(CachedBuild([first]))
        assert kept(tmp_path / "store") == ([first], ["json"])

    def test_an_interrupted_build(self, tmp_path: Path) -> None:
        """Its shards stay until a build of the same output succeeds; builds of other outputs leave them alone."""
        with pytest.raises(KeyboardInterrupt), DiskCache(tmp_path / "store", tmp_path / "out") as store:
            first = keep(store, tmp_path, 1)
            raise KeyboardInterrupt
        assert kept(tmp_path / "store") == ([first], ["wip"])
        with DiskCache(tmp_path / "store", tmp_path / "other") as store:
            assert not store.has_earlier_build()
            store.commit(CachedBuild([]))
        assert kept(tmp_path / "store") == ([first], ["json", "wip"])
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            assert store.has_earlier_build()
            store.commit(CachedBuild([]))
        assert kept(tmp_path / "store") == ([], ["json", "json"])

    def test_a_build_whose_manifest_changed(self, tmp_path: Path) -> None:
        """Nothing that it wrote is kept, as it may have the wrong key; the latest build loses nothing."""
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            first = keep(store, tmp_path, 1)
            store.commit(CachedBuild([first]))
        with pytest.raises(ManifestError), DiskCache(tmp_path / "store", tmp_path / "out") as store:
            keep(store, tmp_path, 2)
            raise ManifestError("changed")
        assert kept(tmp_path / "store") == ([first], ["json"])

    def test_a_rejected_build(self, tmp_path: Path) -> None:
        """A rejected build keeps its shards, and the image hashes, until the next build succeeds."""
        first_note, second_note = (ImageHash("a", ImageSignature(1, 2, number), b"x" * 32) for number in range(2))
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            first = keep(store, tmp_path, 1)
            store.add_image_hashes(encode_image_hashes([first_note]))
            store.reject(CachedBuild([first]))
        assert kept(tmp_path / "store") == ([first], ["images", "json"])
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            assert (store.latest_build().fingerprints, store.rejected_build().fingerprints) == ([], [first])
            assert store.read_image_hashes() == {"a": first_note}
            second = keep(store, tmp_path, 2)
            store.add_image_hashes(encode_image_hashes([second_note]))
            store.commit(CachedBuild([second]))
            assert (store.latest_build().fingerprints, store.rejected_build().fingerprints) == ([second], [])
            assert store.read_image_hashes() == {"a": second_note}
            store.add_image_hashes(encode_image_hashes([first_note]))
            store.reject(CachedBuild([second]))
            assert store.read_image_hashes() == {"a": second_note}
        assert kept(tmp_path / "store") == ([second], ["images", "json", "json"])

    def test_a_shard_that_is_kept_twice(self, tmp_path: Path) -> None:
        """Adding a shard again works, also over the half-written file of an earlier attempt."""
        with DiskCache(tmp_path / "store", tmp_path / "out") as store:
            fingerprint = keep(store, tmp_path, 1)
            (tmp_path / "store" / "v1" / "shards" / f".{fingerprint}.partial").write_bytes(b"half")
            (tmp_path / "shard 1").unlink()
            assert keep(store, tmp_path, 1) == fingerprint
            shard = store.find(fingerprint)
            store.commit(CachedBuild([fingerprint]))
        assert shard is not None
        assert shard.path.samefile(tmp_path / "shard 1")
        assert kept(tmp_path / "store") == ([fingerprint], ["json"])


def test_a_cache_deleted_before_it_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; nothing is found or kept, and the build goes on."""
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
        store.commit(CachedBuild([f"{1:064x}"]))
    assert names(tmp_path) == ["shard 1"]
    assert f"cannot use the shard cache {tmp_path / 'store' / 'v1'}" in caplog.text


def test_a_file_in_the_place_of_the_cache(tmp_path: Path) -> None:
    """It is refused in one line, with what to do."""
    (tmp_path / "store").touch()
    message = r"cannot make the shard cache .*/store/v1: Not a directory; name another store_dir, or null"
    with pytest.raises(OutputError, match=message):
        open_cache(tmp_path / "store", tmp_path / "out")
