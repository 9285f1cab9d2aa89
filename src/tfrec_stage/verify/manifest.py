"""Compare shards with the manifest: ids, pinned images, and the fingerprints that follow from it."""

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
"""Name of the manifest in findings; its path may be anywhere."""
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Pins:
    """Id, pinned hash and position of each record of a manifest, ordered by hash; 24 bytes per record."""

    id_hashes: Hashes
    """`hash64` of each id, ascending."""
    digests: Hashes
    """The first 64 bits of the pinned SHA-256; 0 for a record that pins nothing."""
    positions: Hashes
    """Where the source finds each record again."""

    @property
    def count(self) -> int:
        """Number of records that pin their image."""
        return int(np.count_nonzero(self.digests))

    def find(self, image_ids: Iterable[bytes]) -> Iterator[list[int]]:
        """Iterate over positions of records that may have each id: usually one or none, as hashes may collide."""
        wanted = np.fromiter(map(hash64, image_ids), np.uint64)
        begins, ends = (np.searchsorted(self.id_hashes, wanted, side).tolist() for side in ("left", "right"))
        return (self.positions[begin:end].tolist() for begin, end in zip(begins, ends, strict=True))


def read_pins(source: RecordSource) -> Pins:
    """Read a manifest.

    Raises:
        ManifestError: a record is malformed.
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
    """Report ids that are in the manifest but not in the shards, and the other way round.

    Args:
        source: the manifest.
        pins: its ids and pinned hashes.
        index_of_records: the records of the shards.
        failures: records that are not in the shards; None if unknown.
        lost: how many records of the shards cannot be read; None if unknown.
        log: collects findings.

    Returns:
        The ids of the unreadable records, if no more ids than these are missing: they have been reported already.
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

    They differ if the build transformed the image, which `stats.json` counts under `notes`. Without transforms every
    image has to agree. Otherwise the number of differing images has to be possible: at least the largest count of one
    transform, at most the sum of all. With a single transform that is one number.

    Args:
        pins: ids and pinned hashes of the manifest.
        index_of_records: the records of the shards.
        notes: the counts of transforms in `stats.json`.
        log: collects findings.
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
    """Return shards whose fingerprint in the index does not follow from manifest, options and library versions.

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
    """Return ids and file names of the records with these hashes."""
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
