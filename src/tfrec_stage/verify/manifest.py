"""Compare shards with the manifest: its ids, the images that it pins, and the fingerprints that follow from it."""

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
from tfrec_stage.verify.record_index import Hashes, RecordIndex, as_array, entries_of, short_hash

_ALTERING: Final = ("reencoded", "raw_frame_kept", "trailing_bytes_dropped", "first_frame")
"""Transforms after which the stored bytes are not those of the file. All others of `images.encode.TRANSFORMS` occur
only together with one of these."""
_MANIFEST: Final = "manifest"
"""Name of the manifest in findings. Its path is not given: a report names no path of the machine."""
_EXAMPLES: Final = 5
"""How many records are listed as examples."""


@dataclass(frozen=True, slots=True)
class Pins:
    """Id hash, pinned image hash and position of each record of a manifest; 24 bytes per record."""

    id_hashes: Hashes
    """`hash64` of each id, ascending; the other columns are in the same order."""
    image_hashes: Hashes
    """The first 64 bits of the pinned SHA-256; 0 for a record that does not pin its image."""
    positions: Hashes
    """Position of each record, for `RecordSource.read`."""

    @property
    def count(self) -> int:
        """Number of records that pin their image."""
        return int(np.count_nonzero(self.image_hashes))

    def find(self, image_ids: Iterable[bytes]) -> Iterator[list[int]]:
        """For each id, return the positions of the records that may have it.

        That is usually one or none. Hashes may collide, so the caller has to compare the ids.
        """
        wanted = np.fromiter(map(hash64, image_ids), np.uint64)
        begins, ends = (np.searchsorted(self.id_hashes, wanted, side).tolist() for side in ("left", "right"))
        return (self.positions[begin:end].tolist() for begin, end in zip(begins, ends, strict=True))


def read_pins(source: RecordSource) -> Pins:
    """Read the ids and pins of a manifest.

    Raises:
        ManifestError: a record is malformed.
    """
    id_hashes, image_hashes, positions = array("Q"), array("Q"), array("Q")
    for position, record in source.scan():
        id_hashes.append(_hash(str(record.id)))
        image_hashes.append(short_hash(bytes.fromhex(record.sha256)) if record.sha256 else 0)
        positions.append(position)
    order = np.argsort(as_array(id_hashes), kind="stable")
    return Pins(*(as_array(column)[order] for column in (id_hashes, image_hashes, positions)))


def check_ids(
    source: RecordSource,
    pins: Pins,
    record_index: RecordIndex,
    failures: Failures | None,
    *,
    lost: int | None,
    findings: Findings,
) -> list[str]:
    """Report ids that are in the manifest but not in the shards, and the other way round.

    Args:
        source: the manifest.
        pins: its ids and pins.
        record_index: the records of the shards.
        failures: records that failed and therefore are not in the shards; None if unknown.
        lost: number of records of the shards that cannot be read; None if unknown.
        findings: collects findings.

    Returns:
        The missing ids, if the unreadable records explain all of them. They are then not reported as missing: the
        damage that lost them is reported already.
    """
    failed = _hashes(failures.ids if failures else ())
    stated, stored = pins.id_hashes, record_index.ids()
    missing = _ids_and_filenames(source, {*np.setdiff1d(stated, np.union1d(stored, failed)).tolist()})
    is_explained = lost is None or len(missing) <= lost
    if not is_explained:
        for image_id, filename in missing:
            message = f"the manifest has the id {image_id!r} ({filename}), but no shard has it, nor {FAILURES_NAME}"
            findings.add("record_missing", _MANIFEST, message)
    surplus = np.setdiff1d(stored, np.setdiff1d(stated, failed)).tolist()
    for entry, image_id in record_index.read_ids(entries_of(record_index, surplus)).items():
        has_failed = failures is not None and image_id in failures.ids
        where = f"in {FAILURES_NAME}, as one that failed" if has_failed else "not in the manifest"
        findings.add("record_surplus", record_index.location(entry), f"the id {image_id!r} is {where}")
    _check_failed_ids(stated, failures, findings)
    return [image_id for image_id, _ in missing] if is_explained else []


def check_pins(
    pins: Pins, record_index: RecordIndex, transforms: Mapping[str, int], findings: Findings, *, is_complete: bool
) -> None:
    """Compare each stored image with the sha256 that the manifest pins.

    They differ if the build altered the image. `stats.json` counts altered images by transform, but does not say which
    they are. If none was altered, every image has to agree. Otherwise the number of differing images has to be
    possible: at least the largest count of one transform, at most the sum of all, as one image may have several.

    Args:
        pins: ids and pins of the manifest.
        record_index: the records of the shards.
        transforms: number of images by transform, the `notes` of `stats.json`.
        findings: collects findings.
        is_complete: whether all records could be read.
    """
    if not pins.count:
        return
    # `searchsorted` gives the end for ids above all others; the comparison of hashes below then fails, as it should.
    rows = np.minimum(np.searchsorted(pins.id_hashes, record_index.ids()), len(pins.id_hashes) - 1)
    pinned = np.where(pins.id_hashes[rows] == record_index.ids(), pins.image_hashes[rows], 0)
    stored = as_array(record_index.image_hashes)
    differing = np.flatnonzero((pinned != 0) & (stored != 0) & (pinned != stored)).tolist()
    counts = [transforms.get(name, 0) for name in _ALTERING]
    most = sum(counts)
    # Altered images may be among those that are not pinned, or among records that could not be read.
    least = max(0, max(counts) - int(np.count_nonzero(pinned == 0))) if is_complete else 0
    if most == 0:
        for entry in differing:
            message = "the image is not the one that the manifest pins by its sha256, and the build altered none"
            findings.add("image_changed", record_index.location(entry), message)
    elif not least <= len(differing) <= most:
        expected = str(most) if least == most else f"{least} to {most}"
        findings.add(
            "image_changed",
            STATS_NAME,
            f"expected {expected} stored images to differ from the sha256 that the manifest pins, as its notes count "
            f"the images that were altered, but {len(differing)} do{_list_examples(differing, record_index)}",
        )


def differing_fingerprints(
    manifest_index: ManifestIndex, output_options: OutputOptions, entries: Sequence[ShardEntry], failures: Failures
) -> list[ShardEntry]:
    """Return the shards whose fingerprint does not follow from manifest, options, failures and library versions.

    Args:
        manifest_index: the index of a manifest that pins every image.
        output_options: the options in `index.json`.
        entries: the entries of all shards in `index.json`, in the order of their numbers.
        failures: the records that failed.
    """
    failed = {_hash(image_id) for image_id in failures.ids}
    placement = place_records(manifest_index.id_hashes, len(entries), output_options.encode)
    keys = list(split_keys(bytes(manifest_index.keys)))
    differing = []
    for entry, records in zip(entries, placement.shards, strict=True):
        # A failed record counts with another key: its shard differs from the one that would contain the record.
        shard_keys = b"".join(
            key_of_failure(keys[record]) if manifest_index.id_hashes[record] in failed else keys[record]
            for record in records
        )
        if entry.fingerprint != shard_fingerprint(shard_keys, "".join(entry.libraries)):
            differing.append(entry)
    return differing


def _check_failed_ids(stated: Hashes, failures: Failures | None, findings: Findings) -> None:
    known = {*stated.tolist()} if failures and failures.ids else set()
    for image_id in sorted(failures.ids if failures else ()):
        if _hash(image_id) not in known:
            findings.add("failures_mismatch", FAILURES_NAME, f"the id {image_id!r} is not in the manifest")


def _ids_and_filenames(source: RecordSource, id_hashes: set[int]) -> list[tuple[str, str]]:
    """Return ids and file names of the records with these id hashes; reads the manifest again if there are any."""
    if not id_hashes:
        return []
    return [(str(record.id), record.filename) for _, record in source.scan() if _hash(str(record.id)) in id_hashes]


def _hashes(image_ids: Iterable[str]) -> Hashes:
    return np.fromiter(map(_hash, image_ids), np.uint64)


def _hash(image_id: str) -> int:
    # Ids may have lone surrogates, which strict UTF-8 refuses. A build hashes them in the same way.
    return hash64(image_id.encode(errors="surrogatepass"))


def _list_examples(entries: Sequence[int], record_index: RecordIndex) -> str:
    locations = [record_index.location(entry) for entry in entries[:_EXAMPLES]]
    shown = ", ".join(f"record {location.record} of {location.file}" for location in locations)
    more = f" and {len(entries) - _EXAMPLES} more" if len(entries) > _EXAMPLES else ""
    return f": {shown}{more}" if shown else ""
