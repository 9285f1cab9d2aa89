"""TFRecord framing, with TensorFlow as the judge."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.framing import (
    FOOTER,
    HEADER,
    Frame,
    decode_frames,
    encode_frame,
    frame_spans,
    is_header,
    mask_crc,
)

tf = pytest.importorskip("tensorflow")

payloads = st.lists(st.binary(max_size=300), max_size=5)


def frames_of(data: bytes) -> list[Frame]:
    return list(decode_frames(io.BytesIO(data), "x"))


def spans_of(data: bytes) -> list[tuple[int, int]]:
    return list(frame_spans(io.BytesIO(data), "x"))


def encode_all(records: list[bytes]) -> bytes:
    return b"".join(b"".join(encode_frame(record)) for record in records)


@given(payloads)
def test_frames_are_those_of_tensorflow(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    """Our frames are byte for byte what TFRecordWriter writes."""
    path = tmp_path_factory.getbasetemp() / "theirs"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    assert encode_all(records) == path.read_bytes()


@given(payloads)
def test_tensorflow_reads_our_frames(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    """TFRecordDataset gives back what we framed."""
    path = tmp_path_factory.getbasetemp() / "ours"
    path.write_bytes(encode_all(records))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == records


@given(payloads)
def test_decoding_gives_back_payloads_and_offsets(records: list[bytes]) -> None:
    """Reading gives each payload, and the offset at which its frame begins."""
    frames = frames_of(encode_all(records))
    assert [frame.payload for frame in frames] == records
    sizes = [HEADER.size + len(record) + FOOTER.size for record in records]
    assert [frame.offset for frame in frames] == [sum(sizes[:i]) for i in range(len(sizes))]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 1 << 20])
def test_payloads_of_every_length_come_back(size: int) -> None:
    """The length has eight bytes, and all of them count."""
    payload = bytes([size % 251]) * size
    assert [frame.payload for frame in frames_of(encode_all([payload, b"behind"]))] == [payload, b"behind"]
    assert spans_of(encode_all([payload, b"behind"])) == [(0, 16 + size), (16 + size, 22)]


@given(st.lists(st.binary(max_size=50), max_size=4))
def test_pieces_make_the_frame_of_the_whole(pieces: list[bytes]) -> None:
    """A payload in pieces is framed as if it were whole, and its pieces are not copied."""
    frame = encode_frame(*pieces)
    assert b"".join(frame) == b"".join(encode_frame(b"".join(pieces)))
    assert all(given is kept for given, kept in zip(pieces, frame[1:-1], strict=True))


@pytest.mark.parametrize(
    ("crc", "masked"),
    [
        pytest.param(0, 0xA282EAD8, id="zero is the constant"),
        pytest.param(0xFFFFFFFF, 0xA282EAD7, id="all ones wrap around"),
        pytest.param(0x00008000, 0xA282EAD9, id="bit 15 comes to bit 0"),
    ],
)
def test_mask(crc: int, masked: int) -> None:
    """The mask rotates right by 15 bits and adds the constant, modulo 2**32."""
    assert mask_crc(crc) == masked


GOOD = encode_all([b"first", b"second record"])
SECOND = HEADER.size + 5 + FOOTER.size


@pytest.mark.parametrize(
    ("position", "message"),
    [
        pytest.param(0, "length of the record at byte 0", id="length"),
        pytest.param(9, "length of the record at byte 0", id="checksum of the length"),
        pytest.param(12, "payload of the record at byte 0", id="payload"),
        pytest.param(17, "payload of the record at byte 0", id="checksum of the payload"),
        pytest.param(SECOND + 14, f"payload of the record at byte {SECOND}", id="payload of the second"),
    ],
)
def test_a_flipped_bit_is_found(position: int, message: str) -> None:
    """A flipped bit anywhere in a frame is an error that names the frame's offset."""
    damaged = bytearray(GOOD)
    damaged[position] ^= 1
    with pytest.raises(ShardError, match=message):
        frames_of(bytes(damaged))


@pytest.mark.parametrize("size", [size for size in range(1, len(GOOD)) if size != SECOND])
def test_a_cut_is_found(size: int) -> None:
    """A file that ends inside a frame is an error, wherever it ends."""
    with pytest.raises(ShardError, match="the file ends"):
        frames_of(GOOD[:size])


def test_records_before_a_damage_are_given(tmp_path: Path) -> None:
    """Whatever stands before a damage can be read."""
    frames = decode_frames(io.BytesIO(GOOD[:-1]), "x")
    assert next(frames).payload == b"first"


@given(payloads)
def test_spans_are_those_of_the_frames(records: list[bytes]) -> None:
    """Offsets and sizes are those of reading, wherever the stream stands before."""
    stream = io.BytesIO(encode_all(records))
    stream.seek(min(7, len(stream.getvalue())))
    expected = [
        (frame.offset, HEADER.size + len(frame.payload) + FOOTER.size) for frame in frames_of(stream.getvalue())
    ]
    assert list(frame_spans(stream, "x")) == expected


def test_spans_do_not_look_at_payloads() -> None:
    """Only headers are read: a damaged payload is not met, a damaged length is."""
    assert spans_of(GOOD.replace(b"first", b"FIRST")) == [(0, SECOND), (SECOND, len(GOOD) - SECOND)]
    with pytest.raises(ShardError, match=f"x: the length of the record at byte {SECOND} does not have its CRC32C"):
        spans_of(GOOD[:SECOND] + b"\1" + GOOD[SECOND + 1 :])


@pytest.mark.parametrize("size", [size for size in range(1, len(GOOD)) if size != SECOND])
def test_spans_end_where_the_file_is_cut(size: int) -> None:
    """A file that ends inside a frame is an error that names the frame, behind the spans of the whole ones."""
    spans = frame_spans(io.BytesIO(GOOD[:size]), "x")
    whole = [next(spans)] if size > SECOND else []
    assert whole == [(0, SECOND)][: len(whole)]
    with pytest.raises(ShardError, match=f"x: expected .* at byte {SECOND * len(whole)}, but the file ends"):
        next(spans)


def test_a_header_is_twelve_bytes_with_their_checksum() -> None:
    """No fewer, no more, and no other twelve."""
    assert [is_header(GOOD[:size]) for size in range(20)] == [size == HEADER.size for size in range(20)]
    assert not is_header(GOOD[1 : 1 + HEADER.size])
