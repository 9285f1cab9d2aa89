"""Files and directories that appear whole or not at all."""

import fcntl
import os
from pathlib import Path

import pytest

from tfrec_stage.errors import OutputError
from tfrec_stage.files import atomic_writer, link_file, replaced_directory, write_file


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    """Until the block ends there is no file of that name."""
    path = tmp_path / "new" / "a.json"
    with atomic_writer(path) as file:
        file.write(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"
    assert names(path.parent) == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """An error keeps the previous file and leaves nothing beside it."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_writer(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_hard_link_is_never_written_through(tmp_path: Path) -> None:
    """A file that shares its inode with a cache is replaced, not opened: the cache keeps its bytes."""
    cached, path = tmp_path / "cached", tmp_path / "a"
    cached.write_bytes(b"cached")
    os.link(cached, path)
    write_file(path, b"new")
    assert (cached.read_bytes(), path.read_bytes()) == (b"cached", b"new")


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    """The new directory takes the place of the old one, of which nothing survives."""
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    with replaced_directory(path) as staging:
        (staging / "new").touch()
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["out"]


def test_a_failed_directory_leaves_the_old_one(tmp_path: Path) -> None:
    """An error keeps the previous directory and leaves nothing beside it."""
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), replaced_directory(path) as staging:
        (staging / "new").touch()
        raise KeyboardInterrupt
    assert names(path) == ["old"]
    assert names(tmp_path) == ["out"]


def test_a_new_directory_has_the_usual_rights(tmp_path: Path) -> None:
    """The directory can be read by whomever the umask lets, like any other."""
    with replaced_directory(tmp_path / "out"):
        pass
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """A path that leads through a file is an error that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot make .*file/out"), replaced_directory(tmp_path / "file" / "out"):
        pass
    with pytest.raises(OutputError, match=r"cannot write .*file/a"):
        write_file(tmp_path / "file" / "a", b"")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """A directory left behind is removed by the next; one that a living process holds is not."""
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
def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool, can_exchange: bool) -> None:
    """Two replacements of one directory, one inside the other: both end well, the last stays, whole."""
    if not can_exchange:
        monkeypatch.setattr("tfrec_stage.files._exchange", lambda *_: False)
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


@pytest.mark.parametrize("can_link", [True, False])
def test_a_second_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_link: bool) -> None:
    """A file gets a second name, by a copy where links are not allowed; a missing file is told as such."""

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
