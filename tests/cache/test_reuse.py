"""Where records, images and failures are in earlier shards, and which of them may be reused."""

import random
from pathlib import Path

import msgspec
import pytest
from google_crc32c import value

from tfrec_stage.cache.earlier_shards import ImageUse
from tfrec_stage.cache.reuse import Action, EarlierRecords
from tfrec_stage.cache.shard_cache import CachedShard
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.images.policy import Verify
from tfrec_stage.shards.metadata import FailedImage, RecordEntry, ShardMetadata

STORED = ImageUse(Verify.decode, is_stored=True, needs_sha256=False)
UNKNOWN = b"u" * 16


def entry(key: bytes, image: bytes, /, **changes: object) -> RecordEntry:
    fixed = {"boxes": 0, "parts": 0, "image_label": None, "object_labels": [], "transforms": (), "repaired": {}}
    stored = {"image_bytes": 5, "image_offset": 20, "is_decoded": True}
    return RecordEntry(
        **{"key": key.hex(), "image_key": image.hex(), "offset": 0, "size_bytes": 9, **fixed, **stored, **changes}
    )


def failed(image_key: bytes, **changes: str) -> FailedImage:
    fixed = {"sha256": "", "reason": "image_corrupt", "message": "", "verify": "decode", "pixel_codec": pixel_codec()}
    return FailedImage(**{"image_key": image_key.hex(), **fixed, **changes})


def shard_of(folder: Path, *entries: RecordEntry | FailedImage, codec: str | None = None) -> CachedShard:
    """Create the sidecar of a shard."""
    number = len(list(folder.iterdir()))
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in entries)
    (folder / str(number)).write_bytes(b"head\n" + lines)
    metadata = ShardMetadata(fingerprint="", records=1, size_bytes=0, crc32c=0, statistics={}, pixel_codec=codec)
    return CachedShard(folder / f"shard {number}", metadata, folder / str(number), value(lines))


def actions(earlier: EarlierRecords, *keys: tuple[bytes, bytes]) -> list[Action]:
    """Return what is done for records with these keys and image keys."""
    found = earlier.find([key for key, _ in keys], [image_key for _, image_key in keys])
    return [Action.encode] * len(keys) if found is None else [Action(action) for action in found.actions]


def action(folder: Path, line: RecordEntry | FailedImage, use: ImageUse = STORED, codec: str | None = None) -> Action:
    """Return what is done for a record with another key and the image of the only line."""
    return actions(EarlierRecords([shard_of(folder, line, codec=codec)], use), (UNKNOWN, b"i" * 16))[0]


def test_where_records_are(tmp_path: Path) -> None:
    """A record is copied if its key is there, else its image is reused, or its failure; else it is encoded."""
    keys = [bytes([number]) * 16 for number in range(4)]
    image_keys = [bytes([16 + number]) * 16 for number in range(4)]
    first = shard_of(tmp_path, entry(keys[0], image_keys[0]), failed(image_keys[3]))
    second = shard_of(tmp_path, entry(keys[1], image_keys[1]), entry(keys[2], image_keys[2]))
    earlier = EarlierRecords([first, second], STORED)
    found = earlier.find([keys[2], UNKNOWN, UNKNOWN, UNKNOWN], [image_keys[2], image_keys[1], UNKNOWN, image_keys[3]])
    assert found is not None
    line = len(msgspec.json.encode(entry(keys[1], image_keys[1]))) + 1
    assert [shard.path for shard in found.shards] == [second.path, first.path]
    assert list(found) == [
        (Action.copy, 0, line),
        (Action.reuse_image, 0, 0),
        (Action.encode, 0, 0),
        (Action.reuse_failure, 1, line),
    ]
    assert earlier.find([UNKNOWN], [UNKNOWN]) is None
    assert earlier.find([keys[2]], [UNKNOWN]) is not None


def test_many_records(tmp_path: Path) -> None:
    """Each of many is found at its place, also if the bytes of one key occur across the rows of others."""
    chance = random.Random(0)
    keys = [b"same" + bytes(chance.choice((0, 1)) for _ in range(12)) for _ in range(3000)]
    keys = list(dict.fromkeys(keys))
    lines = [entry(key, key[::-1]) for key in keys]
    earlier = EarlierRecords([shard_of(tmp_path, *lines)], STORED)
    found = earlier.find(keys, [UNKNOWN] * len(keys))
    assert found is not None
    sidecar = (tmp_path / "0").read_bytes().removeprefix(b"head\n")
    # Only eight bytes of a key are in the index: the task compares the rest.
    prefixes = [sidecar[offset + 2 : offset + 18] for _, _, offset in found]
    assert prefixes == [key.hex().encode()[:16] for key in keys]


def test_records_with_the_same_image(tmp_path: Path) -> None:
    """They are found by their keys; a new record takes the image of the first."""
    keys = [number.to_bytes(2) * 8 for number in range(2000)]
    earlier = EarlierRecords([shard_of(tmp_path, *(entry(key, b"i" * 16) for key in keys))], STORED)
    found = earlier.find([*keys, UNKNOWN], [b"i" * 16] * 2001)
    assert found is not None
    assert list(found.actions) == [Action.copy] * 2000 + [Action.reuse_image]
    assert (found.offsets[-1], len(set(found.offsets))) == (0, 2000)


@pytest.mark.parametrize(("codec", "is_reused"), [("pillow 1, libjpeg 1", False), (pixel_codec(), True)])
def test_pixels_of_another_version(tmp_path: Path, codec: str, is_reused: bool) -> None:
    """A record that another Pillow re-encoded is not reused; one that is stored as it was is."""
    reencoded = entry(b"r" * 16, b"i" * 16, transforms=("reencoded",))
    as_it_was = entry(b"a" * 16, b"j" * 16, transforms=("trailing_bytes_dropped",))
    earlier = EarlierRecords([shard_of(tmp_path, reencoded, as_it_was, codec=codec)], STORED)
    records = [(b"r" * 16, UNKNOWN), (b"a" * 16, UNKNOWN), (UNKNOWN, b"i" * 16), (UNKNOWN, b"j" * 16)]
    expected = [Action.copy, Action.copy, Action.reuse_image, Action.reuse_image]
    assert actions(earlier, *records) == [
        each if is_reused or number % 2 else Action.encode for number, each in enumerate(expected)
    ]


@pytest.mark.parametrize(
    ("changes", "use", "is_reused"),
    [
        pytest.param({}, STORED, True, id="decoded"),
        pytest.param({"is_decoded": False}, STORED, False, id="only its structure was checked"),
        pytest.param({"is_decoded": False}, STORED._replace(verify=Verify.structure), True, id="and no more is asked"),
        pytest.param({"image_bytes": 0}, STORED, False, id="not in the shard"),
        pytest.param({"image_bytes": 0}, STORED._replace(is_stored=False), True, id="not needed either"),
        pytest.param(
            {"image_bytes": 0}, STORED._replace(is_stored=False, needs_sha256=True), False, id="its digest is needed"
        ),
        pytest.param(
            {"image_bytes": 0, "image_sha256": "f"},
            STORED._replace(is_stored=False, needs_sha256=True),
            True,
            id="and known",
        ),
        pytest.param({}, STORED._replace(needs_sha256=True), True, id="or can be computed"),
        pytest.param({"image_key": ""}, STORED, False, id="an earlier version"),
    ],
)
def test_which_images_are_reused(tmp_path: Path, changes: dict, use: ImageUse, is_reused: bool) -> None:
    """Those that are verified as asked, and hold what the records need."""
    expected = Action.reuse_image if is_reused else Action.encode
    assert action(tmp_path, entry(b"k" * 16, b"i" * 16, **changes), use) == expected


@pytest.mark.parametrize(
    ("changes", "verify", "is_reused"),
    [
        pytest.param({}, Verify.decode, True, id="verified alike"),
        pytest.param({}, Verify.structure, False, id="may pass"),
        pytest.param({"verify": "structure"}, Verify.structure, True, id="structure, twice"),
        pytest.param({"verify": "structure"}, Verify.decode, True, id="decoding checks the structure first"),
        pytest.param({"verify": "glance"}, Verify.decode, False, id="another version"),
        pytest.param({"reason": "image_boring"}, Verify.decode, False, id="a reason of another version"),
        pytest.param({"pixel_codec": "pillow 1"}, Verify.decode, False, id="another Pillow"),
    ],
)
def test_which_failures_are_reused(tmp_path: Path, changes: dict, verify: Verify, is_reused: bool) -> None:
    """Those that would fail again."""
    expected = Action.reuse_failure if is_reused else Action.encode
    assert action(tmp_path, failed(b"i" * 16, **changes), STORED._replace(verify=verify)) == expected
