"""Only what changed is built, and the result equals a clean build, byte for byte."""

import json
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from google_crc32c import value

from tests.project import Project, files, read_all
from tfrec_stage import create
from tfrec_stage.build import image_hashes
from tfrec_stage.build.build import BuildReport
from tfrec_stage.build.image_hashes import add_image_hashes
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ManifestError
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.manifest.json_lines import JsonLines
from tfrec_stage.schema.options import Profile

COUNT = 40
LONG_AGO_S = 1_600_000_000
ALL = {f"train-{number:05d}-of-00004" for number in range(4)}


@pytest.fixture(params=[True, False], ids=["pinned", "unpinned"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """Forty images in four shards, built once; the files have been unchanged for years."""
    made = Project.of(tmp_path / "project", COUNT, is_pinned=request.param)
    made.build()
    settle(made)
    return made


@pytest.fixture
def pinned(tmp_path: Path) -> Project:
    """The same project with a manifest that pins its images."""
    made = Project.of(tmp_path / "project", COUNT)
    made.build()
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the images that are read, by the module that reads them."""
    counted: Counter[str] = Counter()

    def counting(module: str, read: Callable[[object], bytes]) -> Callable[[object], bytes]:
        def count(path: object) -> bytes:
            counted[module] += 1
            return read(path)

        return count

    # Images that no record pins are read by image_hashes, on behalf of the encoder too.
    for module in ("record_encoder", "image_hashes"):
        target = f"tfrec_stage.build.{module}.read_image_file"
        monkeypatch.setattr(target, counting(module, image_hashes.read_image_file))
    return counted


def settle(project: Project) -> None:
    """Make all images old enough for their hashes to be cached."""
    for image in (project.root / "images").iterdir():
        os.utime(image, (LONG_AGO_S, LONG_AGO_S))


@dataclass
class Rebuilt:
    """What a build after a change did."""

    report: BuildReport
    encoded: int
    """Records that were not copied."""


def rebuild(project: Project) -> Rebuilt:
    """Build again and check what holds for every build.

    The result equals a clean build. Only shards that did not exist before are encoded. Every shard is the
    same inode as in the cache, and unchanged shards keep their inode.
    """
    before = files(project.store / "v1" / "shards") if (project.store / "v1").exists() else {}
    report = project.build()
    assert read_all(project.out) == project.build_clean()
    stored, linked = files(project.store / "v1" / "shards"), files(project.out)
    with_records = {shard.name for shard in report.shards if shard.records}  # those without are all the same
    assert {name: linked[name] for name in with_records} == {n: stored[project.names[n]] for n in with_records}
    unchanged = {name for name, fingerprint in project.names.items() if before.get(fingerprint) == linked[name]}
    assert set(report.built) == project.names.keys() - unchanged
    assert stored.keys() == {
        *project.names.values(),
        *(f"{fingerprint}.jsonl" for fingerprint in project.names.values()),
    }
    records = sum(shard.records for shard in report.shards if shard.name in report.built)
    return Rebuilt(report, records - report.copied_records)


class TestOneChange:
    """The cost of one change."""

    def test_nothing(self, project: Project) -> None:
        """Nothing changed: every shard is linked."""
        assert rebuild(project).report.built == ()

    def test_content_under_the_same_name(self, project: Project) -> None:
        """Another image under the same name: one shard is written, one image encoded, the others are copied."""
        project.draw("7", 4711)
        rebuilt = rebuild(project)
        assert (len(rebuilt.report.built), rebuilt.encoded) == (1, 1)

    def test_one_label(self, project: Project) -> None:
        """One changed label: one shard, one image."""
        project.records["7"]["class"]["label"] = 2
        rebuilt = rebuild(project)
        assert (len(rebuilt.report.built), rebuilt.encoded) == (1, 1)

    def test_another_file_name(self, project: Project) -> None:
        """The same image under another file name, which is stored: one shard, one image."""
        old = project.image("7")
        project.records["7"]["filename"] = "renamed.jpeg"
        old.rename(project.image("7"))
        rebuilt = rebuild(project)
        assert (len(rebuilt.report.built), rebuilt.encoded) == (1, 1)

    def test_another_id(self, project: Project) -> None:
        """A record under another id may move: both shards are written, one image is encoded."""
        project.records["renamed"] = project.records.pop("7") | {"id": "renamed"}
        rebuilt = rebuild(project)
        assert 1 <= len(rebuilt.report.built) < 4
        assert rebuilt.encoded == 1

    def test_one_more(self, project: Project) -> None:
        """One added image: only it is encoded."""
        project.add("new")
        rebuilt = rebuild(project)
        assert 1 <= len(rebuilt.report.built) < 4
        assert rebuilt.encoded == 1

    def test_with_room_in_the_shards(self, tmp_path: Path) -> None:
        """If shards have room, adding or removing an image changes only its own shard."""
        project = Project.of(tmp_path, 400, num_shards=2)
        project.build()
        project.add("new")
        rebuilt = rebuild(project)
        assert (len(rebuilt.report.built), rebuilt.encoded) == (1, 1)
        project.remove("7")
        rebuilt = rebuild(project)
        assert (len(rebuilt.report.built), rebuilt.encoded) == (1, 0)

    def test_one_less(self, project: Project) -> None:
        """One removed image: nothing is encoded, although other records move."""
        project.remove("7")
        rebuilt = rebuild(project)
        assert rebuilt.report.built
        assert rebuilt.encoded == 0

    @pytest.mark.parametrize("edit", ["add", "remove"])
    def test_without_shuffling(self, project: Project, edit: str) -> None:
        """In the manifest's order every border moves: everything is copied except a new image."""
        project.encode = {"shuffle": False}
        assert rebuild(project).encoded == 0
        (project.add if edit == "add" else project.remove)("7" if edit == "remove" else "new")
        assert rebuild(project).encoded == (edit == "add")

    def test_there_and_back(self, project: Project) -> None:
        """Undoing a change is another change: the cache keeps only the latest build."""
        label = project.records["7"]["class"]["label"]
        project.records["7"]["class"]["label"] = 2
        rebuild(project)
        project.records["7"]["class"]["label"] = label
        assert rebuild(project).encoded == 1


class TestOptions:
    """The cost of a changed option."""

    @pytest.mark.parametrize("num_shards", [1, 2, 3, 5, 8, 50])
    def test_num_shards(self, project: Project, num_shards: int) -> None:
        """Another number of shards: other shards, but no record is encoded again."""
        project.num_shards = num_shards
        rebuilt = rebuild(project)
        assert (len(project.names), rebuilt.encoded) == (num_shards, 0)

    def test_seed(self, project: Project) -> None:
        """Another order: every shard is written, nothing is encoded."""
        project.encode = {"seed": 1}
        rebuilt = rebuild(project)
        assert (set(rebuilt.report.built), rebuilt.encoded) == (ALL, 0)

    @pytest.mark.parametrize("option", [{"jpeg_quality": 50}, {"od_api_keys": True}, {"store_images": False}])
    def test_what_decides_every_record(self, project: Project, option: dict) -> None:
        """Options that change the bytes of records: everything is encoded again."""
        project.encode = option
        rebuilt = rebuild(project)
        assert (set(rebuilt.report.built), rebuilt.encoded) == (ALL, COUNT)

    def test_names_of_parts(self, project: Project) -> None:
        """Keypoint names that records store change every record; unchanged names cost nothing."""
        project.encode = {"profiles": [Profile.od_api]}
        project.labels = (Label(1, "person", keypoints=("nose",)),)
        rebuild(project)
        assert rebuild(project).report.built == ()
        project.labels = (Label(1, "person", keypoints=("tail",)),)
        rebuilt = rebuild(project)
        assert (set(rebuilt.report.built), rebuilt.encoded) == (ALL, COUNT)

    def test_other_versions_of_pillow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another Pillow encodes again the images that were re-encoded, and no others."""
        project = Project.of(tmp_path, COUNT)
        project.add("drawing", "PNG")
        project.build()
        shard = project.shard_of("drawing")
        monkeypatch.setattr("PIL.features.version_module", lambda _: "99")
        pixel_codec.cache_clear()
        try:
            rebuilt = rebuild(project)
            again = rebuild(project)
        finally:
            pixel_codec.cache_clear()
        assert (rebuilt.report.built, rebuilt.encoded) == ((shard,), 1)
        assert again.report.built == ()


class TestImages:
    """Which images are read."""

    def test_unchanged_pinned_images_are_not_read(self, pinned: Project, reads: Counter[str]) -> None:
        """One image of a pinned manifest changes and all others are missing: only that one is read."""
        pinned.draw("7", 4711)
        expected = pinned.build_clean()
        reads.clear()
        for name in pinned.records.keys() - {"7"}:
            pinned.image(name).unlink()
        assert len(pinned.build().built) == 1
        assert reads == {"record_encoder": 1}
        assert read_all(pinned.out) == expected

    def test_an_unchanged_pinned_manifest_reads_no_image(self, pinned: Project, reads: Counter[str]) -> None:
        """Nothing changed and no image exists: nothing is missed."""
        expected = read_all(pinned.out)
        shutil.rmtree(pinned.root / "images")
        assert pinned.build().built == ()
        assert (reads, read_all(pinned.out)) == ({}, expected)

    def test_an_unchanged_pinned_manifest_is_not_read(self, pinned: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its digest shows that all shards are those of the latest build: no record is read, no image hashed."""
        assert json.loads((pinned.out / "classes.json").read_text())[0]["name"] == "1"  # learnt, for no label names it
        monkeypatch.setattr(JsonLines, "scan", lambda *_: pytest.fail("a walk"))
        assert pinned.build().built == ()
        assert read_all(pinned.out)["classes.json"]

    def test_touched_pinned_images_are_not_read(self, pinned: Project, reads: Counter[str]) -> None:
        """Newer mtimes make no difference for pinned images."""
        for name in pinned.records:
            pinned.image(name).touch()
        assert pinned.build().built == ()
        assert reads == {}

    def test_touched_unpinned_images_are_hashed(self, tmp_path: Path, reads: Counter[str]) -> None:
        """Unpinned images are read and hashed once, again only if their signature changed, and not encoded."""
        project = Project.of(tmp_path, COUNT, is_pinned=False)
        settle(project)
        assert (project.build().built, reads) == (tuple(sorted(ALL)), {"image_hashes": COUNT})
        assert (project.build().built, reads) == ((), {"image_hashes": COUNT})
        os.utime(project.image("7"), (LONG_AGO_S, LONG_AGO_S + 1))
        assert (project.build().built, reads) == ((), {"image_hashes": COUNT + 1})

    def test_a_fresh_file_is_not_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that had just changed when it was hashed is read again, however long the build took after that."""
        project = Project.of(tmp_path, COUNT, is_pinned=False)
        project.build()
        image = project.image("7")
        image.touch()
        in_an_hour = SimpleNamespace(time_ns=lambda: time.time_ns() + 3600 * 10**9)
        after_hashing(monkeypatch, lambda: monkeypatch.setattr(image_hashes, "time", in_an_hour))
        project.build()
        monkeypatch.undo()
        change_unseen(image)
        project.build()
        assert read_all(project.out) == project.build_clean()

    def test_another_image_of_the_same_time_and_length(self, tmp_path: Path) -> None:
        """As `tar` may leave it: another content with the same inode, size and mtime."""
        project = Project.of(tmp_path, COUNT, is_pinned=False)
        settle(project)
        project.build()
        project.build()
        change_unseen(project.image("7"))
        project.build()
        assert read_all(project.out) == project.build_clean()

    def test_an_image_that_changes_between_hashing_and_encoding(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The metadata describes what was stored, not what was hashed before."""
        project = Project.of(tmp_path, COUNT, is_pinned=False)
        project.build()
        project.draw("7", 4711)
        after_hashing(monkeypatch, lambda: project.draw("7", 4712))
        project.build()
        monkeypatch.undo()
        assert rebuild(project).report.built == ()


def after_hashing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something after the images are hashed and before any is encoded."""

    def complete_and_act(*arguments) -> bytearray:
        keys = add_image_hashes(*arguments)
        act()
        return keys

    monkeypatch.setattr("tfrec_stage.build.run.add_image_hashes", complete_and_act)


def change_unseen(path: Path) -> None:
    """Change the content of a file, but not its length and mtime."""
    stamp = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-6, os.SEEK_END)
        old = file.read(1)
        file.seek(-6, os.SEEK_END)
        file.write(bytes([old[0] ^ 1]))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


class TestCache:
    """The shard cache."""

    def test_a_moved_project(self, project: Project, reads: Counter[str]) -> None:
        """After moving the whole workspace nothing is encoded, and no pinned or hashed image is read."""
        project.build()
        reads.clear()
        moved = project.root.with_name("moved")
        project.root.rename(moved)
        again = Project(moved, project.is_pinned, records=project.records)
        assert again.build().built == ()
        assert reads == {}
        assert rebuild(again).report.built == ()

    def test_a_moved_output(self, pinned: Project) -> None:
        """A cache that serves another output directory finds the shards by fingerprint."""
        store = pinned.root.with_name("store")
        (pinned.root / "store").rename(store)
        pinned.root.rename(pinned.root.with_name("moved"))
        again = Project(pinned.root.with_name("moved"), records=pinned.records, store=store)
        assert rebuild(again).report.built == ()

    @pytest.mark.parametrize("copy", [shutil.copy, shutil.copy2])
    def test_a_copied_cache(self, project: Project, copy: Callable) -> None:
        """A restored cache has other inodes and times: its files are read once, then known again."""
        shutil.copytree(project.store, project.store.with_name("restored"), copy_function=copy)
        shutil.rmtree(project.store)
        project.store.with_name("restored").rename(project.store)
        assert rebuild(project).report.built == ()
        assert rebuild(project).report.built == ()

    def test_cached_shards_are_read_only(self, project: Project) -> None:
        """Shards that cache, output and DVC share are read-only; other permission bits are unchanged."""
        project.build()
        stored = [project.stored_path(name) for name in sorted(ALL)]
        assert [path.stat().st_mode & 0o222 for path in stored] == [0] * len(ALL)
        assert [path.stat().st_mode & 0o444 for path in stored] == [0o666 & ~current_umask() & 0o444] * len(ALL)
        assert [(project.out / name).samefile(project.stored_path(name)) for name in sorted(ALL)] == [True] * len(ALL)

    def test_a_deleted_cache(self, project: Project) -> None:
        """A deleted cache costs time and nothing else."""
        shutil.rmtree(project.store)
        assert set(rebuild(project).report.built) == ALL
        assert rebuild(project).report.built == ()

    @pytest.mark.parametrize("shard", [0, 2, 3])
    def test_a_damaged_shard(self, project: Project, caplog: pytest.LogCaptureFixture, shard: int) -> None:
        """A damaged shard is reported and built again; the damaged file is not written to."""
        name = f"train-{shard:05d}-of-00004"
        path = project.stored_path(name)
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.unlink()
        path.write_bytes(damaged)
        assert rebuild(project).report.built == (name,)
        assert [record.getMessage() for record in caplog.records] == [f"{path} is damaged; the shard is built again"]

    def test_a_damage_that_only_copying_meets(self, project: Project, caplog: pytest.LogCaptureFixture) -> None:
        """Damage behind an unchanged signature is detected while copying: only that record is encoded again."""
        name = project.shard_of("7")
        change_unseen(project.stored_path(name))
        other = next(other for other in project.records if other != "7" and project.shard_of(other) == name)
        project.records[other]["class"]["label"] = 2
        report = project.build()
        assert report.built == (name,)
        assert read_all(project.out) == project.build_clean()

    @pytest.mark.parametrize("keep", [0, 1, 30, 300, -1, -3])
    def test_a_truncated_sidecar(self, project: Project, keep: int) -> None:
        """A sidecar cut anywhere: the shard is found intact or built again, never wrong; nor are its records."""
        name = project.shard_of("7")
        sidecar = project.stored_path(name).with_name(project.names[name] + ".jsonl")
        sidecar.write_bytes(sidecar.read_bytes()[:keep])
        rebuild(project)
        project.records["7"]["class"]["label"] = 2
        assert len(rebuild(project).report.built) == 1

    def test_a_flipped_bit_anywhere_in_a_sidecar(self, pinned: Project, caplog: pytest.LogCaptureFixture) -> None:
        """A flipped bit in a sidecar never reaches index.json or stats.json."""
        name = pinned.shard_of("7")
        chance = random.Random(0)
        for turn in range(30):
            sidecar = pinned.stored_path(name).with_name(pinned.names[name] + ".jsonl")
            content = bytearray(sidecar.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            sidecar.write_bytes(content)
            pinned.records["7"]["class"]["label"] = turn % 2
            pinned.build()
            assert read_all(pinned.out) == pinned.build_clean()
        assert any("is damaged" in record.getMessage() for record in caplog.records)

    def test_an_old_format(self, project: Project) -> None:
        """A cache of another format is ignored."""
        (project.store / "v1").rename(project.store / "v0")
        before = {name for name in project.stored() if name.startswith("v0/")}
        assert set(rebuild(project).report.built) == ALL
        assert before <= project.stored()

    def test_a_sidecar_that_counts_less(self, project: Project) -> None:
        """A shard counted by a version with fewer counts is built again, so that classes.json is complete."""
        name = project.shard_of("7")
        sidecar = project.stored_path(name).with_name(project.names[name] + ".jsonl")
        head, _, entries = sidecar.read_bytes().partition(b"\n")
        metadata = json.loads(head.partition(b" ")[2])
        del metadata["account"]["statistics"]["class_images"]
        line = json.dumps(metadata).encode() + b"\n"
        sidecar.write_bytes(b"%08x %b%b" % (value(line), line, entries))
        assert rebuild(project).report.built == (name,)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"fingerprints": 3}', b'{"fingerprints": ["x"]}'])
    def test_a_damaged_list(self, project: Project, content: bytes) -> None:
        """An unreadable build file costs nothing: shards are found by their fingerprint."""
        next((project.store / "v1" / "builds").glob("*.json")).write_bytes(content)
        assert rebuild(project).report.built == ()

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\n", b'["7.jpeg",[1,2,3],"AAAA"]\n'])
    def test_damaged_image_hashes(self, tmp_path: Path, content: bytes) -> None:
        """Unreadable image hashes are ignored."""
        project = Project.of(tmp_path, COUNT, is_pinned=False)
        settle(project)
        project.build()
        project.build()
        next((project.store / "v1" / "builds").glob("*.images")).write_bytes(content)
        assert rebuild(project).report.built == ()

    def test_without_a_cache(self, tmp_path: Path) -> None:
        """`store_dir: null` builds without a cache: every shard is built, with the same bytes."""
        project = Project.of(tmp_path, COUNT)
        expected = project.build_clean()
        project._build(project.out, None, lambda _: None)
        assert read_all(project.out) == expected
        assert not project.store.exists()

    def test_deleted_shards(self, project: Project) -> None:
        """A shard deleted by hand from output and store is built; deleted from the output alone, it is linked."""
        first, second = sorted(ALL)[:2]
        project.stored_path(first).unlink()
        (project.out / first).unlink()
        (project.out / second).unlink()
        assert rebuild(project).report.built == (first,)

    def test_nothing_but_the_newest_build(self, project: Project) -> None:
        """After any number of builds the cache holds the latest shards with sidecars, the build file and the hashes."""
        for turn in range(5):
            project.encode = {"seed": turn}
            project.num_shards = turn + 1
            project.add(f"new {turn}")
            project.build()
        (output,) = {path.stem for path in (project.store / "v1" / "builds").iterdir()}
        lists = {f"v1/builds/{output}.json"} | (set() if project.is_pinned else {f"v1/builds/{output}.images"})
        shards = {f"v1/shards/{f}{suffix}" for f in project.names.values() for suffix in ("", ".jsonl")}
        assert project.stored() == lists | shards
        assert {path.name for path in (project.store / "v1").iterdir()} == {"builds", "shards"}

    def test_two_outputs(self, tmp_path: Path) -> None:
        """Two output directories share a cache: each keeps its latest build, and equal shards are stored once."""
        first = Project.of(tmp_path / "first", COUNT, store=tmp_path / "store")
        second = Project.of(tmp_path / "second", COUNT, store=tmp_path / "store")
        assert len(first.build().built) == 4
        assert second.build().built == ()
        second.draw("7", 4711)
        assert len(second.build().built) == 1
        assert first.build().built == ()
        wanted = {*first.names.values(), *second.names.values()}
        assert len(wanted) == 5
        assert {path.name.removesuffix(".jsonl") for path in (tmp_path / "store/v1/shards").iterdir()} == wanted
        assert len(list((tmp_path / "store/v1/builds").iterdir())) == 2

    def test_an_interrupted_build_leaves_its_shards_to_the_next(self, project: Project) -> None:
        """After Ctrl-C finished shards are not built again, and then nothing is left of the interrupted build."""
        project.encode = {"jpeg_quality": 50}
        interrupt_after(project, 2)
        assert project.names.keys() == ALL
        report = project.build()
        assert len(report.built) <= 2
        assert read_all(project.out) == project.build_clean()
        assert not list((project.store / "v1" / "builds").glob("*.wip"))

    def test_an_interrupted_first_build(self, tmp_path: Path) -> None:
        """The same if nothing was built before, also for unpinned images."""
        project = Project.of(tmp_path, COUNT, is_pinned=False)
        interrupt_after(project, 2)
        assert not project.out.exists()
        assert len(project.build().built) <= 2
        assert read_all(project.out) == project.build_clean()

    def test_create_with_a_cache(self, tmp_path: Path) -> None:
        """`create(store_dir=…)` builds only what changed, and returns the same failures."""
        project = Project.of(tmp_path, COUNT)
        project.image("3").unlink()
        records = list(project.records.values())
        arguments = (records, "train", tmp_path / "out", 4, 2)
        options = {"images_root": tmp_path / "images", "store_dir": tmp_path / "store"}
        failed = create(*arguments, **options)
        before = files(tmp_path / "out")
        assert [record["id"] for record in failed] == ["3"]
        assert create(*arguments, **options) == failed
        unchanged = {name for name, inode in files(tmp_path / "out").items() if before[name] == inode}
        assert len(unchanged & ALL) == 3


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def interrupt_after(project: Project, shards: int) -> None:
    """A build that is interrupted by Ctrl-C once that many shards are in the cache."""
    from tfrec_stage.cache.disk_cache import DiskCache

    kept = []
    original = DiskCache.add

    def keep(store: DiskCache, shard) -> None:
        original(store, shard)
        kept.append(shard)
        if len(kept) == shards:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DiskCache, "add", keep)
        project.build()


class TestFailures:
    """Builds in which images fail."""

    def test_after_the_repair_only_those_are_encoded(self, project: Project) -> None:
        """Failing images leave finished shards behind: after the repair only they are encoded."""
        content = {}
        for name in ("3", "7"):
            project.draw(name, 4711 + int(name))
            content[name] = project.image(name).read_bytes()
            project.image(name).unlink()
            project.image(name).write_bytes(b"<html>404</html>")
        project.build()
        failed = (project.out / "failures.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in failed] == ["3", "7"]
        assert read_all(project.out) == project.build_clean()
        for name, image in content.items():
            project.image(name).write_bytes(image)
        rebuilt = rebuild(project)
        assert 1 <= len(rebuilt.report.built) <= 2
        assert rebuilt.encoded == 2

    def test_from_the_first_build_on(self, tmp_path: Path) -> None:
        """The same if the very first build has the failures."""
        project = Project.of(tmp_path, COUNT)
        content = project.image("7").read_bytes()
        project.image("7").unlink()
        assert len(project.build().failures) == 1
        project.image("7").write_bytes(content)
        rebuilt = rebuild(project)
        assert (len(rebuilt.report.built), rebuilt.encoded) == (1, 1)

    def test_a_failing_image_fails_again(self, project: Project) -> None:
        """A shard with a failure is never taken for complete: the failure is found again, whatever else is copied."""
        project.draw("7", 4711)
        project.image("7").unlink()
        for _ in range(3):
            report = project.build()
            assert len(report.failures) == 1
            assert read_all(project.out) == project.build_clean()
        assert len(report.built) == 1
        assert report.copied_records == next(s.records for s in report.shards if s.name in report.built)


class TestTwoAtOnce:
    """Two builds at the same time."""

    @pytest.mark.parametrize("is_pinned", [True, False])
    def test_processes_in_one_workspace(self, tmp_path: Path, is_pinned: bool) -> None:
        """Processes build one output directory with different options: it is complete at any time."""
        project = Project.of(tmp_path, COUNT, is_pinned=is_pinned)
        expected = []
        for seed in range(3):
            project.encode = {"seed": seed}
            expected.append(project.build_clean())
        run_together([(tmp_path, is_pinned, project.records, {"seed": seed}, None) for seed in range(3)])
        assert read_all(project.out) in expected
        assert {path.name for path in tmp_path.iterdir()} == {"images", "manifest.jsonl", "out", "store"}
        for seed in range(3):
            project.encode = {"seed": seed}
            project.build()
            assert read_all(project.out) == expected[seed]
        assert not list((project.store / "v1" / "builds").glob("*.wip"))

    def test_processes_that_share_a_cache(self, tmp_path: Path) -> None:
        """Processes with one cache and an output directory each: each has its own bytes in the end."""
        store = tmp_path / "store"
        projects = [Project.of(tmp_path / str(number), COUNT, store=store) for number in range(3)]
        for number, project in enumerate(projects):
            project.draw("7", number)
        run_together([(project.root, True, project.records, {}, store) for project in projects])
        for project in projects:
            assert read_all(project.out) == project.build_clean()
            assert project.build().built == ()

    def test_threads_of_one_process(self, tmp_path: Path) -> None:
        """The same in threads of one process."""
        store = tmp_path / "store"
        projects = [Project.of(tmp_path / str(number), COUNT, store=store) for number in range(3)]
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(build_many_times, projects):
                pass
        for project in projects:
            assert read_all(project.out) == project.build_clean()

    def test_a_cache_deleted_during_the_build(self, project: Project, caplog: pytest.LogCaptureFixture) -> None:
        """If the cache is deleted during a build, this is reported and the build succeeds."""
        project.encode = {"jpeg_quality": 50}
        project.build(lambda _: shutil.rmtree(project.store, ignore_errors=True))
        assert read_all(project.out) == project.build_clean()
        assert "cannot use the shard cache" in caplog.text
        assert set(rebuild(project).report.built) == ALL

    @pytest.mark.parametrize("moment", ["find", "link", "lease", "latest_build"])
    def test_a_cache_deleted_at_any_moment(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        """The same before and after each call of the build to the cache."""
        from tfrec_stage.cache.disk_cache import DiskCache

        original = getattr(DiskCache, moment)

        def vanish(store, *arguments):
            answer = original(store, *arguments)
            shutil.rmtree(project.store, ignore_errors=True)
            return answer

        project.draw("7", 4711)
        monkeypatch.setattr(DiskCache, moment, vanish)
        project.build()
        monkeypatch.undo()
        assert read_all(project.out) == project.build_clean()

    def test_a_manifest_that_is_edited_meanwhile(self, pinned: Project) -> None:
        """A manifest that changes during a build is not taken for built: the next build uses the new content."""
        records = json.loads(json.dumps(pinned.records))
        records["7"]["class"]["label"] = 2
        pinned.records["3"]["class"]["label"] = 2

        def edit(event) -> None:
            if event.is_last:
                text = "".join(json.dumps(record) + "\n" for record in records.values())
                (pinned.root / "manifest.jsonl").write_text(text)

        with pytest.raises(ManifestError, match="the manifest changed while it was read"):
            pinned.build(edit)  # names of classes are looked up in it when the shards are there
        pinned.labels = tuple(Label(number, f"class {number}") for number in range(3))
        pinned.build(edit)  # these are given: all was read before the edit
        assert (pinned.root / "manifest.jsonl").read_text().count('"label": 2') == 1
        pinned.records = records
        assert len(pinned.build().built) >= 1
        assert read_all(pinned.out) == pinned.build_clean()


def run_together(jobs: list[tuple]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=build_in_process, args=job) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(jobs)


def build_in_process(root: Path, is_pinned: bool, records: dict, encode: dict, store: Path | None) -> None:
    build_many_times(Project(root, is_pinned, encode=encode, records=records, store=store))


def build_many_times(project: Project) -> None:
    """Build with other options several times, in the end with those of the start."""
    own = project.encode.get("seed", 0)
    for turn in range(7):
        project.encode = {"seed": own + turn % 3}
        project.build()
