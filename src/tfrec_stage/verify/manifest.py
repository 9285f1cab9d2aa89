"""Shards against the manifest: the ids, the images that it pins, and the fingerprints that it implies."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tfrec_stage.build.fingerprint import key_of_failure, shard_fingerprint, split_keys
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.build.placement import hash64, place_records
from tfrec_stage.build.plan import ManifestIndex
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.shards.metadata_files import FAILURES_NAME, STATS_NAME, ShardEntry
from tfrec_stage.verify.findings import Findings
from tfrec_stage.verify.metadata_files import Failures
from tfrec_stage.verify.record_index import Hashes, RecordIndex, as_array, entries_of, short_digest

ALTERING: Final = ("reencoded", "raw_frame_kept", "trailing_bytes_dropped", "first_frame")
"""Notes of images whose stored bytes are not those of the file; see `codecs.image.NOTES`. Every other note stands
beside one of these."""
MANIFEST: Final = "manifest"
"""What faults call the manifest, which may lie anywhere."""
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Pins:
    """What a manifest says of each record, in the order of the hashes; 24 bytes a record."""

    id_hashes: Hashes
    """`hash64` of each id, ascending."""
    digests: Hashes
    """The first 64 bits of the pinned SHA-256; 0 for a record that pins nothing."""
    positions: Hashes
    """Where the source finds each record again."""

    @property
    def count(self) -> int:
        """Records that pin their image."""
        return int(np.count_nonzero(self.digests))

    def find(self, image_ids: Iterable[bytes]) -> Iterator[list[int]]:
        """Positions of the records that may have each of these ids: as a rule one or none, for hashes may collide."""
        wanted = np.fromiter(map(hash64, image_ids), np.uint64)
        begins, ends = (np.searchsorted(self.id_hashes, wanted, side).tolist() for side in ("left", "right"))
        return (self.positions[begin:end].tolist() for begin, end in zip(begins, ends, strict=True))


def read_pins(source: RecordSource) -> Pins:
    """Walk through a manifest.

    Raises:
        ManifestError: a record has not the right shape.
    """
    id_hashes, digests, positions = array("Q"), array("Q"), array("Q")
    for position, record in source.scan():
        id_hashes.append(_hash(str(record.id)))
        digests.append(short_digest(bytes.fromhex(record.sha256)) if record.sha256 else 0)
        positions.append(position)
    order = np.argsort(as_array(id_hashes), kind="stable")
    return Pins(*(as_array(column)[order] for column in (id_hashes, digests, positions)))


def check_ids(
    source: RecordSource,
    pins: Pins,
    index_of_records: RecordIndex,
    failures: Failures | None,
    *,
    lost: int | None,
    log: Findings,
) -> list[str]:
    """Tell ids that the manifest has and the shards have not, and the other way round.

    Args:
        source: the manifest.
        pins: what it says.
        index_of_records: what the shards hold.
        failures: records that need not be in the shards; None if unknown.
        lost: how many records of the shards cannot be read; None if nobody knows.
        log: where faults go.

    Returns:
        The ids of the records that cannot be read, if as many are absent and no more: their fault has been told.
    """
    failed = _hashes(failures.ids if failures else ())
    stated, found = pins.id_hashes, index_of_records.ids()
    absent = np.setdiff1d(stated, np.union1d(found, failed))
    names = _names(source, {*absent.tolist()})
    is_explained = lost is None or len(names) <= lost
    if not is_explained:
        for name, filename in names:
            message = f"the manifest has the id {name!r} ({filename}), but no shard has it, nor {FAILURES_NAME}"
            log.add("record_missing", MANIFEST, message)
    surplus = np.setdiff1d(found, np.setdiff1d(stated, failed)).tolist()
    for entry, name in index_of_records.read_ids(entries_of(index_of_records, surplus)).items():
        has_failed = failures is not None and name in failures.ids
        where = f"in {FAILURES_NAME}, as one that failed" if has_failed else "not in the manifest"
        log.add("record_surplus", index_of_records.place(entry), f"the id {name!r} is {where}")
    _check_failed_ids(stated, failures, log)
    return [name for name, _ in names] if is_explained else []


def check_pins(
    pins: Pins, index_of_records: RecordIndex, notes: Mapping[str, int], log: Findings, *, is_whole: bool
) -> None:
    """Compare each stored image with the sha256 that the manifest pins.

    They differ where the build altered the image, as counted by the notes of `stats.json`. Where nothing was altered
    each image has to agree; otherwise the number of those that differ has to be what the notes allow: no less than the
    most of one note, no more than all together. That is one number where one note is counted alone.

    Args:
        pins: what the manifest says.
        index_of_records: what the shards hold.
        notes: of `stats.json`.
        log: where faults go.
        is_whole: whether all records could be read.
    """
    if not pins.count:
        return
    place = np.minimum(np.searchsorted(pins.id_hashes, index_of_records.ids()), len(pins.id_hashes) - 1)
    pinned = np.where(pins.id_hashes[place] == index_of_records.ids(), pins.digests[place], 0)
    stored = as_array(index_of_records.digests)
    differing = np.flatnonzero((pinned != 0) & (stored != 0) & (pinned != stored)).tolist()
    counts = [notes.get(name, 0) for name in ALTERING]
    most = sum(counts)
    least = max(0, max(counts) - int(np.count_nonzero(pinned == 0))) if is_whole else 0
    if most == 0:
        for entry in differing:
            message = "the image is not the one that the manifest pins by its sha256, and the build altered none"
            log.add("image_changed", index_of_records.place(entry), message)
    elif not least <= len(differing) <= most:
        expected = str(most) if least == most else f"{least} to {most}"
        log.add(
            "image_changed",
            STATS_NAME,
            f"expected {expected} stored images to differ from the sha256 that the manifest pins, as its notes count "
            f"the images that were altered, but {len(differing)} do{_first(differing, index_of_records)}",
        )


def differing_fingerprints(
    manifest_index: ManifestIndex, output_options: OutputOptions, entries: Sequence[ShardEntry], failures: Failures
) -> list[ShardEntry]:
    """Shards whose fingerprint in the index is not the one that follows from manifest, options and what made them.

    Args:
        manifest_index: the manifest, every image pinned.
        output_options: the options in the index.
        entries: the shards in the order of their numbers, all of them.
        failures: records that failed.
    """
    failed = {_hash(name) for name in failures.ids}
    plan = place_records(manifest_index.id_hashes, len(entries), output_options.encode)
    keys = list(split_keys(bytes(manifest_index.keys)))
    differing = []
    for entry, records in zip(entries, plan.shards, strict=True):
        own = b"".join(
            key_of_failure(keys[record]) if manifest_index.id_hashes[record] in failed else keys[record]
            for record in records
        )
        if entry.fingerprint != shard_fingerprint(own, "".join(entry.libraries)):
            differing.append(entry)
    return differing


def _check_failed_ids(stated: Hashes, failures: Failures | None, log: Findings) -> None:
    known = {*stated.tolist()} if failures and failures.ids else set()
    for name in sorted(failures.ids if failures else ()):
        if _hash(name) not in known:
            log.add("failures_mismatch", FAILURES_NAME, f"the id {name!r} is not in the manifest")


def _names(source: RecordSource, hashes: set[int]) -> list[tuple[str, str]]:
    """Ids and file names of the records with these hashes."""
    if not hashes:
        return []
    return [(str(record.id), record.filename) for _, record in source.scan() if _hash(str(record.id)) in hashes]


def _hashes(names: Iterable[str]) -> Hashes:
    return np.fromiter(map(_hash, names), np.uint64)


def _hash(name: str) -> int:
    return hash64(name.encode(errors="surrogatepass"))


def _first(entries: Sequence[int], index_of_records: RecordIndex) -> str:
    places = [index_of_records.place(entry) for entry in entries[:_NAMED]]
    shown = ", ".join(f"record {place.record} of {place.file}" for place in places)
    more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return f": {shown}{more}" if shown else ""
