"""Records, images and failures of earlier shards: read only if the bytes are those that were written."""

from pathlib import Path

import msgspec
import pytest
from google_crc32c import value

from tfrec_stage.cache import earlier_shards
from tfrec_stage.cache.earlier_shards import EarlierShard, EarlierShards, ImageUse, read_entries
from tfrec_stage.cache.shard_cache import CachedShard
from tfrec_stage.images.policy import Verify
from tfrec_stage.shards.metadata import FailedImage, RecordEntry, ShardMetadata
from tfrec_stage.tfrecord.framing import encode_frame

KEYS = [bytes([number]) * 16 for number in range(3)]
IMAGE_KEYS = [bytes([16 + number]) * 16 for number in range(4)]
FRAMES = [b"".join(encode_frame(b"head", b"image" * number, b"tail")) for number in range(3)]
FAILED = FailedImage(IMAGE_KEYS[3].hex(), "0" * 64, "image_corrupt", "damaged", "decode", "pillow 1")
STORED = ImageUse(Verify.decode, is_stored=True, needs_sha256=False)
IN_FRAME = len(FRAMES[0]) - len(b"tail") - 4
"""Offset of the image in each frame."""


def entry(number: int, offset: int, **changes: object) -> RecordEntry:
    image = {"image_key": IMAGE_KEYS[number].hex(), "image_offset": IN_FRAME, "width": 4, "height": 3}
    fixed = {"boxes": 0, "parts": 0, "image_label": None, "object_labels": [], "transforms": (), "repaired": {}}
    place = {"key": KEYS[number].hex(), "offset": offset, "size_bytes": len(FRAMES[number]), "image_bytes": 5 * number}
    return RecordEntry(**{**place, **fixed, **image, **changes})


def store(folder: Path, *more: bytes) -> CachedShard:
    """Create a shard of three records, with a failed image before the last, and its sidecar."""
    (folder / "shard").write_bytes(b"".join(FRAMES))
    offsets = [0, len(FRAMES[0]), len(FRAMES[0]) + len(FRAMES[1])]
    lines = [msgspec.json.encode(entry(number, offsets[number])) for number in range(3)]
    lines[2:2] = [msgspec.json.encode(FAILED)]
    return with_entries(folder, b"".join(line + b"\n" for line in [*lines, *more]))


def with_entries(folder: Path, entries: bytes) -> CachedShard:
    """Write a sidecar with the right checksum."""
    (folder / "sidecar").write_bytes(b"a head\n" + entries)
    metadata = ShardMetadata(fingerprint="", records=3, size_bytes=0, crc32c=0, statistics={})
    return CachedShard(folder / "shard", metadata, folder / "sidecar", value(entries))


def places(shard: CachedShard) -> list[int]:
    """Return the offsets of the lines: three records, and the failed image before the last."""
    lines = read_entries(shard).splitlines(keepends=True)
    return [sum(map(len, lines[:number])) for number in range(len(lines))]


def taken(shard: CachedShard, at: list[int] | None = None) -> list[bytes | None]:
    """Return the frame of each record; None if it is damaged."""
    zero, one, _, two = at or places(shard)
    with EarlierShards((EarlierShard.of(shard),)) as earlier:
        found = [earlier.record(0, place, key) for place, key in zip((zero, one, two), KEYS, strict=True)]
    return [record and b"".join(record.frame) for record in found]


def test_records_and_images_come_as_they_stood(tmp_path: Path) -> None:
    """Each record, image and failure is read at its place, if it is the one that was looked for."""
    shard = store(tmp_path)
    at = places(shard)
    assert taken(shard) == FRAMES
    with EarlierShards((EarlierShard.of(shard),)) as earlier:
        record = earlier.record(0, at[1], KEYS[1])
        image = earlier.image(0, at[1], IMAGE_KEYS[1], STORED)
        assert record is not None
        assert record.entry == entry(1, len(FRAMES[0]))
        assert image is not None
        assert (image.data, image.width, image.height, image.sha256) == (b"image", 4, 3, None)
        assert earlier.failure(0, at[2], IMAGE_KEYS[3]) == FAILED
        assert earlier.record(0, at[1], KEYS[2]) is None
        assert earlier.image(0, at[1], IMAGE_KEYS[2], STORED) is None
        assert earlier.failure(0, at[2], IMAGE_KEYS[2]) is None
        assert earlier.record(0, at[2], KEYS[2]) is earlier.image(0, at[2], IMAGE_KEYS[3], STORED) is None
        assert earlier.failure(0, at[1], IMAGE_KEYS[1]) is None


def test_an_image_whose_bytes_are_not_needed(tmp_path: Path) -> None:
    """The shard is read only for images that are stored, or whose digest is needed and not known."""
    known = msgspec.json.encode(entry(1, 0, image_sha256="f" * 64))
    shard = store(tmp_path, known)
    first, *_, last = places(shard)
    (tmp_path / "shard").write_bytes(b"")
    neither = STORED._replace(is_stored=False)
    digest = neither._replace(needs_sha256=True)
    with EarlierShards((EarlierShard.of(shard),)) as earlier:
        assert earlier.image(0, first, IMAGE_KEYS[0], neither) is not None
        assert earlier.image(0, first, IMAGE_KEYS[0], digest) is None
        assert earlier.image(0, last, IMAGE_KEYS[1], digest) is not None
        assert earlier.image(0, last, IMAGE_KEYS[1], STORED) is None


@pytest.mark.parametrize("place", range(len(FRAMES[1])))
def test_a_flipped_bit_anywhere_in_a_frame(tmp_path: Path, place: int) -> None:
    """In the length, the payload or a checksum: only that record is not reused, nor its image."""
    shard = store(tmp_path)
    content = bytearray(shard.path.read_bytes())
    content[len(FRAMES[0]) + place] ^= 1
    shard.path.write_bytes(content)
    assert taken(shard) == [FRAMES[0], None, FRAMES[2]]
    with EarlierShards((EarlierShard.of(shard),)) as earlier:
        assert earlier.image(0, places(shard)[1], IMAGE_KEYS[1], STORED) is None


@pytest.mark.parametrize("missing", [1, 4, len(FRAMES[2]) - 15, len(FRAMES[2]) - 1, len(FRAMES[2])])
def test_a_shard_that_was_cut(tmp_path: Path, missing: int) -> None:
    """A record whose end is missing is not reused, and does not stop the build."""
    shard = store(tmp_path)
    shard.path.write_bytes(shard.path.read_bytes()[:-missing])
    assert taken(shard) == [*FRAMES[:2], None]


@pytest.mark.parametrize("image_offset", [0, IN_FRAME])
@pytest.mark.parametrize("size_bytes", [0, 1, 5, 11, 15, 16, len(FRAMES[0]) - 1, len(FRAMES[0]) + 1])
def test_an_entry_of_another_length(tmp_path: Path, size_bytes: int, image_offset: int) -> None:
    """An entry that does not fit its frame gives no record."""
    store(tmp_path)
    line = msgspec.json.encode(entry(0, 0, size_bytes=size_bytes, image_offset=image_offset)) + b"\n"
    assert taken(with_entries(tmp_path, line), [0, 0, 0, 0]) == [None, None, None]


def test_an_entry_of_an_earlier_version(tmp_path: Path) -> None:
    """Where the place of the image is not known, the record is copied, and its image not reused."""
    store(tmp_path)
    line = msgspec.json.encode([*msgspec.structs.astuple(entry(0, 0))][:10]) + b"\n"
    shard = with_entries(tmp_path, line)
    assert taken(shard, [0, 0, 0, 0])[0] == FRAMES[0]
    with EarlierShards((EarlierShard.of(shard),)) as earlier:
        assert earlier.image(0, 0, IMAGE_KEYS[0], STORED) is None


@pytest.mark.parametrize("line", [b'["%b","x"]\n' % KEYS[0].hex().encode(), b'["failed"]\n', b"", b"\n", b"["])
def test_an_entry_of_another_shape(tmp_path: Path, line: bytes) -> None:
    """An entry that another version wrote gives no record."""
    store(tmp_path)
    assert taken(with_entries(tmp_path, line), [0, 0, 0, 0]) == [None, None, None]


def test_lines_longer_than_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are found whole, in any order, however little is read at a time."""
    shard = store(tmp_path)
    expected = read_entries(shard).splitlines()
    at = places(shard)
    for size_bytes in (1, 7, 64, 300, 1 << 16):
        monkeypatch.setattr(earlier_shards, "_WINDOW_BYTES", size_bytes)
        opened = earlier_shards._OpenShard(EarlierShard.of(shard), earlier_shards.InflatedBlocks())
        assert [opened.line(at[number]) for number in (0, 1, 2, 3, 0, 3, 1)] == [
            expected[number] for number in (0, 1, 2, 3, 0, 3, 1)
        ]
        opened.close()


def count_open() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_few_shards_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records of one task may come from more shards than a process may open files."""
    monkeypatch.setattr(earlier_shards, "OPEN_SHARDS", 2)
    shards = []
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        shards.append(store(tmp_path / str(number)))
    before = count_open()
    with EarlierShards(tuple(map(EarlierShard.of, shards))) as earlier:
        for number in (0, 1, 2, 3, 4, 0, 4, 2):
            assert earlier.record(number, 0, KEYS[0]) is not None
            assert count_open() <= before + 4
    assert count_open() == before


def test_entries_that_are_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A changed sidecar is not believed, and this is logged."""
    shard = store(tmp_path)
    assert read_entries(shard)
    content = shard.sidecar.read_bytes()
    shard.sidecar.write_bytes(content.replace(KEYS[0].hex().encode(), KEYS[1].hex().encode()))
    assert read_entries(shard) == b""
    assert f"{shard.sidecar} is damaged" in caplog.text


@pytest.mark.parametrize("name", ["shard", "sidecar"])
def test_a_file_that_is_gone(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """If the cache was deleted in the meantime, nothing is reused and nothing is logged."""
    shard = store(tmp_path)
    at = places(shard)
    (tmp_path / name).unlink()
    assert taken(shard, at) == [None, None, None]
    assert caplog.records == []
