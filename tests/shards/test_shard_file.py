"""A shard's bytes on their way to disk."""

import os
from pathlib import Path

import pytest

from tests.disk import DiskLog
from tfrec_stage.codecs.tfrecord import encode_frame
from tfrec_stage.shards.gzip_file import GzipShardFile
from tfrec_stage.shards.shard_file import ShardFile

KINDS = pytest.mark.parametrize("kind", [ShardFile, GzipShardFile])


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
