"""Files that are not in memory are requested ahead, and records are unchanged."""

import errno
import os
from pathlib import Path

import pytest

from tfrec_stage.images import file as image_file
from tfrec_stage.images.file import BATCH, is_cached, prefetch, read_ahead
from tfrec_stage.records import ImageRecord


def records(count: int) -> list[ImageRecord]:
    return [ImageRecord(filename=f"{number}.jpg", id=str(number)) for number in range(count)]


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths requested from the kernel, on a disk of which nothing is in memory."""
    paths: list[str] = []
    monkeypatch.setattr(image_file, "is_cached", lambda path: False)
    monkeypatch.setattr(image_file, "prefetch", paths.append)
    return paths


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 5])
def test_records_are_unchanged(count: int, requested: list[str]) -> None:
    """Every record is yielded once, in order, and its file is requested once."""
    assert list(read_ahead(records(count), Path("root"))) == records(count)
    assert requested == [f"root/{number}.jpg" for number in range(count)]


def test_files_are_requested_one_batch_ahead(requested: list[str]) -> None:
    """Before the first record of a batch is yielded, the files of the next batch are requested, and no more."""
    upcoming = read_ahead(records(10 * BATCH), Path("root"))
    next(upcoming)
    assert len(requested) == 2 * BATCH


def test_files_in_memory_are_not_requested(requested: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If files are in memory, one per batch is checked and none is requested."""
    checked: list[str] = []
    monkeypatch.setattr(image_file, "is_cached", lambda path: checked.append(path) or True)
    list(read_ahead(records(3 * BATCH), Path("root")))
    assert requested == []
    assert len(checked) == 3


def test_records_with_an_image_need_no_file(requested: list[str]) -> None:
    """No file is requested for a record that contains its image."""
    options = {"height": 1, "width": 1, "format": "JPEG", "colorspace": "RGB", "channels": 3}
    embedded = [ImageRecord(filename="0.jpg", id="0", encoded=b"x", **options)]
    assert list(read_ahead(embedded, Path("root"))) == embedded
    assert requested == []


def test_a_file_just_written_is_in_memory(tmp_path: Path) -> None:
    """A file just written is in memory; a missing file counts as in memory, as reading it does not wait."""
    path = tmp_path / "image.jpg"
    path.write_bytes(bytes(100_000))
    assert is_cached(str(path))
    assert is_cached(str(tmp_path / "absent.jpg"))
    assert is_cached("\0")


@pytest.mark.parametrize("missing", ["RWF_NOWAIT", "preadv", "posix_fadvise"])
def test_systems_without_these_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without these system calls, files count as in memory and prefetching does nothing."""
    monkeypatch.delattr(os, missing, raising=False)
    (tmp_path / "image.jpg").write_bytes(b"x")
    assert is_cached(str(tmp_path / "image.jpg"))
    prefetch(str(tmp_path / "image.jpg"))


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="needs Linux")
@pytest.mark.parametrize(("error", "cached"), [(errno.EAGAIN, False), (errno.EOPNOTSUPP, False), (errno.EIO, True)])
def test_errors_of_the_kernel_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, cached: bool) -> None:
    """A file is not in memory if a read would wait or the disk cannot tell; other errors are left to the read."""

    def refuse(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    path = tmp_path / "image.jpg"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "preadv", refuse)
    mount(tmp_path, "nfs4", monkeypatch)
    assert is_cached(str(path)) is cached


@pytest.mark.parametrize("kind", ["absent", "directory", "pipe", "nul"])
def test_odd_paths_are_left_to_the_reader(tmp_path: Path, kind: str) -> None:
    """Prefetching something other than a file neither raises nor waits."""
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
    """If a file system cannot tell, its type decides; one that is not listed counts as a disk."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    (tmp_path / "image.jpg").write_bytes(b"x")
    monkeypatch.setattr(os, "preadv", refuse)
    mount(tmp_path, kind, monkeypatch)
    assert is_cached(str(tmp_path / "image.jpg")) is cached


def mount(directory: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the kernel's list of mounts by one with this directory; it is not listed if `kind` is empty."""
    device = directory.stat().st_dev
    other, ours = "1 0 250:250 / / rw - ext4 /dev/a rw", f"2 1 {os.major(device)}:{os.minor(device)} / /a rw shared:1"
    (directory / "mountinfo").write_text(f"{other}\n{ours} - {kind} none rw\n" if kind else f"{other}\n")
    monkeypatch.setattr(image_file, "_MOUNTS", directory / "mountinfo")
    monkeypatch.setattr(image_file, "_is_memory", image_file._is_memory.__wrapped__)
