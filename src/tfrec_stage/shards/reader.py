"""Shards, found and read back without TensorFlow."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple, cast

from tfrec_stage.errors import ShardError
from tfrec_stage.shards.index import stated_shards
from tfrec_stage.tfrecord.example import Feature, decode_example
from tfrec_stage.tfrecord.framing import HEADER, decode_frames, is_header
from tfrec_stage.tfrecord.gzip import GZIP_MAGIC, GzipShardReader

_SHARD: Final = re.compile(r"(?P<name>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})")


class StoredRecord(NamedTuple):
    """One record of a shard."""

    offset: int
    """Where its frame begins, in bytes from the start of the (uncompressed) file."""
    features: dict[str, Feature]
    """Its features, by their keys."""


def find_shards(directory_or_glob: str | Path) -> list[Path]:
    """Shards in the order of their numbers.

    Args:
        directory_or_glob: a directory of `<name>-00000-of-00010` files, one of these files, or a pattern such as
            `data/shards/*/train-*`.

    Raises:
        ShardError: there is none, or some of a directory's are missing.
    """
    place = Path(directory_or_glob)
    if place.is_dir():
        return _whole_set(place)
    is_pattern = has_magic(str(place)) and not place.exists()  # a folder's name may look like a pattern
    found = [Path(path) for path in sorted(glob(str(place)))] if is_pattern else [place]  # noqa: PTH207
    files = [path for path in found if path.is_file()]
    # What lies beside shards is none; files of other writers may have any name.
    shards = [path for path in files if _SHARD.fullmatch(path.name)] or files
    if not shards:
        raise ShardError(f"expected shards, but there is no file {place}; name a directory of shards, or a pattern")
    return shards


def open_shard(path: Path) -> BinaryIO:
    """A shard for reading its frames from front to end, whether it is compressed or not.

    Reading raises a ShardError where a compressed one is damaged.

    Raises:
        ShardError: it cannot be opened.
    """
    with _opening(path):
        file = path.open("rb")
        return cast("BinaryIO", GzipShardReader(file)) if _is_gzip(file) else file


def compression_of(path: Path) -> Literal["", "GZIP"]:
    """What TensorFlow calls the compression of a shard, for `tf.data.TFRecordDataset(path, compression_type=…)`.

    The content decides. A plain shard may begin like a gzip file, but then its first bytes have their checksum.

    Raises:
        ShardError: it cannot be opened.
    """
    with _opening(path), path.open("rb") as file:
        return "GZIP" if _is_gzip(file) else ""


def read_features(path: Path) -> Iterator[StoredRecord]:
    """Records of a shard, one after the other, each checksum compared.

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
def _opening(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ShardError(f"expected to read the shard {path}, but got: {error.strerror or error}") from error


def _is_gzip(file: BufferedReader) -> bool:
    beginning = file.peek(HEADER.size)[: HEADER.size]
    return beginning.startswith(GZIP_MAGIC) and not is_header(beginning)


def shard_sets(directory: Path) -> dict[tuple[str, int], dict[int, Path]]:
    """Shards of a directory by their numbers, for each name and count of shards that they are called by."""
    sets: dict[tuple[str, int], dict[int, Path]] = {}
    for path in sorted(directory.iterdir()):
        if match := _SHARD.fullmatch(path.name):
            sets.setdefault((match["name"], int(match["count"])), {})[int(match["number"])] = path
    return sets


def _whole_set(directory: Path) -> list[Path]:
    sets = shard_sets(directory)
    if not sets:
        raise ShardError(f"expected shards such as train-00000-of-00010 in {directory}, but there is none")
    if len(sets) > 1:
        shown = ", ".join(f"{name} of {count}" for name, count in sets)
        raise ShardError(f"expected one set of shards in {directory}, but got {shown}; name one with a pattern")
    (((_, count), shards),) = sets.items()
    absent = [number for number in range(count) if number not in shards]
    if absent:
        raise ShardError(
            f"expected {count} shards in {directory}, but {len(absent)} are missing, the first of them number "
            f"{absent[0]}; build again, or pull what is missing"
        )
    _check_sizes(directory, shards.values())
    return [shards[number] for number in sorted(shards)]


def _check_sizes(directory: Path, shards: Iterable[Path]) -> None:
    """A shard that was cut between two records reads like a whole one: only the index tells."""
    stated = stated_shards(directory)
    for path in shards:
        size = path.stat().st_size
        _, expected = stated.get(path.name, (0, size))
        if expected != size:
            raise ShardError(
                f"expected {expected} bytes in the shard {path}, as the index says, but it has {size}; "
                "build it again, pull it again, or run stage=verify"
            )
