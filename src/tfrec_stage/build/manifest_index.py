"""What a walk through a manifest leaves behind: a few numbers a record, so that millions of records fit in memory."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

from tfrec_stage.build.fingerprint import KeyMaker, has_image
from tfrec_stage.build.placement import hash64
from tfrec_stage.build.record_encoder import OutputOptions
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.faults import Faults
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames


@dataclass(slots=True)
class ManifestIndex:
    """Columns over all records, in the manifest's order."""

    positions: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where the source finds each record again."""
    id_hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    """`hash64` of each id."""
    keys: bytearray = field(default_factory=bytearray)
    """Key of each record, `fingerprint.KEY_SIZE` bytes each."""
    unpinned: "array[int]" = field(default_factory=lambda: array("Q"))
    """Numbers of the records whose key does not know the image."""

    def __len__(self) -> int:
        return len(self.positions)

    def positions_of(self, records: Iterable[int]) -> "array[int]":
        """Positions of records, given by their numbers."""
        return array("Q", (self.positions[record] for record in records))


def read_manifest_index(
    source: RecordReader, output_options: OutputOptions, names: KeypointNames = NO_NAMES
) -> ManifestIndex:
    """Walk through all records.

    Args:
        source: where they are.
        output_options: options that go into their keys.
        names: of the parts of objects, which do too.

    Raises:
        ManifestError: a record has not the right shape, an id stands twice, or there is no record at all.
    """
    manifest_index, make_key = ManifestIndex(), KeyMaker(output_options, names).key
    positions, id_hashes, keys = (
        manifest_index.positions,
        manifest_index.id_hashes,
        manifest_index.keys,
    )  # for millions of rounds
    for position, record in source.scan():
        if not has_image(record):
            manifest_index.unpinned.append(len(positions))
        positions.append(position)
        # Lone surrogates, which no file can hold, are kept apart rather than refused here.
        id_hashes.append(hash64(str(record.id).encode(errors="surrogatepass")))
        keys += make_key(record)
    if not len(manifest_index):
        raise ManifestError("expected image records, but the manifest has none: shards without records train nothing")
    _refuse_duplicates(source, manifest_index)
    return manifest_index


def _refuse_duplicates(source: RecordReader, manifest_index: ManifestIndex) -> None:
    if all(map(_are_distinct, _by_first_byte(manifest_index.id_hashes))):
        return
    faults = Faults("manifest")
    first_seen: dict[str, int] = {}
    for position, record in source.scan():
        name = str(record.id)
        if name in first_seen:
            places = f"{source.where(first_seen[name])} and {source.where(position)}"
            faults.add(places, [f"two records have the id {name!r}; ids must be unique"])
        first_seen.setdefault(name, position)
    faults.raise_if_any()


def _by_first_byte(hashes: "array[int]") -> "list[array[int]]":
    """The same numbers in 256 lots: a set of them all would take two to three times the memory of the index."""
    lots = [array("Q") for _ in range(256)]
    for number in hashes:
        lots[number >> 56].append(number)
    return lots


def _are_distinct(numbers: "array[int]") -> bool:
    return len(set(numbers)) == len(numbers)
