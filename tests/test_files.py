"""Files are written atomically, and are on disk before they get their name."""

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.disk import DiskLog, names
from tfrec_stage.directories import replaced_directory
from tfrec_stage.errors import OutputError
from tfrec_stage.files import atomic_writer, link_file, make_directories, move_file, sync_directory, write_file


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    """No file of that name exists until the block ends."""
    path = tmp_path / "new" / "a.json"
    with atomic_writer(path) as file:
        file.write(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"
    assert names(path.parent) == ["a.json"]


def test_an_error_keeps_the_previous_file(tmp_path: Path) -> None:
    """If the block fails, the previous file is unchanged and the partial one is removed."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_hard_link_is_never_written_through(tmp_path: Path) -> None:
    """A file that is a hard link into a cache is replaced and not opened, so the cache keeps its bytes."""
    cached, path = tmp_path / "cached", tmp_path / "a"
    cached.write_bytes(b"cached")
    os.link(cached, path)
    write_file(path, b"new")
    assert (cached.read_bytes(), path.read_bytes()) == (b"cached", b"new")


def test_a_file_in_the_way_is_reported(tmp_path: Path) -> None:
    """A path below a file is an error that names the path."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make .*file/out"), replaced_directory(tmp_path / "file" / "out"):
        pass
    with pytest.raises(OutputError, match=r"cannot write .*file/a"):
        write_file(tmp_path / "file" / "a", b"")


@pytest.mark.parametrize("can_link", [True, False])
def test_a_second_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_link: bool) -> None:
    """A file gets a second name, by a copy if links are not allowed; a missing source raises FileNotFoundError."""

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not can_link:
        monkeypatch.setattr(os, "link", refuse)
    content = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(content)
    link_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == content
    assert (tmp_path / "a").samefile(tmp_path / "b") == can_link
    with pytest.raises(FileNotFoundError):
        link_file(tmp_path / "missing", tmp_path / "c")
    with pytest.raises(OutputError, match="c: File exists"):
        (tmp_path / "c").write_bytes(b"mine")
        link_file(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"mine"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while a file is written names that file, and the partial file is removed."""
    (tmp_path / "a").write_bytes(b"old")
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match=rf"cannot write {tmp_path}/a: No space left"), atomic_writer(tmp_path / "a"):
        raise full
    with pytest.raises(OutputError, match=rf"cannot write {tmp_path}/a: No space left"):
        monkeypatch.setattr(os, "fsync", lambda _: raise_(full))
        write_file(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_directory_in_the_place_of_the_file(tmp_path: Path) -> None:
    """A directory of the same name is reported, and is unchanged."""
    (tmp_path / "a" / "mine").mkdir(parents=True)
    with pytest.raises(OutputError, match=rf"cannot write {tmp_path}/a: Is a directory"):
        write_file(tmp_path / "a", b"x")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["mine"]


def test_an_error_of_a_file_that_the_block_reads(tmp_path: Path) -> None:
    """An error of another file names that file."""
    with pytest.raises(FileNotFoundError, match="missing"), atomic_writer(tmp_path / "a") as file:
        file.write((tmp_path / "missing").read_bytes())
    assert names(tmp_path) == []


def test_a_full_disk_during_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full during a copy, the error names the copy, and the partial copy is removed."""
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "link", lambda *_: raise_(OSError(errno.EXDEV, "Invalid cross-device link")))
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: raise_(full))
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(OutputError, match=rf"cannot write {tmp_path}/b: No space left"):
        link_file(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["a"]


def test_a_link_that_fails_for_another_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that does not come from missing support for links is reported, and nothing is copied."""
    monkeypatch.setattr(os, "link", lambda *_: raise_(OSError(errno.EIO, "Input/output error")))
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(OutputError, match=rf"cannot link {tmp_path}/b: Input/output error"):
        link_file(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["a"]


def test_buffers_are_written_before_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a few bytes have left Python's buffer when the file is synced, in copies and in written files."""
    synced: list[int] = []
    monkeypatch.setattr(os, "link", lambda *_: raise_(OSError(errno.EXDEV, "Invalid cross-device link")))
    monkeypatch.delattr(os, "copy_file_range")
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    (tmp_path / "a").write_bytes(b"small")
    link_file(tmp_path / "a", tmp_path / "b")
    write_file(tmp_path / "c", b"smaller", sync_name=False)
    assert synced == [5, 7]


def raise_(error: Exception) -> None:
    raise error


def test_content_is_synced_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the content is synced, then the file gets its name, then that name is synced."""
    log = DiskLog(tmp_path, monkeypatch)
    write_file(tmp_path / "a", b"x")
    log.assert_order(("sync", ".a.*"), ("name", "a"), ("sync", "."))
    assert len(log.events) == 3


def test_the_caller_may_sync_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that the caller or `replaced_directory` syncs are not synced one by one."""
    log = DiskLog(tmp_path, monkeypatch)
    write_file(tmp_path / "a", b"x", sync_name=False)
    assert log.at("sync", ".") == []
    (tmp_path / ".out.0123.partial").mkdir()
    write_file(tmp_path / ".out.0123.partial" / "b", b"x")
    assert log.at("sync", ".out.0123.partial") == []
    assert len(log.at("sync", "*")) == 2


def test_new_directories_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each directory that got a new entry is synced; existing directories cost no sync."""
    log = DiskLog(tmp_path, monkeypatch)
    make_directories(tmp_path / "a" / "b")
    assert {name for _, name in log.events} == {".", "a"}
    log.events.clear()
    make_directories(tmp_path / "a" / "b")
    assert log.events == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_systems_that_cannot_sync_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """File systems that refuse to sync a directory are no error."""
    monkeypatch.setattr(os, "fsync", failing_for_directories(number))
    write_file(tmp_path / "a", b"x")
    with replaced_directory(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["a", "out"]


def test_an_error_of_the_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error while a directory is synced is reported with its name, and no partial file is left."""
    monkeypatch.setattr(os, "fsync", failing_for_directories(errno.EIO))
    with pytest.raises(OutputError, match=rf"cannot sync the names in {tmp_path} to disk: Input/output error"):
        write_file(tmp_path / "a", b"x")
    with pytest.raises(OutputError, match="Input/output error"), replaced_directory(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["a"]


def test_a_directory_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that may be written but not read cannot be synced, which is no error."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tfrec_stage.files.open_directory", refuse)
    sync_directory(tmp_path)


def failing_for_directories(number: int):
    sync = os.fsync

    def fail(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        sync(fd)

    return fail


@pytest.mark.parametrize("missing", [["copy_file_range"], ["copy_file_range", "link"]])
def test_systems_without_copy_file_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str]) -> None:
    """Without the system calls of Linux, and without links, a file is copied in full and synced."""

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for name in missing:
        monkeypatch.delattr(os, name)
    log = DiskLog(tmp_path, monkeypatch)
    content = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(content)
    link_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == content
    assert log.events == [("sync", "b")]


def test_a_file_is_moved_over_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file replaces the earlier one by a rename, the new name is synced, and the old name is gone."""
    (tmp_path / "old").write_bytes(b"new content")
    (tmp_path / "new").write_bytes(b"earlier")
    log = DiskLog(tmp_path, monkeypatch)
    move_file(tmp_path / "old", tmp_path / "new")
    assert log.events == [("name", "new"), ("sync", ".")]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new": b"new content"}


def test_a_file_is_moved_to_another_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be renamed there is copied; other errors are reported, and the source stays."""
    rename = Path.replace
    (tmp_path / "old").write_bytes(b"content")

    def refuse(number: int) -> None:
        def replace(path: Path, target: Path) -> Path:
            if path.name == "old":
                raise OSError(number, os.strerror(number))
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", replace)

    refuse(errno.EXDEV)
    move_file(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == b"content"
    refuse(errno.EACCES)
    with pytest.raises(OutputError, match=r"cannot write .*other: Permission denied"):
        move_file(tmp_path / "old", tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
