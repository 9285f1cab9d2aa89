"""What a build knows before it writes a byte: an index of the manifest's records, and a plan for each shard.

The index keeps a few numbers per record in packed arrays, so that millions of records fit in memory.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

from tfrec_stage.build.fingerprint import KEY_SIZE, KeyMaker, has_image, shard_fingerprint
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.build.placement import Placement, hash64
from tfrec_stage.errors import ManifestError
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.manifest.problems import Problems
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames


@dataclass(slots=True)
class ManifestIndex:
    """Columns over all records, in the manifest's order. A record's number is its index in these columns, from 0."""

    positions: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where the source finds each record again."""
    id_hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    """`hash64` of each id; decides the placement."""
    keys: bytearray = field(default_factory=bytearray)
    """The keys of all records, concatenated, `KEY_SIZE` bytes each."""
    image_keys: bytearray = field(default_factory=bytearray)
    """Their image keys, likewise; zeros for an image whose content is not known. Empty if not asked for."""
    unpinned: "array[int]" = field(default_factory=lambda: array("Q"))
    """Numbers of the records whose key does not cover the image (`has_image` is false)."""

    def __len__(self) -> int:
        return len(self.positions)

    def positions_of(self, records: Iterable[int]) -> "array[int]":
        """Return the positions of records, given by their numbers."""
        return array("Q", (self.positions[record] for record in records))

    def keys_of(self, records: Iterable[int]) -> bytes:
        """Return the concatenated keys of records, given by their numbers."""
        return _pick(self.keys, records)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard before it is written."""

    number: int
    """Number of the shard, from 0."""
    positions: "array[int]" = field(repr=False)
    """Where the source finds its records, in the order of writing."""
    keys: bytes = field(repr=False)
    """Their keys in the manifest index, concatenated in the same order."""
    full_keys: bytes = field(repr=False)
    """The same, except that the keys of unpinned records cover their images where those are known."""
    compressor: str | None = None
    """The library that will compress the file; None if it is not compressed."""
    image_keys: bytes = field(default=b"", repr=False)
    """Their image keys, likewise; empty if the index has none."""

    @property
    def fingerprints(self) -> tuple[str, str]:
        """The fingerprint if no image is re-encoded, and the one if some are: that is known only once it is written."""
        without, with_some = (
            shard_fingerprint(self.full_keys, codec, self.compressor) for codec in (None, pixel_codec())
        )
        return without, with_some


def read_manifest_index(
    source: RecordReader,
    output_options: OutputOptions,
    keypoint_names: KeypointNames = NO_NAMES,
    *,
    with_image_keys: bool = False,
) -> ManifestIndex:
    """Read all records once and index them.

    Args:
        source: the records.
        output_options: options that the keys cover.
        keypoint_names: names of an object's keypoints by its label, which the keys cover as well.
        with_image_keys: whether to make image keys too; only a build that may reuse images needs them.

    Raises:
        ManifestError: a record is malformed, two records have the same id, or there is no record.
    """
    index, key_maker = ManifestIndex(), KeyMaker(output_options, keypoint_names)
    make_key = key_maker.key
    positions, id_hashes, keys = index.positions, index.id_hashes, index.keys  # looked up once, for millions of rounds
    for position, record in source.scan():
        if not has_image(record):
            index.unpinned.append(len(positions))
        positions.append(position)
        # Ids with lone surrogates cannot be stored. Their records fail when they are encoded, not the whole manifest.
        id_hashes.append(hash64(str(record.id).encode(errors="surrogatepass")))
        keys += make_key(record)
        if with_image_keys:
            index.image_keys += key_maker.stated_image_key(record)
    if not len(index):
        raise ManifestError("expected image records, but the manifest has none: shards without records train nothing")
    _refuse_duplicate_ids(source, index)
    return index


def plan_shards(
    index: ManifestIndex, placement: Placement, full_keys: bytearray, compressor: str | None
) -> Iterator[ShardPlan]:
    """Iterate over the plans of all shards, in the order of their numbers.

    Args:
        index: the records.
        placement: which of them go into which shard.
        full_keys: the keys of all records after `add_image_hashes`.
        compressor: the library that will compress the shards; None if they are not compressed.
    """
    for number, records in enumerate(placement.shards):
        keys = index.keys_of(records)
        full = keys if full_keys is index.keys else _pick(full_keys, records)
        image_keys = _pick(index.image_keys, records) if index.image_keys else b""
        yield ShardPlan(number, index.positions_of(records), keys, full, compressor, image_keys)


def _refuse_duplicate_ids(source: RecordReader, index: ManifestIndex) -> None:
    if all(len(set(hashes)) == len(hashes) for hashes in _by_first_byte(index.id_hashes)):
        return
    # Two hashes are equal: read the ids themselves, for the message, and because different ids may share a hash.
    problems = Problems("manifest")
    first_seen: dict[str, int] = {}
    for position, record in source.scan():
        name = str(record.id)
        if name in first_seen:
            places = f"{source.where(first_seen[name])} and {source.where(position)}"
            problems.add(places, [f"two records have the id {name!r}; ids must be unique"])
        first_seen.setdefault(name, position)
    problems.raise_if_any()


def _by_first_byte(hashes: "array[int]") -> "list[array[int]]":
    """Partition hashes into 256 groups: one set of all hashes would take two to three times the memory of the index."""
    groups = [array("Q") for _ in range(256)]
    for number in hashes:
        groups[number >> 56].append(number)
    return groups


def _pick(keys: bytearray, records: Iterable[int]) -> bytes:
    picked = BytesIO()  # joining a list of keys would take five times their memory
    for record in records:
        picked.write(keys[record * KEY_SIZE : (record + 1) * KEY_SIZE])
    return picked.getvalue()
