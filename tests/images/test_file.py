"""Image files are read completely, in one call, and never anything that could block."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tfrec_stage.errors import RecordError
from tfrec_stage.images import file as image_file
from tfrec_stage.images.file import read_image_file


@pytest.fixture
def no_hang():
    """A test that blocks for five seconds fails."""

    def fail(signum, frame):
        raise AssertionError("blocked for 5 s")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def _refusal(path):
    with pytest.raises(RecordError) as caught:
        read_image_file(path)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("size", [1, 4096, 3_000_001])
def test_content_is_read_completely(tmp_path, size):
    """All bytes are read, also through a link, from a path of every type."""
    content = os.urandom(size)
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    link = tmp_path / "link.jpg"
    link.symlink_to(path)
    assert read_image_file(path) == read_image_file(str(link)) == read_image_file(os.fsencode(path)) == content


def test_one_read_is_enough(tmp_path, monkeypatch):
    """A file whose size does not change is read by a single call."""
    calls = []
    read = os.read
    monkeypatch.setattr(image_file.os, "read", lambda *args: calls.append(args) or read(*args))
    (tmp_path / "a").write_bytes(b"content")
    assert read_image_file(tmp_path / "a") == b"content"
    assert len(calls) == 1


@pytest.mark.parametrize("stated", [0, 3, 6, 8, 5000], ids=lambda stated: f"stated-{stated}")
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, stated):
    """A file is read to its end, whatever size was stated before."""
    path = tmp_path / "a"
    path.write_bytes(b"content")
    fstat = os.fstat

    def state_other_size(descriptor):
        values = list(fstat(descriptor))
        values[6] = stated
        return os.stat_result(values)

    monkeypatch.setattr(image_file.os, "fstat", state_other_size)
    assert read_image_file(path) == b"content"


def test_short_reads_are_continued(tmp_path, monkeypatch):
    """Reading continues after short reads, which network file systems may return."""
    (tmp_path / "a").write_bytes(b"content")
    read = os.read
    monkeypatch.setattr(image_file.os, "read", lambda descriptor, size: read(descriptor, min(size, 2)))
    assert read_image_file(tmp_path / "a") == b"content"


def test_empty(tmp_path):
    """An empty file fails with `image_empty`."""
    (tmp_path / "a.jpg").touch()
    reason, message = _refusal(tmp_path / "a.jpg")
    assert reason == "image_empty"
    assert "a.jpg has 0 bytes" in message


def test_missing(tmp_path):
    """A missing file, a dangling link and a path through a file fail with `image_missing`."""
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "file").write_bytes(b"content")
    for name in ("gone", "dangling", "file/image.jpg"):
        reason, message = _refusal(tmp_path / name)
        assert reason == "image_missing"
        assert name in message


@pytest.mark.usefixtures("no_hang")
def test_what_could_block_is_refused(tmp_path):
    """Directories, pipes without a writer, sockets and devices are refused without blocking."""
    pipe, path = tmp_path / "pipe", tmp_path / "socket"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert _refusal(path)[0] == "image_unreadable"
    for special, kind in ((tmp_path, "a directory"), (pipe, "a named pipe"), (Path("/dev/zero"), "a device")):
        reason, message = _refusal(special)
        assert reason == "image_unreadable"
        assert message.endswith(f"is {kind}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path):
    """A file without permission to read fails with `image_unreadable`."""
    path = tmp_path / "a"
    path.write_bytes(b"content")
    path.chmod(0)
    assert _refusal(path)[0] == "image_unreadable"


@pytest.mark.parametrize("number", [5, 13, 40], ids=["EIO", "EACCES", "ELOOP"])
def test_errors_of_the_system(tmp_path, monkeypatch, number):
    """An error on opening fails the record, with the text of the operating system."""

    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(image_file.os, "open", fail)
    reason, message = _refusal(tmp_path / "a")
    assert reason == "image_unreadable"
    assert os.strerror(number) in message


def test_errors_while_reading_close_the_file(tmp_path, monkeypatch):
    """The file is closed after an I/O error."""
    (tmp_path / "a").write_bytes(b"content")
    closed = []
    close = os.close
    monkeypatch.setattr(image_file.os, "close", lambda descriptor: closed.append(descriptor) or close(descriptor))

    def fail(*args):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(image_file.os, "read", fail)
    assert _refusal(tmp_path / "a")[0] == "image_unreadable"
    assert len(closed) == 1


def test_a_file_too_large_for_any_record(tmp_path):
    """A sparse file of 3 GiB is refused before it is read."""
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    assert _refusal(path)[0] == "image_too_large"


def test_names_that_are_not_utf_8(tmp_path):
    """Files are read by any name; in messages, which are stored as JSON, bytes that are not UTF-8 are escaped."""
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(path)).write_bytes(b"content")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert read_image_file(path) == read_image_file(os.fsdecode(path)) == b"content"
    assert _refusal(os.fsdecode(path + b"x"))[1].endswith("caf\\udce9.jpgx")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"], ids=["null-byte", "lone-surrogate"])
def test_impossible_names(name):
    """A name that no file can have fails the record, not the run."""
    assert _refusal(name)[0] == "image_unreadable"
