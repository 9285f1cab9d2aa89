"""What each shard will be, before any is made: its records, their keys, the fingerprints it may have."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

from tfrec_stage.build.fingerprint import KEY_SIZE, key_with_image, shard_fingerprint
from tfrec_stage.build.image_hashes import Digested
from tfrec_stage.build.manifest_index import ManifestIndex
from tfrec_stage.build.placement import Placement
from tfrec_stage.images.encode import pixel_codec


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to be."""

    number: int
    """Number of the shard, from 0."""
    positions: "array[int]" = field(repr=False)
    """Where the source finds its records, in the order of writing."""
    keys: bytes = field(repr=False)
    """Their keys as the manifest_index has them, one after the other."""
    full_keys: bytes = field(repr=False)
    """The same with the images of unpinned records, as far as they are known."""
    compressed_by: str | None = None
    """What will compress it, if anything."""

    @property
    def fingerprints(self) -> tuple[str, str]:
        """The fingerprint it has if no pixel is encoded anew, and the one if some are."""
        without, with_some = (
            shard_fingerprint(self.full_keys, pixels_by, self.compressed_by) for pixels_by in (None, pixel_codec())
        )
        return without, with_some


def plan_shards(
    manifest_index: ManifestIndex, plan: Placement, full_keys: bytearray, compressed_by: str | None
) -> Iterator[ShardPlan]:
    """Drafts in the order of their numbers.

    Args:
        manifest_index: the records.
        plan: their shards.
        full_keys: keys with the images of unpinned records (`complete_keys`), in the order of the manifest_index.
        compressed_by: what will compress them, if anything.
    """
    for number, records in enumerate(plan.shards):
        keys = _pick(manifest_index.keys, records)
        known = keys if full_keys is manifest_index.keys else _pick(full_keys, records)
        yield ShardPlan(number, manifest_index.positions_of(records), keys, known, compressed_by)


def complete_keys(keys: bytearray, digested: Iterable[Digested]) -> bytearray:
    """Keys with the images that were digested; the very same array where there are none.

    A record whose image is not known keeps a key that no finished record has, so that it is encoded.
    """
    completed = keys
    for found in digested:
        completed = bytearray(keys) if completed is keys else completed
        for record, note in zip(found.records, found.notes, strict=True):
            if note is not None:
                place = slice(record * KEY_SIZE, (record + 1) * KEY_SIZE)
                completed[place] = key_with_image(bytes(keys[place]), note.digest)
    return completed


def _pick(keys: bytearray, records: Iterable[int]) -> bytes:
    picked = BytesIO()  # a list of keys would take five times their memory
    for record in records:
        picked.write(keys[record * KEY_SIZE : (record + 1) * KEY_SIZE])
    return picked.getvalue()
