"""Read shards without TensorFlow, compressed or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.example import Feature, decode_example
from tfrec_stage.tfrecord.framing import HEADER, decode_frames, is_header
from tfrec_stage.tfrecord.gzip import GZIP_MAGIC, GzipShardReader


class StoredRecord(NamedTuple):
    """One record of a shard."""

    offset: int
    """Offset of its frame, in bytes from the start of the (uncompressed) file."""
    features: dict[str, Feature]
    """Its features by key."""


def open_shard(path: Path) -> BinaryIO:
    """Open a shard to read its frames, inflated if it is compressed.

    Reading raises a ShardError if a compressed shard is damaged.

    Raises:
        ShardError: it cannot be opened.
    """
    with _os_errors_as_shard_errors(path):
        file = path.open("rb")
        return cast("BinaryIO", GzipShardReader(file)) if _is_gzip(file) else file


def compression_of(path: Path) -> Literal["", "GZIP"]:
    """Return TensorFlow's name for the compression of a shard: `tf.data.TFRecordDataset(path, compression_type=…)`.

    The content decides, not the name of the file.

    Raises:
        ShardError: it cannot be opened.
    """
    with _os_errors_as_shard_errors(path), path.open("rb") as file:
        return "GZIP" if _is_gzip(file) else ""


def read_features(path: Path) -> Iterator[StoredRecord]:
    """Iterate over the records of a shard; the checksums of each are compared.

    Raises:
        ShardError: the file cannot be read, or a record is damaged; the text names the file and the byte offset.
    """
    with open_shard(path) as stream:
        for frame in decode_frames(stream, str(path)):
            try:
                features = decode_example(frame.payload)
            except ShardError as error:
                raise ShardError(f"{path}: the record at byte {frame.offset}: {error}") from error
            yield StoredRecord(frame.offset, features)


@contextmanager
def _os_errors_as_shard_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ShardError(f"expected to read the shard {path}, but got: {error.strerror or error}") from error


def _is_gzip(file: BufferedReader) -> bool:
    beginning = file.peek(HEADER.size)[: HEADER.size]  # peek may return fewer bytes, or many more
    # An uncompressed shard begins with the same three bytes if its first record has 559,903 bytes, or a multiple of
    # 16 MiB more. Its first 12 bytes then are a length with a matching checksum; those of our gzip files never are.
    return beginning.startswith(GZIP_MAGIC) and not is_header(beginning)
