"""Shards are read the same whether they are compressed or not; the content decides which they are."""

import gzip
from pathlib import Path

import pytest

from tfrec_stage.errors import ShardError
from tfrec_stage.shards.reader import compression_of, open_shard
from tfrec_stage.tfrecord.file_writer import ShardWriter
from tfrec_stage.tfrecord.framing import decode_frames, encode_frame, is_header
from tfrec_stage.tfrecord.gzip import GZIP_HEADER, GzipShardWriter


def write_both(directory: Path) -> None:
    """Write the same three frames to `plain` and `gzip`."""
    sizes = {1000: 0, 50_000: 50_000, 10: 0}  # only the second one is an image
    for writer, name in ((ShardWriter, "plain"), (GzipShardWriter, "gzip")):
        with writer(directory / name) as file:
            for size, image_bytes in sizes.items():
                file.append(encode_frame(bytes(size)), image_bytes)
            file.finish()


def test_frames_of_both(tmp_path: Path) -> None:
    """Both shards have the same frames at the same (uncompressed) offsets."""
    write_both(tmp_path)
    assert (compression_of(tmp_path / "plain"), compression_of(tmp_path / "gzip")) == ("", "GZIP")
    read = []
    for name in ("plain", "gzip"):
        with open_shard(tmp_path / name) as stream:
            read.append(list(decode_frames(stream, name)))
    assert read[0] == read[1]
    assert len(read[0]) == 3


def test_an_uncompressed_shard_that_begins_like_gzip(tmp_path: Path) -> None:
    """A shard whose first record has just that length begins like a gzip file; the checksum of the length decides."""
    payload = bytes(0x088B1F)
    path = tmp_path / "shard"
    path.write_bytes(b"".join(encode_frame(payload)))
    assert path.read_bytes().startswith(GZIP_HEADER[:4])
    assert compression_of(path) == ""
    with open_shard(path) as stream:
        assert [frame.payload for frame in decode_frames(stream, "x")] == [payload]


def test_our_gzip_files_never_begin_like_uncompressed_ones() -> None:
    """The first eight bytes of our gzip header never have the checksum of a length after them."""
    assert not any(is_header(GZIP_HEADER + bytes(pair)) for pair in ((a, b) for a in range(256) for b in range(256)))


def test_another_method_is_not_gzip(tmp_path: Path) -> None:
    """A file whose third byte names another method than deflate is not read as gzip."""
    (tmp_path / "shard").write_bytes(GZIP_HEADER[:2] + b"\x07" + GZIP_HEADER[3:])
    assert compression_of(tmp_path / "shard") == ""


def test_gzip_files_of_other_writers(tmp_path: Path) -> None:
    """Gzip files with a name in the header and with several members are read."""
    first, second = (b"".join(encode_frame(data)) for data in (b"first", b"second"))
    path = tmp_path / "shard"
    with path.open("wb") as raw, gzip.GzipFile("a name", "wb", fileobj=raw) as file:
        file.write(first)
    path.write_bytes(path.read_bytes() + gzip.compress(second))
    with open_shard(path) as stream:
        assert [frame.payload for frame in decode_frames(stream, "x")] == [b"first", b"second"]


def test_the_file_is_closed(tmp_path: Path) -> None:
    """Closing the stream closes the file."""
    write_both(tmp_path)
    with open_shard(tmp_path / "gzip") as stream:
        raw = stream.fileobj
        assert not raw.closed
    assert raw.closed


@pytest.mark.parametrize("name", ["absent", "."])
def test_a_shard_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    """An absent file and a directory are a ShardError."""
    for use in (open_shard, compression_of):
        with pytest.raises(ShardError, match="expected to read the shard"):
            use(tmp_path / name)
