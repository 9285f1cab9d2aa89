"""What each shard will be, before any is made."""

from array import array

from tfrec_stage.build.fingerprint import KEY_SIZE, key_with_image, shard_fingerprint, split_keys
from tfrec_stage.build.image_hashes import HashedImages, add_image_hashes
from tfrec_stage.build.options import EncodeOptions, OutputOptions
from tfrec_stage.build.placement import place_records
from tfrec_stage.build.plan import ShardPlan, plan_shards, read_manifest_index
from tfrec_stage.cache.hash_cache import ImageHash
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.manifest.record_list import RecordList

KEYS = [bytes([number]) * KEY_SIZE for number in range(4)]


def note(digest: bytes) -> ImageHash:
    return ImageHash("a", None, digest)


def test_keys_know_the_images_that_were_digested() -> None:
    """Each record that of its own image; one whose image cannot be read, or is pinned, keeps its key."""
    keys = bytearray(b"".join(KEYS))
    digested = [
        HashedImages(array("Q", [1, 2]), [note(b"x" * 32), None]),
        HashedImages(array("Q", [3]), [note(b"y" * 32)]),
    ]
    completed = add_image_hashes(keys, digested)
    expected = [KEYS[0], key_with_image(KEYS[1], b"x" * 32), KEYS[2], key_with_image(KEYS[3], b"y" * 32)]
    assert list(split_keys(bytes(completed))) == expected
    assert bytes(keys) == b"".join(KEYS)


def test_without_images_to_digest_nothing_is_copied() -> None:
    """The keys of millions of records are held once."""
    keys = bytearray(KEYS[0])
    assert add_image_hashes(keys, []) is keys


def test_a_draft_has_its_records_in_the_order_of_the_plan() -> None:
    """Positions, keys and full keys of the same records; every record is in one draft."""
    source = RecordList({"filename": "a.jpg", "id": number} for number in range(20))
    manifest_index = read_manifest_index(source, OutputOptions())
    plan = place_records(manifest_index.id_hashes, 3, EncodeOptions())
    full = bytearray(bytes(byte ^ 255 for byte in manifest_index.keys))
    keys, full_keys = list(split_keys(bytes(manifest_index.keys))), list(split_keys(bytes(full)))
    drafts = list(plan_shards(manifest_index, plan, full, "zlib 1"))
    assert [draft.number for draft in drafts] == [0, 1, 2]
    assert sorted(position for draft in drafts for position in draft.positions) == list(range(20))
    for draft, records in zip(drafts, plan.shards, strict=True):
        assert list(draft.positions) == list(records)
        assert list(split_keys(draft.keys)) == [keys[record] for record in records]
        assert list(split_keys(draft.full_keys)) == [full_keys[record] for record in records]
        assert draft.compressor == "zlib 1"
    pinned = list(plan_shards(manifest_index, plan, manifest_index.keys, None))
    assert all(draft.full_keys is draft.keys for draft in pinned)
    assert len(pinned) == 3


def test_the_fingerprints_that_a_shard_may_have() -> None:
    """Of the keys with images: the one if no pixel is encoded anew, and the one if some are."""
    draft = ShardPlan(0, array("Q", [0]), KEYS[0], KEYS[1], "zlib 1")
    assert draft.fingerprints == (
        shard_fingerprint(KEYS[1], None, "zlib 1"),
        shard_fingerprint(KEYS[1], pixel_codec(), "zlib 1"),
    )
