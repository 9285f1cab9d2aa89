"""One TFRecord file: written in batches, never over an existing file, and synced at the end."""

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
    """A shard without records is an empty file."""
    with ShardWriter(tmp_path / "shard") as file:
        assert file.finish() == WrittenFile(0, 0, 0)
    assert (tmp_path / "shard").read_bytes() == b""


def test_positions_and_checksum(tmp_path: Path) -> None:
    """Each frame is at the position that `append` returns, and `finish` returns count, length and CRC32C."""
    with ShardWriter(tmp_path / "shard") as file:
        positions = [file.append([b"abc", b"de"], 0), file.append([b"f"], 1), file.append([b"", b"gh"], 2)]
        assert file.size_bytes == 8
        written = file.finish()
    assert positions == [FramePosition(0, 5), FramePosition(5, 1), FramePosition(6, 2)]
    assert [position.inflated_offset for position in positions] == [0, 0, 0]
    assert (tmp_path / "shard").read_bytes() == b"abcdefgh"
    assert written == WrittenFile(3, 8, value(b"abcdefgh"))


@pytest.mark.parametrize(
    ("frames", "on_disk"),
    [
        pytest.param([[b"x" * (BATCH_BYTES - 1)]], 0, id="one byte less than a batch"),
        pytest.param([[b"x" * BATCH_BYTES]], BATCH_BYTES, id="a batch"),
        pytest.param([[b"x"], [b"x" * (BATCH_BYTES - 1)]], BATCH_BYTES, id="a batch in two frames"),
        pytest.param([[b"x" * BATCH_BYTES], [b"x"]], BATCH_BYTES, id="one more frame"),
        pytest.param([[b"x"] * (BATCH_PIECES - 1)], 0, id="one piece less than a batch"),
        pytest.param([[b"x"] * (BATCH_PIECES // 2)] * 2, BATCH_PIECES, id="a batch of pieces"),
    ],
)
def test_frames_are_written_in_batches(tmp_path: Path, frames: list[list[bytes]], on_disk: int) -> None:
    """Frames are written once there is 1 MiB or 1,000 pieces of them; until then they count as part of the file."""
    data = b"".join(piece for frame in frames for piece in frame)
    with ShardWriter(tmp_path / "shard") as file:
        for frame in frames:
            file.append(frame, 0)
        assert (tmp_path / "shard").stat().st_size == on_disk
        assert file.size_bytes == len(data)
        assert file.finish() == WrittenFile(len(frames), len(data), value(data))
    assert (tmp_path / "shard").read_bytes() == data


@pytest.mark.parametrize("accepted", [BATCH_BYTES // 3, -1], ids=["a third", "all but one byte"])
def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepted: int) -> None:
    """After a short write the rest of the batch is written once, then the next batch."""
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, pieces: writev(fd, [b"".join(pieces)[:accepted]]))
    frames = [os.urandom(BATCH_BYTES) for _ in range(3)]
    with ShardWriter(tmp_path / "shard") as file:
        for frame in frames:
            file.append([frame], 0)
        file.append([b"end"], 0)
        file.finish()
    assert (tmp_path / "shard").read_bytes() == b"".join(frames) + b"end"


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """An existing file is an error that names it, and its content stays."""
    (tmp_path / "shard").write_bytes(b"theirs")
    with pytest.raises(OutputError) as caught:
        ShardWriter(tmp_path / "shard")
    assert str(caught.value) == f"cannot write {tmp_path / 'shard'}: File exists"
    assert (tmp_path / "shard").read_bytes() == b"theirs"


def test_the_file_is_closed_and_not_inherited(tmp_path: Path) -> None:
    """Child processes do not inherit the descriptor, and it is closed also after an error."""
    file = ShardWriter(tmp_path / "shard")
    descriptor = file._fd
    assert not os.get_inheritable(descriptor)
    with pytest.raises(KeyError), file:
        raise KeyError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    """The umask decides the permissions, as for any new file."""
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
def test_disk_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, sentence: str) -> None:
    """The error is one line with the file, the system's message and, where possible, what to do."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with ShardWriter(tmp_path / "shard") as file:
        file.append([b"x"], 0)
        with pytest.raises(OutputError) as caught:
            file.finish()
    assert str(caught.value) == f"cannot write {tmp_path / 'shard'}: {sentence}"


def test_the_file_is_synced_after_its_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`finish` syncs the complete file, so a power failure cannot leave a partial file under its name."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: sizes.append(os.fstat(fd).st_size))
    with ShardWriter(tmp_path / "shard") as file:
        file.append([b"abc"], 0)
        file.finish()
    assert sizes == [3]


KINDS = pytest.mark.parametrize("kind", [ShardWriter, GzipShardWriter])


def write(path: Path, kind: type) -> bytes:
    """Write a shard of two records and return its content."""
    with kind(path) as file:
        for size in (50_000, 5):
            file.append(encode_frame(b"x" * size), size)
        file.finish()
    return path.read_bytes()


@KINDS
def test_a_finished_shard_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Both writers sync the file once, after its last byte, and nothing else."""
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
def test_systems_without_writev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Where `os.writev` is missing, the file has the same bytes."""
    expected = write(tmp_path / "expected", kind)
    monkeypatch.delattr(os, "writev")
    assert write(tmp_path / "shard", kind) == expected


@KINDS
def test_every_writer_completes_short_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Writes of a few bytes at a time give the same file."""
    frame = encode_frame(b"x" * 50_000)
    expected = tmp_path / "expected"
    with kind(expected) as file:
        file.append(frame, 50_000)
        file.finish()
    monkeypatch.setattr(os, "writev", lambda fd, pieces: os.write(fd, b"".join(pieces)[:7]))
    with kind(tmp_path / "shard") as file:
        file.append(frame, 50_000)
        file.finish()
    assert (tmp_path / "shard").read_bytes() == expected.read_bytes()


def test_number_of_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of writev gets many small frames or a few large ones, and never more pieces than the system allows."""
    calls: list[list[int]] = []
    writev = os.writev

    def record_call(fd: int, pieces: list[bytes]) -> int:
        calls.append([len(piece) for piece in pieces])
        return writev(fd, pieces)

    monkeypatch.setattr(os, "writev", record_call)
    frames = [encode_frame(b"x" * size) for size in [10] * 1000 + [300_000] * 9 + [3_000_000, 5]]
    with ShardWriter(tmp_path / "shard") as file:
        positions = [file.append(frame, 0) for frame in frames]
        written = file.finish()
    data = b"".join(piece for frame in frames for piece in frame)
    assert (tmp_path / "shard").read_bytes() == data
    assert (written.records, written.size_bytes, written.crc32c) == (len(frames), len(data), value(data))
    assert [data[position.offset :][: position.size_bytes] for position in positions] == [
        b"".join(frame) for frame in frames
    ]
    assert max(map(len, calls)) <= min(1024, os.sysconf("SC_IOV_MAX"))
    assert len(calls) <= 3000 / 1000 + 9 / 4 + 3


@KINDS
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """A full disk is an error that says what to do."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", refuse)
    with kind(tmp_path / "shard") as file, pytest.raises(OutputError, match="No space left on device; make room"):
        file.append(encode_frame(b"x" * 50_000), 50_000)
        file.finish()
