"""One TFRecord file: written in large pieces, once, and never over another."""

import errno
import os
import stat
from pathlib import Path

import pytest
from google_crc32c import value

from tests.disk import DiskLog
from tfrec_stage.errors import OutputError
from tfrec_stage.tfrecord.file_writer import BATCH_BYTES, BATCH_PIECES, FramePosition, ShardWriter, WrittenFile
from tfrec_stage.tfrecord.framing import encode_frame
from tfrec_stage.tfrecord.gzip import GzipShardWriter


def test_an_empty_file(tmp_path: Path) -> None:
    """Without records a shard is an empty file."""
    with ShardWriter(tmp_path / "shard") as file:
        assert file.finish() == WrittenFile(0, 0, 0)
    assert (tmp_path / "shard").read_bytes() == b""


def test_places_and_sums(tmp_path: Path) -> None:
    """Each frame is where its place says, and the whole is what the file says of itself."""
    with ShardWriter(tmp_path / "shard") as file:
        places = [file.append([b"abc", b"de"], 0), file.append([b"f"], 1), file.append([b"", b"gh"], 2)]
        assert file.size_bytes == 8
        written = file.finish()
    assert places == [FramePosition(0, 5), FramePosition(5, 1), FramePosition(6, 2)]
    assert [place.inflated_offset for place in places] == [0, 0, 0]
    assert (tmp_path / "shard").read_bytes() == b"abcdefgh"
    assert written == WrittenFile(3, 8, value(b"abcdefgh"))


@pytest.mark.parametrize(
    ("frames", "on_disk"),
    [
        pytest.param([[b"x" * (BATCH_BYTES - 1)]], 0, id="a byte less than a batch"),
        pytest.param([[b"x" * BATCH_BYTES]], BATCH_BYTES, id="a batch"),
        pytest.param([[b"x"], [b"x" * (BATCH_BYTES - 1)]], BATCH_BYTES, id="a batch in two"),
        pytest.param([[b"x" * BATCH_BYTES], [b"x"]], BATCH_BYTES, id="one waits again"),
        pytest.param([[b"x"] * (BATCH_PIECES - 1)], 0, id="a piece less than a batch"),
        pytest.param([[b"x"] * (BATCH_PIECES // 2)] * 2, BATCH_PIECES, id="as many pieces as a batch has"),
    ],
)
def test_small_writes_wait_for_a_batch(tmp_path: Path, frames: list[list[bytes]], on_disk: int) -> None:
    """A MiB or a thousand pieces are written at once, and what is less waits, and is counted."""
    data = b"".join(piece for frame in frames for piece in frame)
    with ShardWriter(tmp_path / "shard") as file:
        for frame in frames:
            file.append(frame, 0)
        assert (tmp_path / "shard").stat().st_size == on_disk
        assert file.size_bytes == len(data)
        assert file.finish() == WrittenFile(len(frames), len(data), value(data))
    assert (tmp_path / "shard").read_bytes() == data


@pytest.mark.parametrize("taken", [BATCH_BYTES // 3, -1], ids=["a third", "all but a byte"])
def test_what_was_written_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """After a short write the rest follows, once, and the next batch begins anew."""
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, pieces: writev(fd, [b"".join(pieces)[:taken]]))
    frames = [os.urandom(BATCH_BYTES) for _ in range(3)]
    with ShardWriter(tmp_path / "shard") as file:
        for frame in frames:
            file.append([frame], 0)
        file.append([b"end"], 0)
        file.finish()
    assert (tmp_path / "shard").read_bytes() == b"".join(frames) + b"end"


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    """The name must be free: an error names it, and what is there stays."""
    (tmp_path / "shard").write_bytes(b"theirs")
    with pytest.raises(OutputError) as caught:
        ShardWriter(tmp_path / "shard")
    assert str(caught.value) == f"cannot write {tmp_path / 'shard'}: File exists"
    assert (tmp_path / "shard").read_bytes() == b"theirs"


def test_the_file_is_closed_and_of_this_process_alone(tmp_path: Path) -> None:
    """Programs that are started meanwhile do not inherit it, and it is closed also after an error."""
    file = ShardWriter(tmp_path / "shard")
    descriptor = file._fd
    assert not os.get_inheritable(descriptor)
    with pytest.raises(KeyError), file:
        raise KeyError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    """Who may read it is decided by the umask."""
    before = os.umask(umask)
    try:
        with ShardWriter(tmp_path / "shard") as file:
            file.finish()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shard").stat().st_mode) == mode


@pytest.mark.parametrize("call", ["writev", "fsync"])
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "No space left on device; make room, or name another output_dir"),
        (errno.EDQUOT, "Disk quota exceeded; the quota is used up"),
        (errno.EFBIG, "File too large; the limit on file size is reached: raise it, or take more shards"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_the_disk_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, sentence: str
) -> None:
    """One line: the file, what the system said, and what to do about it where something can be done."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with ShardWriter(tmp_path / "shard") as file:
        file.append([b"x"], 0)
        with pytest.raises(OutputError) as caught:
            file.finish()
    assert str(caught.value) == f"cannot write {tmp_path / 'shard'}: {sentence}"


def test_everything_is_on_disk_when_it_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced behind its last byte, so that a power cut cannot leave a part of it under its name."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: sizes.append(os.fstat(fd).st_size))
    with ShardWriter(tmp_path / "shard") as file:
        file.append([b"abc"], 0)
        file.finish()
    assert sizes == [3]


KINDS = pytest.mark.parametrize("kind", [ShardWriter, GzipShardWriter])


def write(path: Path, kind: type) -> bytes:
    """A shard of two records; its content."""
    with kind(path) as file:
        for size in (50_000, 5):
            file.append(encode_frame(b"x" * size), size)
        file.finish()
    return path.read_bytes()


@KINDS
def test_a_finished_shard_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Whoever links a finished shard can rely on its bytes: they were synced, once, after the last was written."""
    log = DiskLog(tmp_path, monkeypatch)
    sizes = []
    sync = os.fsync

    def measure(fd: int) -> None:
        sizes.append(os.fstat(fd).st_size)
        sync(fd)

    monkeypatch.setattr(os, "fsync", measure)
    content = write(tmp_path / "shard", kind)
    assert log.events == [("sync", "shard")]
    assert sizes == [len(content)]


@KINDS
def test_systems_that_cannot_gather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Without writev the same bytes are joined first."""
    expected = write(tmp_path / "expected", kind)
    monkeypatch.delattr(os, "writev")
    assert write(tmp_path / "shard", kind) == expected
