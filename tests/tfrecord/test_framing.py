"""TFRecord framing, compared with TensorFlow."""

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
def test_frames_equal_tensorflow(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    """Frames are byte for byte those of TFRecordWriter."""
    path = tmp_path_factory.getbasetemp() / "theirs"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    assert encode_all(records) == path.read_bytes()


@given(payloads)
def test_tensorflow_reads_our_frames(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    """TFRecordDataset reads the payloads of our frames."""
    path = tmp_path_factory.getbasetemp() / "ours"
    path.write_bytes(encode_all(records))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == records


@given(payloads)
def test_decoding_returns_payloads_and_offsets(records: list[bytes]) -> None:
    """Decoding returns each payload and the offset of its frame."""
    frames = frames_of(encode_all(records))
    assert [frame.payload for frame in frames] == records
    sizes = [HEADER.size + len(record) + FOOTER.size for record in records]
    assert [frame.offset for frame in frames] == [sum(sizes[:i]) for i in range(len(sizes))]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 1 << 20])
def test_payloads_of_any_length(size: int) -> None:
    """Payloads whose lengths take one to three bytes are read back, and so is the frame after them."""
    payload = bytes([size % 251]) * size
    assert [frame.payload for frame in frames_of(encode_all([payload, b"after"]))] == [payload, b"after"]
    assert spans_of(encode_all([payload, b"after"])) == [(0, 16 + size), (16 + size, 21)]


@given(st.lists(st.binary(max_size=50), max_size=4))
def test_payload_in_pieces(pieces: list[bytes]) -> None:
    """A payload in pieces has the frame of the joined payload, and the pieces are not copied."""
    frame = encode_frame(*pieces)
    assert b"".join(frame) == b"".join(encode_frame(b"".join(pieces)))
    assert all(given is kept for given, kept in zip(pieces, frame[1:-1], strict=True))


@pytest.mark.parametrize(
    ("crc", "masked"),
    [
        pytest.param(0, 0xA282EAD8, id="zero is the constant"),
        pytest.param(0xFFFFFFFF, 0xA282EAD7, id="all ones wrap around"),
        pytest.param(0x00008000, 0xA282EAD9, id="bit 15 moves to bit 0"),
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
    """A flipped bit in any part of a frame is an error with the offset of the frame."""
    damaged = bytearray(GOOD)
    damaged[position] ^= 1
    with pytest.raises(ShardError, match=message):
        frames_of(bytes(damaged))


@pytest.mark.parametrize("size", [size for size in range(1, len(GOOD)) if size != SECOND])
def test_a_truncated_file_is_found(size: int) -> None:
    """A file that ends anywhere inside a frame is an error."""
    with pytest.raises(ShardError, match="the file ends"):
        frames_of(GOOD[:size])


def test_records_before_damage_are_returned(tmp_path: Path) -> None:
    """Frames before a damaged one are read."""
    frames = decode_frames(io.BytesIO(GOOD[:-1]), "x")
    assert next(frames).payload == b"first"


@given(payloads)
def test_spans_equal_decoded_frames(records: list[bytes]) -> None:
    """Offsets and sizes equal those of decoded frames, whatever the position of the stream."""
    stream = io.BytesIO(encode_all(records))
    stream.seek(min(7, len(stream.getvalue())))
    expected = [
        (frame.offset, HEADER.size + len(frame.payload) + FOOTER.size) for frame in frames_of(stream.getvalue())
    ]
    assert list(frame_spans(stream, "x")) == expected


def test_spans_do_not_read_payloads() -> None:
    """Only headers are read: damage in a payload is not noticed, in a length it is."""
    assert spans_of(GOOD.replace(b"first", b"FIRST")) == [(0, SECOND), (SECOND, len(GOOD) - SECOND)]
    with pytest.raises(ShardError, match=f"x: the length of the record at byte {SECOND} does not have its CRC32C"):
        spans_of(GOOD[:SECOND] + b"\1" + GOOD[SECOND + 1 :])


@pytest.mark.parametrize("size", [size for size in range(1, len(GOOD)) if size != SECOND])
def test_spans_of_a_truncated_file(size: int) -> None:
    """If the file ends inside a frame, the spans before it are returned, then an error has its offset."""
    spans = frame_spans(io.BytesIO(GOOD[:size]), "x")
    whole = [next(spans)] if size > SECOND else []
    assert whole == [(0, SECOND)][: len(whole)]
    with pytest.raises(ShardError, match=f"x: expected .* at byte {SECOND * len(whole)}, but the file ends"):
        next(spans)


def test_is_header() -> None:
    """A header is twelve bytes with a matching checksum: no fewer, no more, and no others."""
    assert [is_header(GOOD[:size]) for size in range(20)] == [size == HEADER.size for size in range(20)]
    assert not is_header(GOOD[1 : 1 + HEADER.size])
