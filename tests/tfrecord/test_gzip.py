"""A gzip shard is one gzip file of the same frames, and each frame can be read at its position."""

import gzip
import subprocess
import zlib
from pathlib import Path

import pytest
from google_crc32c import value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.conftest import encode_noise
from tfrec_stage.cache import frame_reader as stored_frames
from tfrec_stage.cache.frame_reader import GzipFrameReader, InflatedBlocks
from tfrec_stage.errors import ShardError
from tfrec_stage.shards.metadata import RecordEntry
from tfrec_stage.shards.reader import compression_of, open_shard
from tfrec_stage.tfrecord.file_writer import FramePosition
from tfrec_stage.tfrecord.framing import decode_frames, encode_frame
from tfrec_stage.tfrecord.gzip import (
    BLOCK_BYTES,
    GZIP_HEADER,
    GzipShardWriter,
    deflate_block,
    gzip_trailer,
    has_own_block,
    store_block,
    zlib_version,
)

Sizes = list[tuple[int, bool]]
"""Size of each payload, and whether all of it is an image."""
sizes = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 2000), st.integers(30_000, 40_000), st.sampled_from([65_519, 65_520, 140_000])),
        st.booleans(),
    ),
    max_size=12,
)


def payload_of(number: int, size: int) -> bytes:
    """Return a compressible payload, another one for each number."""
    return (b"image/object/%d " % number * (size // 10 + 1))[:size]


def write(path: Path, records: Sizes) -> tuple[bytes, list[FramePosition]]:
    """Write a gzip shard of these records; return its frames and their positions."""
    frames = [encode_frame(payload_of(number, size)) for number, (size, _) in enumerate(records)]
    path.unlink(missing_ok=True)
    with GzipShardWriter(path) as file:
        positions = [
            file.append(frame, size if is_image else 0) for frame, (size, is_image) in zip(frames, records, strict=True)
        ]
        written = file.finish()
    data = path.read_bytes()
    assert written == (len(records), len(data), value(data))
    return b"".join(b"".join(frame) for frame in frames), positions


def entry_at(position: FramePosition, image_bytes: int) -> RecordEntry:
    """Return an entry with the position of a frame."""
    empty = {"boxes": 0, "parts": 0, "image_label": None, "object_labels": [], "transforms": (), "repaired": {}}
    return RecordEntry(key="", image_bytes=image_bytes, **position._asdict(), **empty)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records=sizes, order=st.randoms(use_true_random=False))
def test_frames_are_read_at_their_positions(tmp_path: Path, records: Sizes, order) -> None:
    """Python's gzip inflates all frames, and each is read at its position, in any order."""
    path = tmp_path / "shard"
    frames, positions = write(path, records)
    assert gzip.decompress(path.read_bytes()) == frames
    entries = [
        entry_at(position, size if is_image else 0)
        for position, (size, is_image) in zip(positions, records, strict=True)
    ]
    numbers = list(range(len(records)))
    with GzipFrameReader(path, InflatedBlocks()) as stored:
        for order_of_reading in (numbers, order.sample(numbers, len(numbers))):
            for number in order_of_reading:
                frame = b"".join(encode_frame(payload_of(number, records[number][0])))
                assert stored.read(entries[number]) == [frame]


@pytest.mark.parametrize("record", [(1000, False), (40_000, True)])
def test_a_frame_in_pieces(tmp_path: Path, record: tuple[int, bool]) -> None:
    """If the place of the image is known, the frame comes in three pieces with the image in the middle."""
    _, positions = write(tmp_path / "shard", [record] * 3)
    frame = b"".join(encode_frame(payload_of(2, record[0])))
    image_bytes = 40_000 if record[1] else 5
    entry = structs.replace(entry_at(positions[2], image_bytes), image_offset=14)
    with GzipFrameReader(tmp_path / "shard", InflatedBlocks()) as stored:
        pieces = stored.read(entry)
    assert [*map(len, pieces)] == [14, min(image_bytes, len(frame) - 14), max(len(frame) - 14 - image_bytes, 0)]
    assert b"".join(pieces) == frame


def test_more_blocks_than_the_cache_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that the reader has dropped is inflated again."""
    monkeypatch.setattr(stored_frames, "KEPT_BLOCKS", 2)
    records = [(50_000, False)] * 12
    _, positions = write(tmp_path / "shard", records)
    assert len({position.offset for position in positions}) == 4
    with GzipFrameReader(tmp_path / "shard", InflatedBlocks()) as stored:
        for number in [*range(12), *range(0, 12, 3)]:
            assert stored.read(entry_at(positions[number], 0)) == [b"".join(encode_frame(payload_of(number, 50_000)))]


def test_small_records_share_blocks_and_large_images_do_not(tmp_path: Path) -> None:
    """A block ends when it is full, and before and after a record with an image of more than 32 KiB."""
    small, large = (1000, False), (40_000, True)
    _, positions = write(tmp_path / "shard", [small, small, large, small, large, large, *[small] * 200])
    offsets = [position.offset for position in positions]
    assert offsets[0] == offsets[1] == len(GZIP_HEADER)
    assert len(set(offsets[:6])) == 5
    assert [position.inflated_offset for position in positions[:6]] == [0, 1016, 0, 0, 0, 0]
    per_block = -(-BLOCK_BYTES // 1016)
    assert [offsets.count(offset) for offset in sorted(set(offsets[6:]))] == [per_block, 200 - per_block]


def test_a_block_that_is_exactly_full(tmp_path: Path) -> None:
    """Frames that together have exactly the length of a block end it."""
    _, positions = write(tmp_path / "shard", [(BLOCK_BYTES // 8 - 16, False)] * 9)
    offsets = [position.offset for position in positions]
    assert (len(set(offsets[:8])), offsets[8] > offsets[7], positions[8].inflated_offset) == (1, True, 0)


@pytest.mark.parametrize(
    ("frame_bytes", "image_bytes", "expected"),
    [
        pytest.param(33_000, 32_768, False, id="an image that fits in the window"),
        pytest.param(33_000, 32_769, True, id="a larger image"),
        pytest.param(80_000, 40_000, False, id="an image that is half of its record"),
        pytest.param(200_000, 0, False, id="a large record without an image"),
    ],
)
def test_which_records_have_their_own_block(frame_bytes: int, image_bytes: int, expected: bool) -> None:
    """A record has its own block only if most of it is an image larger than the window."""
    assert has_own_block(frame_bytes, image_bytes) == expected


@given(st.integers(1, 200_000))
def test_stored_blocks_inflate(size: int) -> None:
    """Stored blocks of any length inflate to the same bytes."""
    data = zlib.decompressobj(-15).decompress(store_block(bytes(size)))
    assert data == bytes(size)


@pytest.mark.parametrize(
    ("size", "headers"),
    [
        pytest.param(0, [], id="nothing"),
        pytest.param(65_535, ["00ffff0000"], id="the largest block"),
        pytest.param(65_536, ["00ffff0000", "000100feff"], id="one byte more"),
    ],
)
def test_headers_of_stored_blocks(size: int, headers: list[str]) -> None:
    """There is one header before every 65,535 bytes; this is part of the file format."""
    block = store_block(b"x" * size)
    assert [header.hex() for header in block.split(b"x") if header] == headers
    assert len(block) == size + 5 * len(headers)


def test_the_level_is_part_of_the_format() -> None:
    """Blocks are deflated at level 6 and end on a whole byte; another level gives other bytes."""
    data = b"".join(b"image/object/%d " % (number * number) for number in range(2000))
    deflate = {level: zlib.compressobj(level, zlib.DEFLATED, -15) for level in (5, 6, 7)}
    blocks = {level: each.compress(data) + each.flush(zlib.Z_SYNC_FLUSH) for level, each in deflate.items()}
    assert deflate_block(data) == blocks[6]
    assert blocks[6] not in (blocks[5], blocks[7])


def test_lengths_wrap_around_at_4_gib() -> None:
    """The trailer has the length modulo 2**32, as RFC 1952 asks."""
    assert gzip_trailer(1, (1 << 32) + 5) == gzip_trailer(1, 5) == bytes.fromhex("0300 01000000 05000000")


def test_no_records(tmp_path: Path) -> None:
    """A shard without records is a gzip file of no bytes."""
    frames, _ = write(tmp_path / "shard", [])
    assert (tmp_path / "shard").read_bytes() == GZIP_HEADER + b"\3\0" + bytes(8)
    assert (frames, gzip.decompress((tmp_path / "shard").read_bytes())) == (b"", b"")
    assert compression_of(tmp_path / "shard") == "GZIP"


def test_only_the_records_decide(tmp_path: Path) -> None:
    """Files of the same records are equal, as the header has no time and no name."""
    records = [(1000, False), (50_000, True)] * 5
    write(tmp_path / "one", records)
    write(tmp_path / "two", records)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes()[:10] == bytes.fromhex("1f8b08000000000000ff")


def test_the_gzip_command_reads_it(tmp_path: Path) -> None:
    """`gzip -t` accepts the file, and `gzip -dc` gives its frames."""
    frames, _ = write(tmp_path / "shard.gz", [(1000, False), (50_000, True), (10, False)])
    subprocess.run(["gzip", "-t", tmp_path / "shard.gz"], check=True)
    assert subprocess.run(["gzip", "-dc", tmp_path / "shard.gz"], check=True, capture_output=True).stdout == frames


def test_another_zlib_has_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version changes with that of the library and with the bytes of the deflated sample."""
    compressobj, versions = zlib.compressobj, {zlib_version.__wrapped__()}
    monkeypatch.setattr(zlib, "ZLIB_RUNTIME_VERSION", "1.3.1.zlib-ng")
    versions.add(zlib_version.__wrapped__())
    monkeypatch.setattr(zlib, "compressobj", lambda level, *options: compressobj(1, *options))
    versions.add(zlib_version.__wrapped__())
    assert len(versions) == 3


def test_the_sample_is_constant() -> None:
    """The deflated sample never changes: another one would rebuild every compressed shard."""
    sample = b"".join(b"image/object/%d/%d" % (number % 7, number * number) for number in range(8192))
    version, checksum = zlib.ZLIB_RUNTIME_VERSION, zlib.crc32(deflate_block(sample))
    assert zlib_version() == f"zlib {version}, level 6, sample {checksum:08x}"


DAMAGED_RECORDS = [(1000, False), (40_000, True), *[(3000, False)] * 5]


def read_payloads(path: Path) -> list[bytes]:
    with open_shard(path) as stream:
        return [frame.payload for frame in decode_frames(stream, str(path))]


def problem_of(path: Path, expected: list[bytes]) -> str | None:
    """Return the message of the error that reading raises; None if it returns what is expected."""
    try:
        assert read_payloads(path) == expected
    except ShardError as error:
        return str(error)
    return None


class TestDamage:
    """A damaged gzip file is an error with the name of the file and an offset."""

    def test_truncated_files_are_found(self, tmp_path: Path) -> None:
        """A file that ends anywhere after its first three bytes is an error of one line, with file and offset."""
        write(tmp_path / "whole", DAMAGED_RECORDS)
        data = (tmp_path / "whole").read_bytes()
        for size in [*range(3, 700), *range(700, len(data), 997), *range(len(data) - 20, len(data))]:
            (tmp_path / "cut").write_bytes(data[:size])
            with pytest.raises(ShardError, match=r"cut: .*byte \d+") as raised:
                read_payloads(tmp_path / "cut")
            assert "\n" not in str(raised.value)

    def test_a_flipped_bit_never_changes_a_record(self, tmp_path: Path) -> None:
        """With any bit flipped, reading raises an error or returns the original records."""
        write(tmp_path / "whole", DAMAGED_RECORDS)
        data, expected = (tmp_path / "whole").read_bytes(), read_payloads(tmp_path / "whole")
        unnoticed = []
        for offset in [*range(700), *range(700, len(data), 997), *range(len(data) - 20, len(data))]:
            damaged = bytearray(data)
            damaged[offset] ^= 1 << offset % 8
            (tmp_path / "flipped").write_bytes(damaged)
            found = problem_of(tmp_path / "flipped", expected)
            assert found is None or "flipped: " in found
            unnoticed += [offset] if found is None else []
        # These bits have no meaning: time, system and flags in the header, and the padding of the last byte of a block.
        assert len(unnoticed) < 12

    def test_damaged_blocks_raise_no_error(self, tmp_path: Path) -> None:
        """Reading a frame in a damaged block or beyond the end returns other bytes or none, and raises no error."""
        records = [(1000, False)] * 5
        _, positions = write(tmp_path / "shard", records)
        data = bytearray((tmp_path / "shard").read_bytes())
        data[20] ^= 0xFF
        (tmp_path / "shard").write_bytes(data)
        with GzipFrameReader(tmp_path / "shard", InflatedBlocks()) as stored:
            read = [stored.read(entry_at(position, 0)) for position in positions]
            assert b"".join(stored.read(entry_at(FramePosition(10**6, 100), 0))) == b""
            assert sum(map(len, stored.read(entry_at(FramePosition(len(GZIP_HEADER), 10**6), 0)))) < 10**6
        assert b"".join(read[-1]) != b"".join(encode_frame(payload_of(4, 1000)))


def test_jpegs_are_stored(tmp_path: Path) -> None:
    """A large JPEG is in the file byte for byte: deflating it takes longer than verifying it and saves 1 to 2 %."""
    image = encode_noise(1, 640, 480)
    with GzipShardWriter(tmp_path / "shard") as file:
        file.append(encode_frame(image), len(image))
        file.finish()
    data = (tmp_path / "shard").read_bytes()
    assert len(image) > 65_535
    assert image[:65_000] in data
    assert gzip.decompress(data)[12:-4] == image
