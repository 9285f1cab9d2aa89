"""Cold files are asked for in time, and nothing else changes."""

import errno
import os
from pathlib import Path

import pytest

from tfrec_stage.images import file as image_file
from tfrec_stage.images import file as module
from tfrec_stage.images.file import BATCH, is_cached, prefetch, read_ahead
from tfrec_stage.records import ImageRecord


def records(count: int) -> list[ImageRecord]:
    return [ImageRecord(filename=f"{number}.jpg", id=str(number)) for number in range(count)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that the kernel was asked for, on a disk where nothing is in memory."""
    paths: list[str] = []
    monkeypatch.setattr(module, "is_cached", lambda path: False)
    monkeypatch.setattr(module, "prefetch", paths.append)
    return paths


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 5])
def test_records_come_as_they_are(count: int, asked: list[str]) -> None:
    """Every record comes once, in its order, and its file was asked for once."""
    assert list(read_ahead(records(count), Path("root"))) == records(count)
    assert asked == [f"root/{number}.jpg" for number in range(count)]


def test_files_are_asked_for_a_batch_ahead(asked: list[str]) -> None:
    """Before the first record of a batch is given, the files of the next one are on their way, and no more."""
    coming = read_ahead(records(10 * BATCH), Path("root"))
    next(coming)
    assert len(asked) == 2 * BATCH


def test_files_in_memory_are_not_asked_for(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files are in memory, one of a batch is looked at and none is asked for."""
    looked_at: list[str] = []
    monkeypatch.setattr(module, "is_cached", lambda path: looked_at.append(path) or True)
    list(read_ahead(records(3 * BATCH), Path("root")))
    assert asked == []
    assert len(looked_at) == 3


def test_records_that_hold_their_image_need_no_file(asked: list[str]) -> None:
    """No file is looked for where the record itself holds the image."""
    options = {"height": 1, "width": 1, "format": "JPEG", "colorspace": "RGB", "channels": 3}
    held = [ImageRecord(filename="0.jpg", id="0", encoded=b"x", **options)]
    assert list(read_ahead(held, Path("root"))) == held
    assert asked == []


def test_a_file_just_written_is_in_memory(tmp_path: Path) -> None:
    """A file is known to be in memory; one that is not there is nobody's wait."""
    path = tmp_path / "image.jpg"
    path.write_bytes(bytes(100_000))
    assert is_cached(str(path))
    assert is_cached(str(tmp_path / "absent.jpg"))
    assert is_cached("\0")


@pytest.mark.parametrize("missing", ["RWF_NOWAIT", "preadv", "posix_fadvise"])
def test_systems_that_have_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Where the kernel cannot be asked whether a file is in memory, or for one, nobody waits and nothing fails."""
    monkeypatch.delattr(os, missing, raising=False)
    (tmp_path / "image.jpg").write_bytes(b"x")
    assert is_cached(str(tmp_path / "image.jpg"))
    prefetch(str(tmp_path / "image.jpg"))


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs Linux")
@pytest.mark.parametrize(("error", "cached"), [(errno.EAGAIN, False), (errno.EOPNOTSUPP, False), (errno.EIO, True)])
def test_what_the_kernel_says_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, cached: bool
) -> None:
    """A file is cold where a read would wait, and where a disk cannot tell; a broken one is its reader's."""

    def refuse(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    path = tmp_path / "image.jpg"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "preadv", refuse)
    mount(tmp_path, "nfs4", monkeypatch)
    assert is_cached(str(path)) is cached


@pytest.mark.parametrize("kind", ["absent", "directory", "pipe", "nul"])
def test_odd_paths_are_left_to_the_reader(tmp_path: Path, kind: str) -> None:
    """To ask for what is no file neither raises nor waits."""
    path = str(tmp_path / "odd")
    if kind == "directory":
        os.mkdir(path)  # noqa: PTH102
    elif kind == "pipe":
        os.mkfifo(path)
    prefetch("\0" if kind == "nul" else path)
    assert is_cached(path) in (True, False)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs Linux")
@pytest.mark.parametrize(
    ("kind", "cached"),
    [("tmpfs", True), ("ramfs", True), ("nfs4", False), ("", False), ("odd\r\n1 2\n\n3 4 5 / a\x85", False)],
)
def test_file_systems_in_memory_have_nothing_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, cached: bool
) -> None:
    """Where a file system cannot tell, its kind decides; one that is not listed is taken for a disk."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    (tmp_path / "image.jpg").write_bytes(b"x")
    monkeypatch.setattr(os, "preadv", refuse)
    mount(tmp_path, kind, monkeypatch)
    assert is_cached(str(tmp_path / "image.jpg")) is cached


def mount(directory: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel's list say that this directory is on a file system of that kind; without a kind, nothing."""
    device = directory.stat().st_dev
    other, ours = "1 0 250:250 / / rw - ext4 /dev/a rw", f"2 1 {os.major(device)}:{os.minor(device)} / /a rw shared:1"
    (directory / "mountinfo").write_text(f"{other}\n{ours} - {kind} none rw\n" if kind else f"{other}\n")
    monkeypatch.setattr(image_file, "_MOUNTS", directory / "mountinfo")
    monkeypatch.setattr(image_file, "_is_memory", image_file._is_memory.__wrapped__)
