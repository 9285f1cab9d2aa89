"""Records of earlier shards: read only if the bytes are those that were written."""

from pathlib import Path

import msgspec
import pytest
from google_crc32c import value

from tfrec_stage.cache.reuse import PreviousRecords
from tfrec_stage.cache.shard_cache import CachedShard
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.shards.metadata import RecordEntry, ShardMetadata
from tfrec_stage.tfrecord.framing import encode_frame

KEYS = [bytes([number]) * 16 for number in range(3)]
FRAMES = [b"".join(encode_frame(b"head", b"image" * number, b"tail")) for number in range(3)]


def store(folder: Path, codec: str | None = None) -> CachedShard:
    """Create a shard of three records with its sidecar."""
    (folder / "shard").write_bytes(b"".join(FRAMES))
    lines, offset = [], 0
    for key, frame in zip(KEYS, FRAMES, strict=True):
        entry = RecordEntry(key.hex(), offset, len(frame), 0, 0, 0, None, [], (), {})
        lines.append(msgspec.json.encode(entry) + b"\n")
        offset += len(frame)
    entries = b"".join(lines)
    (folder / "sidecar").write_bytes(b"a head\n" + entries)
    metadata = ShardMetadata(fingerprint="", records=3, size_bytes=offset, crc32c=0, statistics={}, pixel_codec=codec)
    return CachedShard(folder / "shard", metadata, folder / "sidecar", value(entries))


def taken(*shards: CachedShard) -> list[bytes | None]:
    """Return the frame of each record; None if it is unknown or damaged."""
    with PreviousRecords(shards) as previous:
        found = [previous.read(key) if key in previous else None for key in KEYS]
    return [record and record.frame for record in found]


def test_records_come_as_they_stood(tmp_path: Path) -> None:
    """Each record is found under its key, with its entry."""
    with PreviousRecords([store(tmp_path)]) as previous:
        assert b"x" * 16 not in previous
        records = [previous.read(key) for key in KEYS]
    assert [(bytes.fromhex(record.entry.key), record.frame) for record in records] == list(
        zip(KEYS, FRAMES, strict=True)
    )


@pytest.mark.parametrize("place", range(len(FRAMES[1])))
def test_a_flipped_bit_anywhere_in_a_frame(tmp_path: Path, place: int) -> None:
    """In the length, the payload or a checksum: only that record is not reused."""
    shard = store(tmp_path)
    content = bytearray(shard.path.read_bytes())
    content[len(FRAMES[0]) + place] ^= 1
    shard.path.write_bytes(content)
    assert taken(shard) == [FRAMES[0], None, FRAMES[2]]


@pytest.mark.parametrize("missing", [1, 4, len(FRAMES[2]) - 15, len(FRAMES[2]) - 1, len(FRAMES[2])])
def test_a_shard_that_was_cut(tmp_path: Path, missing: int) -> None:
    """A record whose end is missing is not reused, and does not stop the build."""
    shard = store(tmp_path)
    shard.path.write_bytes(shard.path.read_bytes()[:-missing])
    assert taken(shard) == [*FRAMES[:2], None]


@pytest.mark.parametrize("size_bytes", [0, 1, 5, 11, 15, 16, len(FRAMES[0]) - 1, len(FRAMES[0]) + 1])
def test_an_entry_of_another_length(tmp_path: Path, size_bytes: int) -> None:
    """An entry that does not fit its frame gives no record."""
    shard = store(tmp_path)
    entry = RecordEntry(KEYS[0].hex(), 0, size_bytes, 0, 0, 0, None, [], (), {})
    assert taken(rewritten(shard, msgspec.json.encode(entry) + b"\n")) == [None, None, None]


def test_an_entry_of_another_shape(tmp_path: Path) -> None:
    """An entry written by another version gives no record."""
    assert taken(rewritten(store(tmp_path), b'["%b","x"]\n' % KEYS[0].hex().encode())) == [None, None, None]


def rewritten(shard: CachedShard, entries: bytes) -> CachedShard:
    """Return the shard with other entries and their right checksum."""
    shard.sidecar.write_bytes(b"a head\n" + entries)
    return shard._replace(entries_crc32c=value(entries))


def test_entries_that_are_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A changed sidecar is not believed, and this is logged."""
    shard = store(tmp_path)
    content = shard.sidecar.read_bytes()
    shard.sidecar.write_bytes(content.replace(KEYS[0].hex().encode(), KEYS[1].hex().encode()))
    assert taken(shard) == [None, None, None]
    assert f"{shard.sidecar} is damaged" in caplog.text


@pytest.mark.parametrize("name", ["shard", "sidecar"])
def test_a_file_that_is_gone(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """If the cache was deleted in the meantime, nothing is reused and nothing is logged."""
    shard = store(tmp_path)
    (tmp_path / name).unlink()
    assert taken(shard) == [None, None, None]
    assert caplog.records == []


def test_pixels_of_another_version(tmp_path: Path) -> None:
    """A shard with images re-encoded by another Pillow is not reused; one by the same, or with none, is."""
    for codec, expected in (("pillow 1, libjpeg 1", [None] * 3), (pixel_codec(), FRAMES), (None, FRAMES)):
        assert taken(store(tmp_path, codec)) == expected
