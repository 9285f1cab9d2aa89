"""Killed processes, full disks, missing permissions: the previous output is intact, and the next run recovers."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google_crc32c import value
from PIL import Image

from tests.conftest import ROOT
from tests.disk import DiskLog
from tests.project import Content, Project, files, read_all
from tests.workspace import copy_conf, files_below, run, stage
from tfrec_stage.errors import OutputError
from tfrec_stage.schema.options import Profile

pytestmark = pytest.mark.survive

KILLS = 20
SHARDS = 20
TIMEOUT_S = 60
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system or to change the user")

BUILD = """
import json, sys
from pathlib import Path
from tests.project import Project
root, is_pinned, num_shards, encode, records = json.loads(sys.stdin.read())
project = Project(Path(root), is_pinned, num_shards, encode, records=records)
print("begin", flush=True)
project.build()
"""


@contextmanager
def building(project: Project, **options: Any) -> Iterator[subprocess.Popen]:
    """Start a process that builds the project; it has begun when the block is entered."""
    given = json.dumps([str(project.root), project.is_pinned, project.num_shards, project.encode, project.records])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", BUILD], cwd=ROOT, text=True, **pipes, **options) as process:
        process.stdin.write(given)
        process.stdin.close()
        process.stdin = None
        assert process.stdout.readline() == "begin\n"
        try:
            yield process
        finally:
            process.kill()  # otherwise a failed assertion would wait for its end


def wait_until(is_so: Callable[[], Any], process: subprocess.Popen) -> None:
    """Wait for something that a running build does, but no longer than it runs, and not for ever."""
    end_s = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert process.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.001)


class Reader(threading.Thread):
    """Reads an output directory again and again, as training would: the index, then every shard that it names."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._stop_asked = threading.Event()
        self.rounds = 0
        self.faults: list[str] = []

    def run(self) -> None:
        while not self._stop_asked.is_set():
            index = self._read_index()
            fault = self._find_fault(index)
            if fault is not None and index == self._read_index():  # else it was replaced meanwhile
                self.faults.append(fault)
            self.rounds += 1

    def __enter__(self) -> "Reader":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        self.join()

    def _read_index(self) -> bytes:
        return (self._directory / "index.json").read_bytes()

    def _find_fault(self, index: bytes) -> str | None:
        for shard in json.loads(index)["shards"]:
            try:
                if f"{value((self._directory / shard['name']).read_bytes()):08x}" != shard["crc32c"]:
                    return f"{shard['name']} is another one"
            except OSError as error:
                return str(error)
        return None


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Forty images in four shards, built."""
    made = Project.of(tmp_path / "project", 40)
    made.build()
    return made


class TestKilled:
    """SIGKILL, which no process can catch."""

    @pytest.mark.parametrize("is_pinned", [True, False])
    def test_at_random_moments(self, tmp_path: Path, is_pinned: bool) -> None:
        """Twenty kills, each followed by a rerun.

        Until the swap the previous output can be read; the rerun gives the bytes of a clean build, encodes no shard
        that was finished, and leaves nothing else behind.
        """
        project = make_slow_project(tmp_path, is_pinned)
        duration_s = time_build(project)
        chance = random.Random(is_pinned)
        expected = {quality: build_clean_with(project, quality) for quality in (50, 60)}
        taken_over = []
        for turn in range(KILLS // 2):
            quality = (50, 60)[turn % 2]
            project.encode = {"jpeg_quality": quality}
            with Reader(project.out) as reader, building(project) as process:
                time.sleep(chance.uniform(0, 1.2 * duration_s))
                process.kill()
            assert reader.faults == []
            assert reader.rounds > 0
            kept = finished_shards(project)
            report = project.build()
            assert read_all(project.out) == expected[quality]
            assert len(report.built) == SHARDS - len(kept & set(project.names.values()))
            assert_tidy(project)
            taken_over.append(SHARDS - len(report.built))
        assert any(0 < count < SHARDS for count in taken_over), f"no kill came in the middle: {taken_over}"

    def test_before_the_first_output(self, tmp_path: Path) -> None:
        """A killed first build leaves no output; the rerun reuses what was finished."""
        project = make_slow_project(tmp_path, is_pinned=False)
        with building(project) as process:
            wait_until(lambda: len(finished_shards(project)) >= 3, process)
            process.kill()
        assert not project.out.exists()
        report = project.build()
        assert len(report.built) <= SHARDS - 3
        assert read_all(project.out) == project.build_clean()
        assert_tidy(project)

    def test_other_builds_leave_the_work_of_a_killed_one(self, tmp_path: Path) -> None:
        """Builds of another output directory, which clean the cache, keep what a killed build had finished."""
        project = make_slow_project(tmp_path / "killed", is_pinned=True)
        with building(project) as process:
            wait_until(lambda: len(finished_shards(project)) >= 3, process)
            process.kill()
        other = Project.of(tmp_path / "other", 10, store=project.store)
        other.build()
        other.encode = {"seed": 1}
        other.build()
        assert len(project.build().built) <= SHARDS - 3


def make_slow_project(root: Path, is_pinned: bool) -> Project:
    """Create a few hundred images, large enough for a build to take a while."""
    project = Project(root, is_pinned, num_shards=SHARDS)
    chance = random.Random(0)
    for number in range(10):
        noise = Image.frombytes("RGB", (40, 30), chance.randbytes(40 * 30 * 3)).resize((320, 240))
        noise.save(root / "images" / f"{number}.png", compress_level=1)
    for number in range(120):
        project.records[str(number)] = {"filename": f"{number % 10}.png", "id": str(number)}
        project.pin(str(number))
    return project


def build_clean_with(project: Project, quality: int) -> Content:
    project.encode = {"jpeg_quality": quality}
    return project.build_clean()


def time_build(project: Project) -> float:
    """Return the seconds of a build without cache and output; its output stays."""
    with building(project) as process:
        begin_s = time.monotonic()
        process.wait(TIMEOUT_S)
    assert process.returncode == 0
    return time.monotonic() - begin_s


def finished_shards(project: Project) -> set[str]:
    """Return the fingerprints of the shards that the cache has with their sidecars."""
    return {path.stem for path in (project.store / "v1" / "shards").glob("*.jsonl") if path.name[0] != "."}


def assert_tidy(project: Project) -> None:
    """Check that there is nothing but the output, and in the cache nothing but its shards."""
    assert {path.name for path in project.root.iterdir()} == {"images", "manifest.jsonl", "out", "store"}
    assert finished_shards(project) == set(project.names.values())
    suffixes = {path.suffix for path in project.store.rglob("*") if path.is_file()}
    assert suffixes <= {"", ".json", ".jsonl", ".images"}


@contextmanager
def untouched(project: Project, message: str) -> Iterator[None]:
    """Check that the build in the block fails with one line and leaves the output as it was, inodes included."""
    content, stamps = read_all(project.out), files(project.out)
    beside = {path.name for path in project.root.iterdir()}
    with pytest.raises(OutputError, match=message) as raised:
        yield
    assert "\n" not in str(raised.value)
    assert (read_all(project.out), files(project.out)) == (content, stamps)
    assert {path.name for path in project.root.iterdir()} == beside


def assert_recovers(project: Project) -> None:
    """Check that the next build gives what a clean one gives."""
    project.build()
    assert read_all(project.out) == project.build_clean()
    assert_tidy(project)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system in memory, or change its options."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        again = "remount," if mounted else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tfrec-test", str(place)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


class TestDisks:
    """File systems that are full, read-only, separate, or without hard links."""

    @needs_root
    def test_a_full_disk(self, small_disk: Callable[[str], Path]) -> None:
        """A disk that fills up is reported; with more room the next build succeeds."""
        project = Project.of(small_disk("size=1m") / "project", 100)
        project.build()
        project.encode = {"seed": 1}
        for number in range(200):
            project.add(f"new {number}")
            if shutil.disk_usage(project.root).free < 250_000:
                break
        with untouched(project, "No space left on device; make room, or name another output_dir"):
            project.build()
        small_disk("size=4m")
        assert_recovers(project)

    @needs_root
    @pytest.mark.parametrize("room_kb", range(0, 120, 8))
    def test_a_disk_with_hardly_any_room(self, small_disk: Callable[[str], Path], room_kb: int) -> None:
        """Wherever the room ends, in a shard, a sidecar or an index, the build succeeds or fails with one line."""
        project = Project.of(small_disk("size=4m") / "project", 40)
        project.build()
        project.encode = {"seed": 1}
        expected = project.build_clean()
        before = read_all(project.out)
        ballast = project.root / "images" / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(project.root).free - room_kb * 1024))
        ended_well = is_built(project)
        assert read_all(project.out) == (expected if ended_well else before)
        ballast.unlink()
        assert_recovers(project)

    def test_a_limit_on_file_size(self, project: Project) -> None:
        """A shard larger than the process may write is reported, with what to do."""
        project.encode = {"seed": 1}
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))  # noqa: E731
        before = files(project.out)
        with building(project, preexec_fn=limit) as process:
            _, stderr = process.communicate(timeout=TIMEOUT_S)
        assert "the limit on file size is reached: raise it, or take more shards" in stderr.splitlines()[-1]
        assert files(project.out) == before
        assert_recovers(project)

    @needs_root
    def test_a_read_only_disk(self, small_disk: Callable[[str], Path]) -> None:
        """A disk that cannot be written is reported; once it can, the build succeeds."""
        project = Project.of(small_disk("size=4m") / "project", 20)
        project.build()
        project.draw("7", 4711)
        project.build_clean()  # writes the manifest
        small_disk("ro")
        with untouched(project, r"cannot make .*/out: Read-only file system"):
            project.build()
        small_disk("rw")
        assert_recovers(project)

    @needs_root
    def test_a_read_only_cache(
        self, tmp_path: Path, small_disk: Callable[[str], Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A read-only cache still provides its shards; that it cannot be written is reported."""
        project = Project.of(tmp_path / "project", 40, store=small_disk("size=4m") / "store")
        project.build()
        project.draw("7", 4711)
        small_disk("ro")
        assert len(project.build().built) == 1
        assert read_all(project.out) == project.build_clean()
        assert "Read-only file system" in caplog.text
        small_disk("rw")
        assert len(project.build().built) == 1
        assert project.build().built == ()

    def test_a_cache_on_another_file_system(self, tmp_path: Path) -> None:
        """Shards are copied instead of linked, and still not built again."""
        if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("needs a second file system")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
            project = Project.of(tmp_path / "project", 40, store=Path(elsewhere) / "store")
            assert_does_without_links(project)
            project.encode = {"seed": 1}
            project.build()
            assert {path.name for path in Path(elsewhere).iterdir()} == {"store"}
            assert finished_shards(project) == set(project.names.values())

    def test_no_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file system or container without hard links gives the same result by copying."""

        def refuse(source: object, target: object) -> None:
            raise PermissionError(1, "Operation not permitted", str(source), None, str(target))

        monkeypatch.setattr(os, "link", refuse)
        project = Project.of(tmp_path / "project", 40)
        assert_does_without_links(project)
        assert_tidy(project)

    def test_no_exchange_of_names(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """A system without renameat2 gives the same result in two steps."""
        monkeypatch.setattr("tfrec_stage.directories._exchange", lambda *_: False)
        project.encode = {"seed": 1}
        assert_recovers(project)


def is_built(project: Project) -> bool:
    """Return whether a build succeeds; otherwise it fails with one line."""
    try:
        project.build()
    except OutputError as error:
        return "\n" in str(error)
    return True


def assert_does_without_links(project: Project) -> None:
    expected: Content = project.build_clean()
    assert len(project.build().built) == 4
    assert project.build().built == ()
    assert read_all(project.out) == expected
    stored = {path.stat().st_ino for path in (project.store / "v1" / "shards").iterdir()}
    assert not stored & {path.stat().st_ino for path in project.out.iterdir()}
    project.draw("7", 4711)
    assert len(project.build().built) == 1
    assert read_all(project.out) == project.build_clean()


@pytest.fixture
def as_nobody() -> Iterator[Callable[[], Any]]:
    """A folder that everybody may enter, and a block in which this process has no permissions in it."""

    @contextmanager
    def drop_rights() -> Iterator[None]:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return drop_rights


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may read, since pytest's own may not be."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@needs_root
class TestRights:
    """Missing permissions."""

    def test_no_right_to_write(self, open_folder: Path, as_nobody: Callable) -> None:
        """An output directory in somebody else's folder is reported; nothing changes."""
        project = Project.of(open_folder / "project", 20)
        project.build()
        with as_nobody(), untouched(project, r"cannot make .*/out: Permission denied"):
            project.build()
        assert_recovers(project)

    def test_no_right_to_create_a_cache(self, open_folder: Path, as_nobody: Callable) -> None:
        """A cache in somebody else's folder is reported, with what to do."""
        project = Project.of(open_folder / "project", 20)
        project.build()
        project.store = open_folder / "another store"
        with as_nobody(), untouched(project, "cannot make the shard cache .*; name another store_dir, or null"):
            project.build()

    def test_no_right_to_read_the_cache(
        self, open_folder: Path, as_nobody: Callable, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The build does without an unreadable cache, and reports it."""
        project = Project.of(open_folder / "project", 20)
        project.build()
        expected = project.build_clean()
        project.root.chmod(0o777)
        (project.store / "v1" / "shards").chmod(0o700)
        shutil.rmtree(project.out)
        with as_nobody():
            project.build()
        assert read_all(project.out) == expected
        assert "Permission denied" in caplog.text

    def test_an_image_that_must_not_be_read(self, open_folder: Path, as_nobody: Callable) -> None:
        """An unreadable image is a failure like any other; once it can be read, it is built."""
        project = Project.of(open_folder / "project", 20, is_pinned=False)
        project.build_clean()  # writes the manifest
        project.root.chmod(0o777)
        project.image("7").chmod(0o000)
        with as_nobody():
            project.build()
            (failure,) = map(json.loads, (project.out / "failures.jsonl").read_text().splitlines())
        assert (failure["id"], failure["reason"]) == ("7", "image_unreadable")
        assert "Permission denied" in failure["error_msg"]
        project.image("7").chmod(0o644)
        assert_recovers(project)


class TestPowerFailure:
    """What is synced to disk in which order, so that a crash at any moment leaves the old or the new output."""

    @pytest.mark.parametrize("can_link", [True, False])
    def test_bytes_before_names_before_lists(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_link: bool
    ) -> None:
        """A shard, its name in the cache, the output directory, and last the file of the latest build."""

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        project = Project.of(tmp_path, 40)
        if not can_link:
            monkeypatch.setattr(os, "link", refuse)
        log = DiskLog(tmp_path, monkeypatch)
        project.build()
        for name, fingerprint in project.names.items():
            (staged,) = {event for event in log.events if event[0] == "sync" and event[1].endswith(f".partial/{name}")}
            stored, sidecar = f"store/v1/shards/{fingerprint}", f"store/v1/shards/{fingerprint}.jsonl"
            copied = [] if can_link else [("sync", f"store/v1/shards/.{fingerprint}.partial")]
            synced = ("sync", "store/v1/shards")
            log.assert_order(staged, *copied, ("name", stored), synced, ("name", "store/v1/builds/*"))
            log.assert_order(("sync", f"store/v1/shards/.{fingerprint}.jsonl.*"), ("name", sidecar), synced)
        staging = staged[1].partition("/")[0]
        for name in ("index.json", "stats.json", "failures.jsonl"):
            log.assert_order(("sync", f"{staging}/.{name}.*"), ("name", f"{staging}/{name}"), ("sync", staging))
        published = [("sync", staging), ("name", "out"), ("sync", "."), ("name", "store/v1/builds/*")]
        log.assert_order(staged, *published, ("sync", "store/v1/builds"))

    def test_directories_are_synced_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many files a build has, a directory is synced once when it is finished, and once when it is new."""
        project = Project.of(tmp_path, 40, num_shards=20, encode={"profiles": [Profile.dali, Profile.csv]})
        project.build()
        project.encode["jpeg_quality"] = 50
        log = DiskLog(tmp_path, monkeypatch)
        assert len(project.build().built) == 20
        synced = [name for what, name in log.events if what == "sync"]
        directories = [name for name in synced if (tmp_path / name).is_dir() or name.count("/") == 0]
        assert len(directories) == 4
        assert {"store/v1/shards", "store/v1/builds", "."} < set(directories)


class TestByHand:
    """What people do to files."""

    def test_a_shard_deleted_everywhere(self, project: Project) -> None:
        """A shard that is deleted from output and cache is the only one that is built again."""
        shard = min(project.names)
        project.stored_path(shard).unlink()
        (project.out / shard).unlink()
        assert project.build().built == (shard,)
        assert_recovers(project)

    @pytest.mark.parametrize(
        "name", ["index.json", "stats.json", "classes.json", "failures.jsonl", "train-00000-of-00004"]
    )
    def test_a_truncated_output(self, project: Project, name: str) -> None:
        """A truncated file of the output is intact after the next build, and nothing else was built."""
        expected = read_all(project.out)
        path = project.out / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[: len(content) // 2])
        assert project.build().built == ()
        assert read_all(project.out) == expected

    def test_an_output_that_was_written_into(self, project: Project, caplog: pytest.LogCaptureFixture) -> None:
        """Writing into an output, and so into the cached file, is reported, and the shard is built again."""
        expected = read_all(project.out)
        shard = min(project.names)
        (project.out / shard).chmod(0o644)
        with (project.out / shard).open("r+b") as file:
            file.write(b"X")
        assert project.build().built == (shard,)
        assert "is damaged; the shard is built again" in caplog.text
        assert read_all(project.out) == expected

    def test_a_link_as_output_stays_a_link(self, project: Project) -> None:
        """If the output directory is a symbolic link, its target is replaced."""
        shutil.rmtree(project.store)
        project.out.rename(project.root.with_name("elsewhere"))
        project.out.symlink_to(project.root.with_name("elsewhere"))
        for seed in (1, 2):
            project.encode = {"seed": seed}
            assert_recovers(project)
            assert project.out.is_symlink()
        assert {path.name for path in project.root.parent.iterdir()} == {"elsewhere", "project"}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with a manifest of twenty images and the configuration of the command line."""
    project = Project.of(tmp_path / "data" / "raw", 20)
    project.build_clean()
    manifest = tmp_path / "data" / "manifests" / "train" / "manifest.jsonl"
    manifest.parent.mkdir(parents=True)
    (project.root / "manifest.jsonl").rename(manifest)
    copy_conf(tmp_path)
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.mark.parametrize("engine", ["threads", "processes"])
class TestLeftovers:
    """What a run leaves beside the output and the cache: nothing."""

    def test_no_file(self, workspace: Path, engine: str) -> None:
        """Neither in the working directory nor in TMPDIR."""
        before = files_below(workspace)
        for seed in (0, 1):
            options = ("dataset=train", "num_shards=2", f"encode.seed={seed}", f"engine={engine}")
            stage(*options, directory=workspace, TMPDIR=str(workspace / "tmp"))
        made = files_below(workspace) - before
        output = {f"data/shards/train/train-{number:05d}-of-00002" for number in range(2)}
        metadata = {"index.json", "stats.json", "classes.json", "failures.jsonl"}
        stored = {name for name in made if name.startswith(".tfrec_cache/v1/")}
        assert made == output | {f"data/shards/train/{name}" for name in metadata} | stored
        assert len(stored) == 2 * 2 + 1
        assert list((workspace / "tmp").iterdir()) == []

    def test_no_shared_memory(self, workspace: Path, engine: str) -> None:
        """The run has a /dev/shm to itself: in that of the machine are files of others, too."""
        apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        mount = ["mount", "-t", "tmpfs", "tfrec-test", "/dev/shm"]
        if not shutil.which("unshare") or subprocess.run([*apart, *mount], check=False, capture_output=True).returncode:
            pytest.skip("no file system can be mounted for one process here")
        stage_command = [sys.executable, "-m", "tfrec_stage", "dataset=train", "num_shards=2", f"engine={engine}"]
        script = f'{" ".join(mount)} && "$@" && ls -A /dev/shm >left'
        done = run([*apart, "sh", "-c", script, "sh", *stage_command], workspace)
        assert (workspace / "left").read_text() == ""
        assert "leaked" not in done.stderr  # what Python says when it has to remove semaphores itself


def test_terminated_in_the_middle(tmp_path: Path) -> None:
    """SIGTERM or Ctrl-C in Python code leaves the previous output and no temporary files."""
    project = make_slow_project(tmp_path, is_pinned=True)
    time_build(project)
    project.encode = {"jpeg_quality": 50}
    before = files(project.out)
    with building(project) as process:
        wait_until(lambda: list(project.root.glob(".out.*/train-*")), process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode != 0
    assert files(project.out) == before
    assert {path.name for path in project.root.iterdir()} == {"images", "manifest.jsonl", "out", "store"}
    assert_recovers(project)
