"""How a shard lies on disk: as frames, or as a gzip file of them."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tfrec_stage.options import check_types
from tfrec_stage.tfrecord.file_writer import ShardFile
from tfrec_stage.tfrecord.gzip_file import GzipShardFile
from tfrec_stage.tfrecord.gzip_member import deflater


class Compression(Enum):
    """What is done to the frames of a shard."""

    none = "none"
    """Nothing: every TFRecord reader takes them."""
    gzip = "gzip"
    """The shard is a gzip file, which readers have to be told: `compression_type="GZIP"`."""


@dataclass
class CompressionOptions:
    """How shards lie on disk. Identity options: they change the bytes of shards, though not those of records."""

    compression: Compression = Compression.none
    """What is done to the frames of a shard."""

    def __post_init__(self) -> None:
        check_types(self, "encode")


def create_shard_file(path: Path, compression: Compression) -> ShardFile | GzipShardFile:
    """A new, empty shard.

    Raises:
        OutputError: the file cannot be made.
    """
    return GzipShardFile(path) if compression is Compression.gzip else ShardFile(path)


def compressor(compression: Compression) -> str | None:
    """What compresses shards, where anything does; other versions give other bytes."""
    return f"gzip ({deflater()})" if compression is Compression.gzip else None
