"""With `verify: decode`, every stored image is one that TensorFlow decodes.

Thousands of damaged JPEGs, the same in every run, of all common kinds; then random edits by Hypothesis.
"""

import os
import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfrec_stage.errors import RecordError
from tfrec_stage.images.encode import encode_image
from tfrec_stage.images.policy import ImagePolicy, Verify

tf = pytest.importorskip("tensorflow")

POLICY = ImagePolicy(verify=Verify.decode)
DAMAGES_PER_KIND = 240
OPTIONS = {
    "4:2:0": {},
    "4:4:4": {"quality": 92, "subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "progressive": {"progressive": True},
    "progressive 4:4:4": {"progressive": True, "subsampling": 0},
    "restart markers": {"restart_marker_blocks": 3},
    "progressive, restart markers": {"progressive": True, "restart_marker_rows": 1},
    "optimised tables": {"optimize": True},
    "profile": {"icc_profile": bytes(range(256)) * 3},
    "RGB": {"keep_rgb": True},
}


@pytest.fixture(scope="module")
def jpegs(make_photo, to_bytes):
    """One undamaged JPEG of every kind in `OPTIONS`."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1, "Maker"
    options = {**OPTIONS, "EXIF": {"exif": exif}}
    return [to_bytes(make_photo(160, 120, seed), **kind) for seed, kind in enumerate(options.values())]


def _can_tensorflow_decode(data):
    try:
        tf.io.decode_jpeg(data, channels=3)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _is_accepted(data):
    """Whether the image is encoded. If so, TensorFlow has to decode it to the stated size, or the test fails."""
    try:
        encoded = encode_image(data, POLICY)
    except RecordError:
        return False
    assert tf.io.decode_jpeg(encoded.data, channels=3).shape == (encoded.height, encoded.width, 3)
    return True


def _segments(data):
    """(offset, marker, end) of each segment up to the first scan header."""
    at, found = 2, []
    while not found or found[-1][1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((at, data[at + 1], end))
        at = end
    return found


def _scans(data):
    """Offsets of all scan headers, and of the end marker."""
    found = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    return [*found, len(data) - 2]


def _overwrite(data, at, piece):
    return data[:at] + piece[: len(data) - at] + data[at + len(piece) :]


def truncate(chance, data, other):
    return data[: chance.randrange(len(data))]


def truncate_but_end(chance, data, other):
    return data[: chance.randrange(len(data))] + b"\xff\xd9"


def flip_bits(chance, data, other):
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def flip_header_bits(chance, data, other):
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2))):
        damaged[chance.randrange(2, _segments(data)[-1][2])] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def zero_block(chance, data, other):
    return _overwrite(data, chance.randrange(len(data)), bytes(chance.choice((1, 4, 64, 512))))


def zero_tail(chance, data, other):
    return _overwrite(data, chance.randrange(len(data)), bytes(len(data)))


def random_block(chance, data, other):
    return _overwrite(data, chance.randrange(len(data)), chance.randbytes(chance.choice((1, 4, 64, 512))))


def splice(chance, data, other):
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def delete_bytes(chance, data, other):
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice((1, 2, 16, 200)) :]


def insert_bytes(chance, data, other):
    at = chance.randrange(len(data))
    marker = bytes((0xFF, chance.randrange(256)))
    return data[:at] + chance.choice((marker, chance.randbytes(5), b"\xff\xdc\0\4\0\x10")) + data[at:]


def change_frame(chance, data, other):
    """Change a size, sampling factor, component count or table number of the frame header."""
    at, _, end = next(segment for segment in _segments(data) if segment[1] in (0xC0, 0xC2))
    value = chance.choice((chance.randrange(256), chance.randrange(5), 0x12, 0x21, 0x22, 0x31, 0x41))
    return _overwrite(data, chance.randrange(at + 1, end), bytes((value,)))


def change_scan(chance, data, other):
    """Change components, tables or progression of a scan header."""
    at = chance.choice(_scans(data)[:-1])
    return _overwrite(data, chance.randrange(at + 1, at + 14), bytes((chance.choice((chance.randrange(256), 1, 0)),)))


def change_tables(chance, data, other):
    """Change a quantisation or Huffman table."""
    at, _, end = chance.choice([segment for segment in _segments(data) if segment[1] in (0xC4, 0xDB)])
    value = chance.choice((chance.randrange(256), chance.randrange(16)))
    return _overwrite(data, chance.randrange(at + 4, min(end, at + 40)), bytes((value,)))


def change_length(chance, data, other):
    at, _, end = chance.choice(_segments(data))
    length = chance.choice((chance.randrange(65536), end - at - 2 + chance.randrange(-3, 4)))
    return _overwrite(data, at + 2, struct.pack(">H", max(0, length)))


def drop_segment(chance, data, other):
    at, _, end = chance.choice(_segments(data))
    return data[:at] + data[end:]


def move_segment(chance, data, other):
    """Insert a segment of another image (frame header, tables …) before a segment or in its place."""
    at, _, end = chance.choice(_segments(data))
    start, _, stop = chance.choice(_segments(other))
    return data[:at] + other[start:stop] + data[chance.choice((at, end)) :]


def drop_scans(chance, data, other):
    first, last = sorted(chance.sample(_scans(data), 2))
    return data[:first] + data[last:]


def cut_at_restart(chance, data, other):
    restarts = [at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    if not restarts:
        return truncate(chance, data, other)
    at = chance.choice(restarts)
    return data[:at] + chance.choice((b"", b"\xff\xd9", data[chance.choice(restarts) :]))


def append_bytes(chance, data, other):
    return data + chance.choice((chance.randbytes(20), other, b"\xff\xd9", bytes(9)))


KINDS = (
    *(truncate, truncate_but_end, zero_tail, flip_bits, zero_block, random_block, splice, delete_bytes, insert_bytes),
    *(flip_header_bits, change_frame, change_scan, change_tables, change_length, drop_segment, move_segment),
    *(drop_scans, cut_at_restart, append_bytes),
)


def _damage(kind, jpegs):
    """Yield (damaged, original) for one kind of damage, the same in every run."""
    chance = random.Random(kind.__name__)
    for _ in range(DAMAGES_PER_KIND):
        data = chance.choice(jpegs)
        yield kind(chance, data, chance.choice(jpegs)), data


def test_the_corpus_is_large():
    """There are at least 2,000 damaged images."""
    assert len(KINDS) * DAMAGES_PER_KIND >= 2000


def test_undamaged_images_are_accepted(jpegs):
    """The images are stored unchanged before they are damaged."""
    assert jpegs
    assert all(encode_image(data, POLICY).data is data for data in jpegs)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_damage_that_tensorflow_rejects_is_refused(jpegs, kind):
    """TensorFlow decodes every accepted image to the stated size, and some damage is refused."""
    accepted = sum(_is_accepted(damaged) for damaged, _ in _damage(kind, jpegs))
    assert accepted < DAMAGES_PER_KIND or kind is append_bytes


def test_few_decodable_images_are_refused(jpegs):
    """TensorFlow rejects a good part of the damaged images, and fewer than 10 % of the others are refused."""
    damages = [damaged for kind in KINDS for damaged, whole in _damage(kind, jpegs) if damaged != whole]
    decodable = [damaged for damaged in damages if _can_tensorflow_decode(damaged)]
    assert 0.3 < len(decodable) / len(damages) < 0.7
    assert sum(not _is_accepted(damaged) for damaged in decodable) < 0.1 * len(decodable)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_edits(jpegs, data):
    """TensorFlow decodes every accepted image, for any edits."""
    damaged = data.draw(st.sampled_from(jpegs))
    edits = st.tuples(
        st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12) | st.sampled_from([b"\xff", b"\xff\xd9"])
    )
    for place, deleted, inserted in data.draw(st.lists(edits, min_size=1, max_size=4)):
        at = int(place * len(damaged))
        damaged = damaged[:at] + inserted + damaged[at + deleted :]
    _is_accepted(damaged)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM"])
def test_damage_in_other_formats(make_photo, to_bytes, image_format):
    """A damaged image of another format is encoded or refused with a RecordError."""
    whole = [to_bytes(make_photo(40, 30, seed), image_format) for seed in range(3)]
    for kind in (truncate, flip_bits, zero_block, zero_tail, random_block, splice, delete_bytes, append_bytes):
        chance = random.Random(kind.__name__)
        for _ in range(20):
            _is_accepted(kind(chance, chance.choice(whole), chance.choice(whole)))
