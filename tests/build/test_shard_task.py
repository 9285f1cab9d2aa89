"""Writing one shard, and the metadata of what was written."""

from array import array
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from google_crc32c import value

from tests.conftest import MakeDataset
from tfrec_stage.build.fingerprint import (
    NO_KEY,
    KeyMaker,
    compressor_version,
    key_of_failure,
    key_with_image,
    shard_fingerprint,
    split_keys,
)
from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions
from tfrec_stage.build.record_encoder import RecordEncoder
from tfrec_stage.build.shard_task import ShardTask, write_shard
from tfrec_stage.cache.reuse import EarlierRecords
from tfrec_stage.cache.shard_cache import CachedShard
from tfrec_stage.errors import ManifestError
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.shards.metadata import RecordEntry, WrittenShard
from tfrec_stage.tfrecord.framing import FOOTER, HEADER

COUNT = 6
NAMES = {1: ("nose",)}


@pytest.fixture(params=list(Compression), ids=lambda each: each.name)
def task(request: pytest.FixtureRequest, tmp_path: Path, make_dataset: MakeDataset) -> ShardTask:
    """Six records: the fifth image is a PNG, the third is missing, the last record has no class and two equal boxes."""
    dataset = make_dataset(COUNT)
    Path(dataset[2]["filename"]).unlink()
    del dataset[5]["class"]
    dataset[5]["object"]["bbox"] = {name: items * 2 for name, items in dataset[5]["object"]["bbox"].items()}
    source = RecordList(dataset)
    output_options = OutputOptions(encode=EncodeOptions(compression=request.param))
    keys = b"".join(KeyMaker(output_options, NAMES).key(record) for _, record in source.scan())
    encoder = RecordEncoder(output_options, tmp_path, NAMES)
    positions = array("Q", range(COUNT))
    return ShardTask(0, tmp_path / "shard", tmp_path / "failures", source, positions, keys, keys, encoder)


def entries_of(shard: WrittenShard) -> list[RecordEntry]:
    return msgspec.json.Decoder(RecordEntry).decode_lines(shard.entries)


def full_keys(task: ShardTask, shard: WrittenShard) -> bytes:
    """Return the keys with images, as a later build knows them; the failed record keeps its planned key."""
    known = [bytes.fromhex(entry.key) for entry in entries_of(shard)]
    return b"".join([*known[:2], task.keys[32:48], *known[2:]])


def with_earlier(task: ShardTask, stored: CachedShard, full_keys: bytes) -> ShardTask:
    """Return the same task with what an earlier shard has of its records."""
    keys = KeyMaker(task.encoder.output_options, NAMES)
    hashes = [sha256(Path(record.filename).read_bytes()).digest() for _, record in present(task)]
    made = [keys.image_key(record, image_hash) for (_, record), image_hash in zip(present(task), hashes, strict=True)]
    image_keys = b"".join([*made[:2], NO_KEY, *made[2:]])
    earlier = EarlierRecords([stored], task.encoder.output_options.encode.image_use)
    found = earlier.find(split_keys(full_keys), split_keys(image_keys))
    return replace(task, found=found, full_keys=full_keys, image_keys=image_keys)


def present(task: ShardTask) -> list:
    """Return the records whose image is there."""
    return [(position, record) for position, record in task.source.scan() if Path(record.filename).exists()]


def test_the_metadata_of_a_shard(task: ShardTask) -> None:
    """The metadata describes the file; the fingerprint covers every record, also the failed one, and the codec."""
    shard = write_shard(task)
    content = task.path.read_bytes()
    compressed_by = compressor_version(task.encoder.output_options.encode.compression)
    metadata = shard.metadata
    assert (metadata.records, metadata.size_bytes, metadata.crc32c) == (COUNT - 1, len(content), value(content))
    assert (metadata.pixel_codec, metadata.compressor) == (pixel_codec(), compressed_by)
    known = full_keys(task, shard)
    keys = known[:32] + key_of_failure(known[32:48]) + known[48:]
    assert metadata.fingerprint == shard_fingerprint(keys, pixel_codec(), compressed_by)
    assert metadata.statistics["images"] == COUNT - 1
    assert (shard.number, shard.path, shard.copied) == (0, task.path, 0)
    assert shard.failures_path.read_text().count("\n") == 1


def test_what_is_known_of_each_record(task: ShardTask) -> None:
    """An entry has the key with the image, the classes, and what was done to the image."""
    entries = entries_of(write_shard(task))
    dataset = [task.source.original(position).values for position in (0, 1, 3, 4, 5)]
    digests = [sha256(Path(record["filename"]).read_bytes()).digest() for record in dataset]
    planned = [task.keys[position * 16 : position * 16 + 16] for position in (0, 1, 3, 4, 5)]
    expected = [key_with_image(key, digest).hex() for key, digest in zip(planned, digests, strict=True)]
    assert [entry.key for entry in entries] == expected
    assert [entry.image_label for entry in entries] == [0, 1, 0, 1, None]
    assert [entry.object_labels for entry in entries] == [[0], [1], [0], [1], [2, 2]]
    assert [(entry.boxes, entry.parts, entry.duplicate_boxes) for entry in entries] == [(1, 0, 0)] * 4 + [(2, 0, 1)]
    assert [bool(entry.transforms) for entry in entries] == [False, False, False, True, False]
    assert all(entry.size_bytes > entry.image_bytes + HEADER.size + FOOTER.size for entry in entries)


def test_what_was_written_before_is_copied(task: ShardTask, tmp_path: Path) -> None:
    """Bytes and metadata are the same, whatever was copied; only the failed record is tried again."""
    first = write_shard(task)
    (tmp_path / "sidecar").write_bytes(b"a head\n" + first.entries)
    stored = CachedShard(
        first.path.rename(tmp_path / "old"), first.metadata, tmp_path / "sidecar", value(first.entries)
    )
    again = write_shard(with_earlier(task, stored, full_keys(task, first)))
    assert (again.copied, again.reused_images) == (COUNT - 1, 0)
    assert (again.metadata, again.entries) == (first.metadata, first.entries)
    assert task.path.read_bytes() == (tmp_path / "old").read_bytes()


def test_what_was_damaged_is_encoded_again(task: ShardTask, tmp_path: Path) -> None:
    """A record that is damaged in the earlier shard is read and encoded like a new one."""
    first = write_shard(task)
    expected = task.path.read_bytes()
    (tmp_path / "sidecar").write_bytes(b"a head\n" + first.entries)
    (tmp_path / "old").write_bytes(expected[:40])
    stored = CachedShard(tmp_path / "old", first.metadata, tmp_path / "sidecar", value(first.entries))
    again = write_shard(with_earlier(task, stored, full_keys(task, first)))
    assert again.copied == 0
    assert (again.metadata, again.entries) == (first.metadata, first.entries)
    assert task.path.read_bytes() == expected


def test_what_a_killed_worker_left(task: ShardTask) -> None:
    """A half-written shard and half-written failures are written again."""
    expected = write_shard(task)
    content, failures = task.path.read_bytes(), task.failures_path.read_bytes()
    task.path.write_bytes(content[:10])
    assert write_shard(task) == expected
    assert (task.path.read_bytes(), task.failures_path.read_bytes()) == (content, failures)


def test_failures_of_an_earlier_attempt(task: ShardTask, make_dataset: MakeDataset) -> None:
    """Nothing is left of the failure of a record that was repaired."""
    write_shard(task)
    make_dataset(COUNT)
    assert write_shard(task).metadata.records == COUNT
    assert not task.failures_path.exists()


def test_another_record_than_planned(task: ShardTask) -> None:
    """No record is written under the key of another."""
    keys = task.keys[16:32] + task.keys[:16] + task.keys[32:]
    with pytest.raises(ManifestError, match="changed while it was read"):
        write_shard(replace(task, keys=keys, full_keys=keys))
