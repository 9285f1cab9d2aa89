"""Directories are replaced atomically, and entries of others are never lost."""

import ctypes
import errno
import fcntl
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from tests.disk import DiskLog, names
from tfrec_stage import directories
from tfrec_stage.directories import replaced_directory, scratch_directory
from tfrec_stage.errors import OutputError
from tfrec_stage.files import lock_or_pass, open_directory


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The new directory replaces the previous one, and nothing of that remains."""
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    with replaced_directory(path) as staging:
        (staging / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["out"]


def test_an_error_keeps_the_previous_directory(tmp_path: Path) -> None:
    """If the block fails, the previous directory is unchanged and the new one is removed."""
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), replaced_directory(path) as staging:
        (staging / "new").touch()
        raise KeyboardInterrupt
    assert names(path) == ["old"]
    assert names(tmp_path) == ["out"]


def test_a_new_directory_has_the_usual_permissions(tmp_path: Path) -> None:
    """The directory has the permissions that the umask gives to any directory."""
    with replaced_directory(tmp_path / "out"):
        pass
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_directories_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """A temporary directory that a killed process left is removed; one that a running process has locked is not."""
    dead, alive = tmp_path / ".out[1].dead.partial", tmp_path / ".out[1].alive.partial"
    dead.mkdir()
    alive.mkdir()
    held = os.open(alive, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with replaced_directory(tmp_path / "out[1]"):
        pass
    os.close(held)
    assert names(tmp_path) == [alive.name, "out[1]"]


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("can_exchange", [True, False])
def test_two_replacements_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool, can_exchange: bool
) -> None:
    """Two replacements of one directory at the same time both succeed, and the last one stays."""
    if not can_exchange:
        monkeypatch.setattr("tfrec_stage.directories._exchange", lambda *_: False)
    path = tmp_path / "out"
    if is_there:
        path.mkdir()
    with replaced_directory(path) as outer:
        (outer / "outer").touch()
        with replaced_directory(path) as inner:
            (inner / "inner").touch()
        assert names(path) == ["inner"]
    assert names(path) == ["outer"]
    assert names(tmp_path) == ["out"]


def test_a_path_that_ends_in_dots(tmp_path: Path) -> None:
    """Dots at the end of a path are resolved, and the directory that they name is replaced."""
    (tmp_path / "out" / "old").mkdir(parents=True)
    with replaced_directory(tmp_path / "out" / "old" / "..") as staging:
        (staging / "new").touch()
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["out"]


def test_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Path()` has no name: the directory that it stands for is replaced."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with replaced_directory(Path()) as staging:
        (staging / "new").touch()
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["out"]


def find_foreign(directory: Path) -> list[str]:
    """Return all names but `old`, which stands for the files of an earlier build."""
    return [name for name in names(directory) if name != "old"]


def before_the_swap(monkeypatch: pytest.MonkeyPatch, act) -> None:
    """Call a function after the block and before the swap."""
    swap = directories._swap

    def act_and_swap(staging: Path, path: Path) -> None:
        act()
        swap(staging, path)

    monkeypatch.setattr(directories, "_swap", act_and_swap)


@pytest.mark.parametrize("can_exchange", [True, False])
class TestEntriesThatAppear:
    """Entries that appear in a directory just before it is replaced are never lost."""

    @pytest.fixture(autouse=True)
    def _exchange(self, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
        if not can_exchange:
            monkeypatch.setattr(directories, "_exchange", lambda *_: False)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A directory with a file of an earlier build."""
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").touch()
        return tmp_path / "out"

    def test_a_file(self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """A file is moved into the new directory, with a warning."""
        before_the_swap(monkeypatch, lambda: (path / "NOTES.md").write_text("mine"))
        with replaced_directory(path, find_foreign) as staging:
            (staging / "new").touch()
        assert names(path) == ["NOTES.md", "new"]
        assert (path / "NOTES.md").read_text() == "mine"
        assert names(path.parent) == ["out"]
        assert f"{path / 'NOTES.md'} appeared while the directory was replaced" in caplog.text

    def test_a_folder(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder is moved with everything in it."""

        def put_folder() -> None:
            (path / "mine" / "deep").mkdir(parents=True)
            (path / "mine" / "deep" / "file").write_text("mine")

        before_the_swap(monkeypatch, put_folder)
        with replaced_directory(path, find_foreign):
            pass
        assert (path / "mine" / "deep" / "file").read_text() == "mine"
        assert names(path.parent) == ["out"]

    def test_a_name_that_the_new_directory_has(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the new directory has a file of the same name, both are kept."""
        before_the_swap(monkeypatch, lambda: (path / "new").write_text("mine"))
        with replaced_directory(path, find_foreign) as staging:
            (staging / "new").write_text("ours")
        assert sorted(entry.read_text() for entry in path.iterdir()) == ["mine", "ours"]
        assert (path / "new").read_text() == "ours"

    def test_while_the_previous_directory_is_removed(self, path: Path) -> None:
        """A file that appears after foreign entries were searched for is kept as well."""

        def find_and_put(directory: Path) -> list[str]:
            found = find_foreign(directory)
            (directory / "late").write_text("mine")
            return found

        with replaced_directory(path, find_and_put):
            pass
        assert (path / "late").read_text() == "mine"
        assert names(path.parent) == ["out"]

    def test_a_sweep_of_another_build(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another build that starts now, and removes what killed ones left, does not take the previous directory."""

        def sweep_and_find(directory: Path) -> list[str]:
            directories._sweep(path)
            return find_foreign(directory)

        before_the_swap(monkeypatch, lambda: (path / "NOTES.md").write_text("mine"))
        with replaced_directory(path, sweep_and_find) as staging:
            (staging / "new").touch()
        assert names(path) == ["NOTES.md", "new"]
        assert names(path.parent) == ["out"]

    def test_a_sweep_that_began_before_the_swap(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sweep that has opened the new directory under the temporary name does not take the previous one for it."""

        def sweep_and_find(directory: Path) -> list[str]:
            with monkeypatch.context() as patch:
                patch.setattr(directories, "open_directory", lambda _: opened)
                directories._sweep(path)
            return find_foreign(directory)

        before_the_swap(monkeypatch, lambda: (path / "NOTES.md").write_text("mine"))
        with replaced_directory(path, sweep_and_find) as staging:
            (staging / "new").touch()
            opened = open_directory(staging)  # which the sweep closes
        assert names(path) == ["NOTES.md", "new"]
        assert names(path.parent) == ["out"]

    @pytest.mark.parametrize("is_early", [True, False])
    def test_another_build_that_ends_at_the_same_time(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, is_early: bool
    ) -> None:
        """It waits until this one has moved the last foreign entry, and then replaces the new directory as safely."""

        def replace_again() -> None:
            with replaced_directory(path, sweep_and_find):
                pass

        def sweep_and_find(directory: Path) -> list[str]:
            directories._sweep(path)
            return [name for name in names(directory) if name != "new"]

        def begin() -> None:
            if another.ident is None:
                (path / "NOTES.md").write_text("mine")
                if is_early:
                    start_another()

        def start_another() -> None:
            another.start()
            another.join(0.2)

        def find_late(directory: Path) -> list[str]:
            if not is_early:
                start_another()
            assert names(path) == ["new"]
            return find_foreign(directory)

        another = threading.Thread(target=replace_again)
        before_the_swap(monkeypatch, begin)
        with replaced_directory(path, find_late) as staging:
            (staging / "new").touch()
        another.join(20)
        assert names(path) == ["NOTES.md"]
        assert names(path.parent) == ["out"]

    def test_files_that_an_nfs_client_keeps(self, path: Path) -> None:
        """A file that was removed while it was open stays under its `.nfs` name: it goes when it is closed."""

        def find_and_remove(directory: Path) -> list[str]:
            (directory / ".nfs0001").write_text("removed")
            return []

        with replaced_directory(path, find_and_remove) as staging:
            (staging / "new").touch()
        assert names(path) == ["new"]
        assert names(staging) == [".nfs0001"]

    def test_a_file_in_its_place(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that has replaced the directory is moved into the new one."""

        def put_file() -> None:
            (path / "old").unlink()
            path.rmdir()
            path.write_text("mine")

        before_the_swap(monkeypatch, put_file)
        with replaced_directory(path, find_foreign) as staging:
            (staging / "new").touch()
        assert names(path) == ["new", "out"]
        assert (path / "out").read_text() == "mine"
        assert names(path.parent) == ["out"]

    def test_a_link_in_its_place(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A symbolic link that has replaced the directory is moved into the new one; its target is unchanged."""
        mine = path.with_name("mine")
        before_the_swap(monkeypatch, lambda: path.rename(mine) and path.symlink_to(mine))
        with replaced_directory(path, find_foreign) as staging:
            (staging / "new").touch()
        assert names(mine) == ["old"]
        assert names(path) == ["new", "out"]
        assert (path / "out").readlink() == mine
        assert names(path.parent) == ["mine", "out"]

    def test_a_dangling_link_in_its_place(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A dangling symbolic link is moved as well, and not left under a hidden name."""
        before_the_swap(monkeypatch, lambda: path.rename(path.with_name("mine")) and path.symlink_to("nowhere"))
        with replaced_directory(path, find_foreign) as staging:
            (staging / "new").touch()
        assert names(path) == ["new", "out"]
        assert names(path.parent) == ["mine", "out"]


def test_a_failure_between_the_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If names cannot be exchanged and the second rename fails, the previous directory gets its name back.

    Another build that starts between the two renames, and removes what killed ones left, leaves it alone.
    """
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    monkeypatch.setattr(directories, "_exchange", lambda *_: False)
    rename = os.rename

    def fail_for_the_new(source: Path, target: Path) -> None:
        if Path(source).name.startswith(".out.") and ".previous." not in str(source):
            directories._sweep(tmp_path / "out")
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_for_the_new)
    with (
        pytest.raises(OutputError, match=r"cannot replace .*out: Input/output error"),
        replaced_directory(tmp_path / "out"),
    ):
        pass
    assert names(tmp_path / "out") == ["old"]
    assert names(tmp_path) == ["out"]


def test_a_directory_that_is_swept_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process removes the new directory before it is locked, another one is created."""
    lock, swept = fcntl.flock, []

    def sweep_first(fd: int, operation: int) -> None:
        if not swept:
            swept.append(Path(f"/proc/self/fd/{fd}").readlink())
            swept[0].rmdir()
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    open_before = names(Path("/proc/self/fd"))
    with replaced_directory(tmp_path / "out") as staging:
        assert staging != swept[0]
        (staging / "new").touch()
    assert names(tmp_path / "out") == ["new"]
    assert set(names(Path("/proc/self/fd"))) <= set(open_before)


def test_a_child_keeps_no_lock(tmp_path: Path) -> None:
    """A child that the user's program forks meanwhile has a copy of the lock, which is free all the same at the end."""
    with replaced_directory(tmp_path / "out"):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
    fd = open_directory(tmp_path / "out")
    try:
        assert lock_or_pass(fd)
    finally:
        os.close(fd)
        child.kill()
        child.join()


def test_a_previous_directory_that_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The new directory is in its place, and a warning says where the previous one remains."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    with replaced_directory(tmp_path / "out") as staging:
        (staging / "new").touch()
        monkeypatch.setattr(Path, "unlink", refuse)
    assert names(tmp_path / "out") == ["new"]
    assert names(staging) == ["old"]
    message = f"cannot remove the previous {tmp_path}/out, which lies in {staging} (Operation not permitted)"
    assert [record.getMessage() for record in caplog.records] == [message]


def test_a_link_in_the_previous_directory(tmp_path: Path) -> None:
    """A symbolic link of an earlier build is removed, and its target is not."""
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "out" / "old").symlink_to(tmp_path / "mine")
    with replaced_directory(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["mine", "out"]
    assert names(tmp_path / "mine") == ["file"]


def test_a_scratch_directory_lasts_for_a_block(tmp_path: Path) -> None:
    """It is removed with its content, however the block ends; an existing file of its name is an error and stays."""
    with pytest.raises(ZeroDivisionError), scratch_directory(tmp_path) as scratch:
        (scratch / "deep").mkdir()
        (scratch / "deep" / "file").touch()
        raise ZeroDivisionError
    assert names(tmp_path) == []
    scratch.touch()
    with pytest.raises(OutputError, match=r"cannot write .*\.scratch: File exists"), scratch_directory(tmp_path):
        pass
    assert names(tmp_path) == [".scratch"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_the_swap_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    """The names in the new directory are synced before it gets its own name, and that name afterwards."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    if not can_exchange:
        monkeypatch.setattr(directories, "_exchange", lambda *_: False)
    log = DiskLog(tmp_path, monkeypatch)
    with replaced_directory(tmp_path / "out") as staging:
        (staging / "new").touch()
    log.assert_order(("sync", staging.name), ("name", "out"), ("sync", "."))


def test_a_system_without_renameat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library has no renameat2, as on macOS, the directory is replaced in two renames."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    for content in ("first", "second"):
        with replaced_directory(tmp_path / "out") as staging:
            (staging / content).touch()
    assert names(tmp_path / "out") == ["second"]
    assert names(tmp_path) == ["out"]
