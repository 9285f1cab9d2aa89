"""A gzip shard is one gzip file of the same frames, and every frame is found again where its place says."""

import errno
import gzip
import os
import subprocess
import zlib
from pathlib import Path

import pytest
from google_crc32c import value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import encode_noise
from tfrec_stage.cache import frame_reader as stored_frames
from tfrec_stage.cache.frame_reader import GzipFrameReader, InflatedBlocks
from tfrec_stage.errors import OutputError, ShardError
from tfrec_stage.shards.metadata import RecordEntry
from tfrec_stage.shards.reader import compression_of, open_shard
from tfrec_stage.tfrecord.file_writer import FramePosition, ShardWriter
from tfrec_stage.tfrecord.framing import decode_frames, encode_frame, is_header
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
    """Something that shrinks, another for each number."""
    return (b"image/object/%d " % number * (size // 10 + 1))[:size]


def write(path: Path, records: Sizes) -> tuple[bytes, list[FramePosition]]:
    """A gzip shard of these records; its frames, and where it says they are."""
    frames = [encode_frame(payload_of(number, size)) for number, (size, _) in enumerate(records)]
    path.unlink(missing_ok=True)
    with GzipShardWriter(path) as file:
        places = [
            file.append(frame, size if is_image else 0) for frame, (size, is_image) in zip(frames, records, strict=True)
        ]
        written = file.finish()
    data = path.read_bytes()
    assert written == (len(records), len(data), value(data))
    return b"".join(b"".join(frame) for frame in frames), places


def entry_at(place: FramePosition, image_bytes: int) -> RecordEntry:
    """An entry that says where a frame is."""
    where = {"offset": place.offset, "size_bytes": place.size_bytes, "inflated_offset": place.inflated_offset}
    nothing = {"boxes": 0, "parts": 0, "image_label": None, "object_labels": [], "notes": (), "mended": {}}
    return RecordEntry(key="", image_bytes=image_bytes, **where, **nothing)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(records=sizes, order=st.randoms(use_true_random=False))
def test_frames_are_found_where_they_are_said_to_be(tmp_path: Path, records: Sizes, order) -> None:
    """Whatever the sizes: gzip gives all frames, and each is read at its place, in any order."""
    path = tmp_path / "shard"
    frames, places = write(path, records)
    assert gzip.decompress(path.read_bytes()) == frames
    entries = [
        entry_at(place, size if is_image else 0) for place, (size, is_image) in zip(places, records, strict=True)
    ]
    numbers = list(range(len(records)))
    with GzipFrameReader(path, InflatedBlocks()) as stored:
        for turn in (numbers, order.sample(numbers, len(numbers))):
            for number in turn:
                assert stored.read(entries[number]) == b"".join(encode_frame(payload_of(number, records[number][0])))


def test_more_blocks_than_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that were dropped are inflated again."""
    monkeypatch.setattr(stored_frames, "KEPT_BLOCKS", 2)
    records = [(50_000, False)] * 12
    _, places = write(tmp_path / "shard", records)
    assert len({place.offset for place in places}) == 4
    with GzipFrameReader(tmp_path / "shard", InflatedBlocks()) as stored:
        for number in [*range(12), *range(0, 12, 3)]:
            assert stored.read(entry_at(places[number], 0)) == b"".join(encode_frame(payload_of(number, 50_000)))


def test_small_records_share_blocks_and_large_images_stand_alone(tmp_path: Path) -> None:
    """Blocks end where they are full, and before and behind an image of more than 32 KiB."""
    small, large = (1000, False), (40_000, True)
    _, places = write(tmp_path / "shard", [small, small, large, small, large, large, *[small] * 200])
    offsets = [place.offset for place in places]
    assert offsets[0] == offsets[1] == len(GZIP_HEADER)
    assert len(set(offsets[:6])) == 5
    assert [place.inflated_offset for place in places[:6]] == [0, 1016, 0, 0, 0, 0]
    per_block = -(-BLOCK_BYTES // 1016)
    assert [offsets.count(offset) for offset in sorted(set(offsets[6:]))] == [per_block, 200 - per_block]


def test_a_block_that_is_just_full_ends(tmp_path: Path) -> None:
    """Frames of exactly the length of a block fill it; the next one begins another."""
    _, places = write(tmp_path / "shard", [(BLOCK_BYTES // 8 - 16, False)] * 9)
    offsets = [place.offset for place in places]
    assert (len(set(offsets[:8])), offsets[8] > offsets[7], places[8].inflated_offset) == (1, True, 0)


@pytest.mark.parametrize(
    ("frame_bytes", "image_bytes", "expected"),
    [
        pytest.param(33_000, 32_768, False, id="an image that fits into the window"),
        pytest.param(33_000, 32_769, True, id="a larger one"),
        pytest.param(80_000, 40_000, False, id="half of the record is something else"),
        pytest.param(200_000, 0, False, id="a large record without an image"),
    ],
)
def test_what_stands_alone(frame_bytes: int, image_bytes: int, expected: bool) -> None:
    """Only records that are an image for the most part are not deflated."""
    assert has_own_block(frame_bytes, image_bytes) == expected


@given(st.integers(1, 200_000))
def test_stored_blocks_are_deflate(size: int) -> None:
    """Bytes stored as they are inflate to themselves, whatever their length."""
    data = zlib.decompressobj(-15).decompress(store_block(bytes(size)))
    assert data == bytes(size)


@pytest.mark.parametrize(
    ("size", "headers"),
    [
        pytest.param(0, [], id="nothing"),
        pytest.param(65_535, ["00ffff0000"], id="the largest of one header"),
        pytest.param(65_536, ["00ffff0000", "000100feff"], id="one byte more"),
    ],
)
def test_stored_blocks_are_as_long_as_deflate_allows(size: int, headers: list[str]) -> None:
    """Where the headers stand is part of the format: one before every 65,535 bytes."""
    block = store_block(b"x" * size)
    assert [header.hex() for header in block.split(b"x") if header] == headers
    assert len(block) == size + 5 * len(headers)


def test_the_level_is_part_of_the_format() -> None:
    """Frames are deflated at zlib's level 6 up to a whole byte: another level gives other bytes."""
    data = b"".join(b"image/object/%d " % (number * number) for number in range(2000))
    deflate = {level: zlib.compressobj(level, zlib.DEFLATED, -15) for level in (5, 6, 7)}
    blocks = {level: each.compress(data) + each.flush(zlib.Z_SYNC_FLUSH) for level, each in deflate.items()}
    assert deflate_block(data) == blocks[6]
    assert blocks[6] not in (blocks[5], blocks[7])


def test_lengths_wrap_around_at_4_gib() -> None:
    """RFC 1952: a member ends with its length modulo 2**32."""
    assert gzip_trailer(1, (1 << 32) + 5) == gzip_trailer(1, 5) == bytes.fromhex("0300 01000000 05000000")


def test_no_record(tmp_path: Path) -> None:
    """A shard without records is an empty gzip file."""
    frames, _ = write(tmp_path / "shard", [])
    assert (tmp_path / "shard").read_bytes() == GZIP_HEADER + b"\3\0" + bytes(8)
    assert (frames, gzip.decompress((tmp_path / "shard").read_bytes())) == (b"", b"")
    assert compression_of(tmp_path / "shard") == "GZIP"


def test_nothing_but_content_decides(tmp_path: Path) -> None:
    """Header and content tell no time and no name: two files of two names are the same bytes."""
    records = [(1000, False), (50_000, True)] * 5
    write(tmp_path / "one", records)
    write(tmp_path / "two", records)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes()[:10] == bytes.fromhex("1f8b08000000000000ff")


def test_the_gzip_command_takes_it(tmp_path: Path) -> None:
    """`gzip -t` and `gzip -dc` find one whole file."""
    frames, _ = write(tmp_path / "shard.gz", [(1000, False), (50_000, True), (10, False)])
    subprocess.run(["gzip", "-t", tmp_path / "shard.gz"], check=True)
    assert subprocess.run(["gzip", "-dc", tmp_path / "shard.gz"], check=True, capture_output=True).stdout == frames


def test_another_zlib_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What deflates is known by its version and by what it makes of a sample."""
    compressobj, names = zlib.compressobj, {zlib_version.__wrapped__()}
    monkeypatch.setattr(zlib, "ZLIB_RUNTIME_VERSION", "1.3.1.zlib-ng")
    names.add(zlib_version.__wrapped__())
    monkeypatch.setattr(zlib, "compressobj", lambda level, *options: compressobj(1, *options))
    names.add(zlib_version.__wrapped__())
    assert len(names) == 3


def test_the_name_of_what_deflates_stays() -> None:
    """The sample behind the name is a constant: another one would make every compressed shard anew."""
    sample = b"".join(b"image/object/%d/%d" % (number % 7, number * number) for number in range(8192))
    version, checksum = zlib.ZLIB_RUNTIME_VERSION, zlib.crc32(deflate_block(sample))
    assert zlib_version() == f"zlib {version}, level 6, sample {checksum:08x}"


class TestOneWayToDisk:
    """Both kinds of shards are written by the same means."""

    @pytest.mark.parametrize("kind", [ShardWriter, GzipShardWriter])
    def test_short_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
        """A kernel that takes a part of what it is given is given the rest."""
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

    def test_frames_are_written_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Small frames by the hundred, large ones at once: never more pieces than the kernel takes, and all of them."""
        calls: list[list[int]] = []
        writev = os.writev

        def note(fd: int, pieces: list[bytes]) -> int:
            calls.append([len(piece) for piece in pieces])
            return writev(fd, pieces)

        monkeypatch.setattr(os, "writev", note)
        frames = [encode_frame(b"x" * size) for size in [10] * 1000 + [300_000] * 9 + [3_000_000, 5]]
        with ShardWriter(tmp_path / "shard") as file:
            places = [file.append(frame, 0) for frame in frames]
            written = file.finish()
        data = b"".join(piece for frame in frames for piece in frame)
        assert (tmp_path / "shard").read_bytes() == data
        assert (written.records, written.size_bytes, written.crc32c) == (len(frames), len(data), value(data))
        assert [data[place.offset :][: place.size_bytes] for place in places] == [b"".join(frame) for frame in frames]
        assert max(map(len, calls)) <= min(1024, os.sysconf("SC_IOV_MAX"))
        assert len(calls) <= 3000 / 1000 + 9 / 4 + 3

    @pytest.mark.parametrize("kind", [ShardWriter, GzipShardWriter])
    def test_a_full_disk(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type) -> None:
        """A disk without room ends in one line that says so."""

        def refuse(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "writev", refuse)
        with kind(tmp_path / "shard") as file, pytest.raises(OutputError, match="No space left on device; make room"):
            file.append(encode_frame(b"x" * 50_000), 50_000)
            file.finish()


class TestReading:
    """A shard is read the same, compressed or not; the content decides which it is."""

    def test_frames_of_both(self, tmp_path: Path) -> None:
        """The same frames at the same offsets."""
        frames, _ = write(tmp_path / "gzip", [(1000, False), (50_000, True), (10, False)])
        (tmp_path / "plain").write_bytes(frames)
        assert (compression_of(tmp_path / "plain"), compression_of(tmp_path / "gzip")) == ("", "GZIP")
        read = []
        for name in ("plain", "gzip"):
            with open_shard(tmp_path / name) as stream:
                read.append(list(decode_frames(stream, name)))
        assert read[0] == read[1]
        assert len(read[0]) == 3

    def test_a_plain_shard_that_begins_like_gzip(self, tmp_path: Path) -> None:
        """A first record of just that length begins like a gzip file, and is no such file: its checksum is right."""
        payload = bytes(0x088B1F)
        path = tmp_path / "shard"
        path.write_bytes(b"".join(encode_frame(payload)))
        assert path.read_bytes().startswith(GZIP_HEADER[:4])
        assert compression_of(path) == ""
        with open_shard(path) as stream:
            assert [frame.payload for frame in decode_frames(stream, "x")] == [payload]

    def test_our_gzip_files_never_begin_like_plain_ones(self) -> None:
        """The header's first eight bytes, taken for a length, have another checksum than any that can follow."""
        assert not any(
            is_header(GZIP_HEADER + bytes(pair)) for pair in ((a, b) for a in range(256) for b in range(256))
        )

    def test_another_method_is_not_gzip(self, tmp_path: Path) -> None:
        """RFC 1952: the third byte says how the data is compressed, and 8 is deflate; nobody writes another."""
        (tmp_path / "shard").write_bytes(GZIP_HEADER[:2] + b"\x07" + GZIP_HEADER[3:])
        assert compression_of(tmp_path / "shard") == ""

    def test_gzip_files_of_others(self, tmp_path: Path) -> None:
        """Files of other writers are read too, with a name and in several members."""
        first, second = (b"".join(encode_frame(data)) for data in (b"first", b"second"))
        path = tmp_path / "shard"
        with path.open("wb") as raw, gzip.GzipFile("a name", "wb", fileobj=raw) as file:
            file.write(first)
        path.write_bytes(path.read_bytes() + gzip.compress(second))
        with open_shard(path) as stream:
            assert [frame.payload for frame in decode_frames(stream, "x")] == [b"first", b"second"]

    def test_the_file_is_closed(self, tmp_path: Path) -> None:
        """Closing the stream closes the file."""
        write(tmp_path / "shard", [(10, False)])
        with open_shard(tmp_path / "shard") as stream:
            raw = stream.fileobj
            assert not raw.closed
        assert raw.closed

    @pytest.mark.parametrize("name", ["absent", "."])
    def test_what_cannot_be_opened(self, tmp_path: Path, name: str) -> None:
        """A file that is not there, or is none, is named."""
        for use in (open_shard, compression_of):
            with pytest.raises(ShardError, match="expected to read the shard"):
                use(tmp_path / name)


DAMAGED_RECORDS = [(1000, False), (40_000, True), *[(3000, False)] * 5]


def read_payloads(path: Path) -> list[bytes]:
    with open_shard(path) as stream:
        return [frame.payload for frame in decode_frames(stream, str(path))]


def fault_of(path: Path, expected: list[bytes]) -> str | None:
    """What reading says is wrong; None where it gives what was expected."""
    try:
        assert read_payloads(path) == expected
    except ShardError as error:
        return str(error)
    return None


class TestDamage:
    """A damaged gzip file is told by name and offset."""

    def test_every_cut_is_found(self, tmp_path: Path) -> None:
        """A file cut anywhere behind its first three bytes: one line that names file and place."""
        write(tmp_path / "whole", DAMAGED_RECORDS)
        data = (tmp_path / "whole").read_bytes()
        for size in [*range(3, 700), *range(700, len(data), 997), *range(len(data) - 20, len(data))]:
            (tmp_path / "cut").write_bytes(data[:size])
            with pytest.raises(ShardError, match=r"cut: .*byte \d+") as raised:
                read_payloads(tmp_path / "cut")
            assert "\n" not in str(raised.value)

    def test_a_flipped_bit_never_passes(self, tmp_path: Path) -> None:
        """Whichever bit is flipped, no other record is given; those few that mean nothing do no harm."""
        write(tmp_path / "whole", DAMAGED_RECORDS)
        data, expected = (tmp_path / "whole").read_bytes(), read_payloads(tmp_path / "whole")
        passed = []
        for place in [*range(700), *range(700, len(data), 997), *range(len(data) - 20, len(data))]:
            damaged = bytearray(data)
            damaged[place] ^= 1 << place % 8
            (tmp_path / "flipped").write_bytes(damaged)
            found = fault_of(tmp_path / "flipped", expected)
            assert found is None or "flipped: " in found
            passed += [place] if found is None else []
        assert len(passed) < 12  # time, system and flags of the header, and what fills up the last byte of a block

    def test_damaged_places_give_nothing_right(self, tmp_path: Path) -> None:
        """A record asked for in a damaged block, or behind the end, is other bytes or none, never an error."""
        records = [(1000, False)] * 5
        _, places = write(tmp_path / "shard", records)
        data = bytearray((tmp_path / "shard").read_bytes())
        data[20] ^= 0xFF
        (tmp_path / "shard").write_bytes(data)
        with GzipFrameReader(tmp_path / "shard", InflatedBlocks()) as stored:
            read = [stored.read(entry_at(place, 0)) for place in places]
            assert stored.read(entry_at(FramePosition(10**6, 100), 0)) == b""
            assert len(stored.read(entry_at(FramePosition(len(GZIP_HEADER), 10**6), 0))) < 10**6
        assert read[-1] != b"".join(encode_frame(payload_of(4, 1000)))


def test_jpegs_are_left_as_they_are(tmp_path: Path) -> None:
    """A large JPEG stands in the file byte for byte: deflating it would take longer than proving it, for a percent."""
    image = encode_noise(1, 640, 480)
    with GzipShardWriter(tmp_path / "shard") as file:
        file.append(encode_frame(image), len(image))
        file.finish()
    data = (tmp_path / "shard").read_bytes()
    assert len(image) > 65_535
    assert image[:65_000] in data
    assert gzip.decompress(data)[12:-4] == image
