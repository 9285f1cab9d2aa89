"""Cleaning the shard cache: what belongs to missing output directories is removed, and nothing else."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.build.test_incremental import interrupt_after
from tests.conftest import MakeDataset
from tests.disk import names
from tests.project import Project, read_all
from tests.workspace import copy_conf, files_below, stage
from tfrec_stage.cache.clean import CacheSize, CleanReport, DroppedOutput, clean_cache
from tfrec_stage.cache.disk_cache import DiskCache
from tfrec_stage.errors import OutputError


@pytest.fixture
def projects(tmp_path: Path) -> list[Project]:
    """Three outputs that share a cache; the first two share all images, one of them has four other shards."""
    made = [Project.of(tmp_path / name, 20, store=tmp_path / "store") for name in ("a", "b")]
    made.append(Project.of(tmp_path / "c", 30, store=tmp_path / "store", num_shards=2))
    made[1].draw("7", 4711)
    made[2].encode = {"seed": 1}
    for project in made:
        project.build()
    return made


def size_of(store: Path) -> CacheSize:
    found = list((store / "v1" / "shards").iterdir())
    return CacheSize(sum("." not in path.name for path in found), sum(path.stat().st_size for path in found))


def clean(project: Project) -> CleanReport:
    """Clean, after a dry run that reports the same and changes nothing."""
    before = files_below(project.store)
    planned = clean_cache(project.store, dry_run=True)
    assert files_below(project.store) == before
    assert planned.before == size_of(project.store)
    done = clean_cache(project.store, dry_run=False)
    assert (done.dropped, done.before, done.after) == (planned.dropped, planned.before, planned.after)
    assert done.after == size_of(project.store)
    return done


def test_nothing_is_gone(projects: list[Project]) -> None:
    """If every output directory exists, nothing is removed."""
    before = files_below(projects[0].store)
    done = clean(projects[0])
    assert (done.dropped, done.running, done.unplaced) == ((), 0, 0)
    assert done.before == done.after
    assert done.before.shards == 7
    assert files_below(projects[0].store) == before


def test_an_output_that_is_gone(projects: list[Project]) -> None:
    """Its build is removed, with the shards that no other output has; the others lose nothing."""
    first, second, third = projects
    shutil.rmtree(second.out)
    (dropped,) = clean(first).dropped
    assert (dropped.path, dropped.size.shards, dropped.is_finished) == (second.out.resolve(), 1, True)
    assert dropped.size.size_bytes > 0
    assert len(names(first.store / "v1" / "builds")) == 2
    assert size_of(first.store).shards == 6
    assert first.build().built == third.build().built == ()
    assert len(second.build().built) == 1


def test_all_are_gone(projects: list[Project]) -> None:
    """Nothing is left; shards that two outputs share are listed for both and counted once in total."""
    for project in projects:
        shutil.rmtree(project.out)
    done = clean(projects[0])
    assert [output.size.shards for output in done.dropped] == [4, 4, 2]
    assert (done.before.shards, done.after) == (7, CacheSize(0, 0))
    assert files_below(projects[0].store) == set()


def test_a_build_that_runs(projects: list[Project], tmp_path: Path) -> None:
    """A running build is left alone although DVC removed its output directory, and so are the shards it has written."""
    first, second, _ = projects
    shutil.rmtree(first.out)
    seen = []

    def clean_meanwhile(_: object) -> None:
        seen.append(clean_cache(first.store, dry_run=False))

    first.draw("3", 4712)
    report = first.build(clean_meanwhile)
    assert len(report.built) == 1
    assert seen
    assert {(cleaning.dropped, cleaning.running) for cleaning in seen} == {((), 1)}
    assert first.build().built == second.build().built == ()


def test_a_build_that_has_just_begun(projects: list[Project]) -> None:
    """A build counts as running from its first moment, and leaves no trace if it ends then."""
    first = projects[0]
    shutil.rmtree(first.out)
    before = files_below(first.store)
    with DiskCache(first.store, first.out) as cache:
        assert clean_cache(first.store, dry_run=False).running == 1
        assert cache.has_earlier_build()
        assert len(cache.latest_build().fingerprints) == 4
    assert files_below(first.store) == before
    assert len(clean_cache(first.store, dry_run=False).dropped) == 1
    with DiskCache(first.store, first.out) as cache:
        assert not cache.has_earlier_build()


def test_an_interrupted_build(tmp_path: Path) -> None:
    """The shards of an interrupted first build are removed, and reported as unfinished."""
    project = Project.of(tmp_path, 20)
    interrupt_after(project, 2)
    done = clean(project)
    assert [(output.path, output.is_finished) for output in done.dropped] == [(project.out.resolve(), False)]
    assert done.dropped[0].size.shards == done.before.shards >= 2
    assert files_below(project.store) == set()


def test_image_hashes_are_removed_with_their_build(tmp_path: Path) -> None:
    """Hashes of unpinned images are removed with the build of their output."""
    project = Project.of(tmp_path, 20, is_pinned=False)
    for path in (tmp_path / "images").iterdir():
        os.utime(path, (1e9, 1e9))
    project.build()
    project.build()
    assert list((project.store / "v1" / "builds").glob("*.images"))
    shutil.rmtree(project.out)
    assert [output.is_finished for output in clean(project).dropped] == [True]
    assert files_below(project.store) == set()


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_build_that_does_not_say_where_it_went(projects: list[Project], content: bytes | None) -> None:
    """A build file without an output path, or a damaged one, is kept and counted; the next build adds the path."""
    first = projects[0]
    (path,) = (
        path
        for path in (first.store / "v1" / "builds").iterdir()
        if json.loads(path.read_bytes())["output"] == "../a/out"
    )
    build = json.loads(path.read_bytes())
    del build["output"]
    path.write_bytes(json.dumps(build).encode() if content is None else content)
    done = clean_cache(first.store, dry_run=False)
    assert (done.dropped, done.unplaced) == ((), 1)
    assert path.exists()
    assert size_of(first.store).shards == (7 if content is None else 6)
    assert first.build().copied_records == 0
    assert clean_cache(first.store, dry_run=True).unplaced == 0


def test_a_moved_workspace(projects: list[Project], tmp_path: Path) -> None:
    """Outputs are known by their path relative to the cache, so nothing is missing after both have moved."""
    moved = tmp_path.with_name(f"{tmp_path.name} moved")
    tmp_path.rename(moved)
    assert clean_cache(moved / "store", dry_run=False).dropped == ()
    shutil.rmtree(moved / "a" / "out")
    (dropped,) = clean_cache(moved / "store", dry_run=False).dropped
    assert dropped.path == moved / "a" / "out"


@pytest.mark.parametrize("name", ["out % 20", "Größe", os.fsdecode(b"\xff"), "a\nb", "# x"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    """Output directories may have any name; what is printed is printable."""
    project = Project.of(tmp_path / name, 10)
    project.build()
    shutil.rmtree(project.out)
    done = clean(project)
    assert [output.path for output in done.dropped] == [project.out.resolve()]
    lines = list(done.summary())
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert files_below(project.store) == set()


def test_an_output_that_cannot_be_looked_for(projects: list[Project], monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be inspected counts as existing."""
    first = projects[0]
    shutil.rmtree(first.out)
    look, output = os.stat, str(first.out.resolve())

    def refuse(path, *arguments, **options):
        if str(path) == output:
            raise PermissionError(13, "Permission denied")
        return look(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert clean_cache(first.store, dry_run=False).dropped == ()


def test_a_file_in_the_place_of_a_folder_above(tmp_path: Path) -> None:
    """An output directory below a file cannot exist, so it counts as missing."""
    project = Project.of(tmp_path / "a" / "b", 10, store=tmp_path / "store")
    project.build()
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").touch()
    (dropped,) = clean(project).dropped
    assert dropped.path == project.out.resolve()


def test_what_killed_builds_left_half_written(projects: list[Project]) -> None:
    """It is removed and counted neither as a shard nor as a build; a build with image hashes is a finished one."""
    first = projects[0]
    store = first.store / "v1"
    (store / "shards" / f".{'0' * 64}.partial").write_bytes(b"half")
    (store / "builds" / ".0.json.partial").write_bytes(b"half")
    done = clean_cache(first.store, dry_run=False)
    assert (done.dropped, done.running, done.unplaced) == ((), 0, 0)
    assert (done.before.shards, done.after.shards) == (7, 7)
    assert done.before.size_bytes == done.after.size_bytes + 4
    assert not [name for name in files_below(store) if "partial" in name]


def test_how_large_a_dropped_output_is(tmp_path: Path) -> None:
    """The size of its shards and sidecars."""
    project = Project.of(tmp_path, 10)
    project.build()
    stored = size_of(project.store)
    shutil.rmtree(project.out)
    assert [output.size for output in clean(project).dropped] == [stored]


def test_files_of_others(projects: list[Project]) -> None:
    """Files that are not named like our shards are never removed, neither by cleaning nor by a build."""
    first = projects[0]
    mine = first.store / "v1" / "shards" / "NOTES.md"
    mine.write_text("mine")
    for project in projects:
        shutil.rmtree(project.out)
    clean_cache(first.store, dry_run=False)
    first.build()
    assert mine.read_text() == "mine"


def test_no_cache(tmp_path: Path) -> None:
    """A missing cache has nothing to remove and is not created."""
    done = clean_cache(tmp_path / "store", dry_run=False)
    assert list(done.summary()) == [f"{tmp_path / 'store'}: 0 shards, 0.0 MB; nothing to remove"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_cache(tmp_path: Path) -> None:
    """It is reported in one line."""
    (tmp_path / "store").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot clean the shard cache .*store: Not a directory"):
        clean_cache(tmp_path / "store", dry_run=False)
    assert (tmp_path / "store").read_text() == "mine"


def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report lists every removed output with its size, what is left alone and why, and the total that is left."""
    monkeypatch.chdir(tmp_path)
    outputs = (
        DroppedOutput(tmp_path / "data" / "train", CacheSize(2, 1_500_000), is_finished=True),
        DroppedOutput(Path("/elsewhere/val"), CacheSize(1, 0), is_finished=False),
    )
    before, after = CacheSize(1004, 3_000_000), CacheSize(1001, 1_500_000)
    dry = CleanReport(tmp_path / "store", True, outputs, running=1, unplaced=2, before=before, after=after)
    assert list(dry.summary()) == [
        "  would drop data/train: 2 shards, 1.5 MB",
        "  would drop /elsewhere/val (never finished): 1 shards, 0.0 MB",
        "  left alone: 1 that are being built",
        "  kept: 2 of an earlier version, which do not say where their output directory is",
        "store: 1,004 shards, 3.0 MB; 1,001 shards, 1.5 MB would be left (clean.dry_run=true: nothing was removed)",
    ]
    done = replace(dry, is_dry_run=False, dropped=outputs[:1], running=0, unplaced=0)
    assert list(done.summary()) == [
        "  dropped data/train: 2 shards, 1.5 MB",
        "store: 1,004 shards, 3.0 MB before; 1,001 shards, 1.5 MB left",
    ]


def test_the_stage(tmp_path: Path, make_dataset: MakeDataset) -> None:
    """The dry run lists what would be removed, the cleaning says the same; other splits are unchanged."""
    copy_conf(tmp_path)
    for split, count in (("train", 10), ("val", 5)):
        manifest = tmp_path / "data" / "manifests" / split / "manifest.jsonl"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("".join(json.dumps(record) + "\n" for record in make_dataset(count)))
        stage(f"dataset={split}", "num_shards=2", "progress=false", directory=tmp_path)
    before = read_all(tmp_path / "data" / "shards" / "val")
    assert stage("stage=clean", directory=tmp_path).stdout == ".tfrec_cache: 4 shards, 0.0 MB; nothing to remove\n"
    shutil.rmtree(tmp_path / "data" / "shards" / "train")
    stored = files_below(tmp_path / ".tfrec_cache")
    assert stage("stage=clean", "clean.dry_run=true", directory=tmp_path).stdout.splitlines() == [
        "  would drop data/shards/train: 2 shards, 0.0 MB",
        ".tfrec_cache: 4 shards, 0.0 MB; 2 shards, 0.0 MB would be left (clean.dry_run=true: nothing was removed)",
    ]
    assert files_below(tmp_path / ".tfrec_cache") == stored
    assert stage("stage=clean", directory=tmp_path).stdout.splitlines() == [
        "  dropped data/shards/train: 2 shards, 0.0 MB",
        ".tfrec_cache: 4 shards, 0.0 MB before; 2 shards, 0.0 MB left",
    ]
    assert len(stored - files_below(tmp_path / ".tfrec_cache")) == 5
    assert read_all(tmp_path / "data" / "shards" / "val") == before
    done = stage("stage=clean", "store_dir=null", directory=tmp_path, expect=1)
    assert done.stderr == "error: store_dir: expected the directory of the shard cache to clean, but got null\n"
