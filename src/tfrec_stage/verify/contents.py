"""Compare each stored record with the manifest: encode the manifest's record again and compare the bytes.

Encoding is deterministic, so the shard has to contain exactly what the manifest's record becomes under the options of
the build. No image file is read: the image, and the keys that follow from it, are taken from the stored record. Other
checks compare them with the image itself.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfrec_stage.build.options import OutputOptions, keypoint_names_by_label
from tfrec_stage.build.record_encoder import RecordEncoder
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import RecordError
from tfrec_stage.format_versions import SHARD_FORMAT
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.reading.columns import Columns, Rows
from tfrec_stage.records import ParsedRecord
from tfrec_stage.schema.fields import IMAGE_KEY
from tfrec_stage.schema.od_api import KeypointNames
from tfrec_stage.schema.options import fields_of
from tfrec_stage.shards.metadata_files import INDEX_NAME
from tfrec_stage.tfrecord.example import LIST_ENCODERS, Feature, Kind, decode_example, encode_example
from tfrec_stage.verify.findings import Findings, Location
from tfrec_stage.verify.manifest import Pins
from tfrec_stage.verify.parsing import ParsedBatch, RawRecord
from tfrec_stage.verify.shards import NEEDS_DIRECTORY, ShardSet

_HASH_KEY: Final = "image/key/sha256"
_FROM_IMAGE: Final = frozenset(
    {
        IMAGE_KEY,
        "image/height",
        "image/width",
        "image/colorspace",
        "image/channels",
        "image/format",
        _HASH_KEY,
    }
)
"""Keys that follow from the image: their stored values are not compared here."""

_SHORT: Final = 80
"""Lists and entries of up to this many characters are shown whole."""
_CONTEXT: Final = 20
"""Characters shown before the first difference in a long text."""
_KEYS_SHOWN: Final = 4
"""How many differing keys of a record are shown; the others are counted."""


class ContentsCheck:
    """Compares stored records with the records of the manifest that they were built from."""

    def __init__(
        self,
        source: RecordSource,
        pins: Pins,
        output_options: OutputOptions,
        keypoint_names: KeypointNames,
        findings: Findings,
    ) -> None:
        """Create a check.

        Args:
            source: the manifest.
            pins: positions of its records by id.
            output_options: the options of the build.
            keypoint_names: keypoint names by label, as the build had them.
            findings: collects findings.
        """
        self._source = source
        self._pins = pins
        self._encoder = RecordEncoder(output_options, Path(), keypoint_names)  # the path is unused: no file is read
        # If images are not stored, `image/encoded` has to be empty, so it is compared like any other key.
        self._ignored = _FROM_IMAGE if output_options.encode.store_images else _FROM_IMAGE - {IMAGE_KEY}
        self._keys = [field.key for field in fields_of(output_options.encode) if field.key not in self._ignored]
        self._findings = findings

    def check(self, parsed: ParsedBatch, raws: Sequence[RawRecord]) -> Rows:
        """Report each record of a batch that differs from the manifest.

        Args:
            parsed: the batch.
            raws: its records as stored, including those that cannot be parsed.

        Returns:
            The records that were compared: those that are in the manifest, in a form that can be encoded.

        Raises:
            ManifestError: the manifest changed in the meantime.
        """
        payloads = {raw.location: raw.payload for raw in raws}
        compared = np.zeros(parsed.columns.size, np.bool_)
        for row, record in self._read_manifest(parsed.columns.scalars["image/id"].tolist()):
            location = parsed.locations[row]
            compared[row] = self._compare(record, _stored_image(parsed.columns, row), location, payloads[location])
        return compared

    def _read_manifest(self, image_ids: Sequence[bytes]) -> Iterator[tuple[int, ParsedRecord]]:
        """Iterate over the manifest's records that have one of these ids, each with the row of the id."""
        rows: list[int] = []
        positions = array("Q")
        for row, candidates in enumerate(self._pins.find(image_ids)):
            rows += [row] * len(candidates)
            positions.extend(candidates)
        for row, record in zip(rows, self._source.read(positions), strict=True):
            # Candidates have the same hash; only the id itself shows that it is the same record.
            if str(record.id).encode(errors="surrogatepass") == image_ids[row]:
                yield row, record

    def _compare(self, record: ParsedRecord, image: EncodedImage, location: Location, payload: bytes) -> bool:
        try:
            head, data, tail = self._encoder.encode_with_image(record, image)
        except RecordError as error:
            message = f"the manifest's record of it cannot be encoded, but the shard has one: {error}"
            self._report(location, record, message)
            return False
        # If head, tail and length agree, what is between them is the stored image itself: comparing it is not needed.
        size = len(head) + len(data) + len(tail)
        if len(payload) != size or not (payload.startswith(head) and payload.endswith(tail)):
            self._report_differences(location, record, b"".join((head, data, tail)), payload)
        return True

    def _report_differences(self, location: Location, record: ParsedRecord, expected: bytes, payload: bytes) -> None:
        wanted, stored = decode_example(expected), decode_example(payload)
        text = describe_differences(
            {key: wanted[key] for key in self._keys}, {key: stored[key] for key in stored if key not in self._ignored}
        )
        if text:
            self._report(location, record, text)
        # Equal values in other bytes: keys in another order, or an unknown field. No build writes that.
        elif encode_example(stored) == expected:
            message = "it has the values of the manifest, but this program encodes them to other bytes"
            self._report(location, record, message)

    def _report(self, location: Location, record: ParsedRecord, message: str) -> None:
        self._findings.add("manifest_mismatch", location, f"id {str(record.id)!r}: {message}")


def _stored_image(columns: Columns, row: int) -> EncodedImage:
    """Return the image as the shard has it, with what the record states about it."""

    def scalar(key: str) -> Any:
        return columns.scalars[key][row]

    def text(key: str) -> str:
        return str(scalar(key).decode(errors="replace"))

    return EncodedImage(
        scalar(IMAGE_KEY),
        # Validation divides by the size. An invalid one is reported elsewhere.
        width=max(1, int(scalar("image/width"))),
        height=max(1, int(scalar("image/height"))),
        colorspace=text("image/colorspace"),
        channels=int(scalar("image/channels")),
        format=text("image/format"),
        sha256=text(_HASH_KEY) if _HASH_KEY in columns.scalars else None,
    )


def find_contents_check(
    shard_set: ShardSet, manifest: RecordSource | None, pins: Pins | None, labels: Iterable[Label], findings: Findings
) -> ContentsCheck | str:
    """Return the check for these shards and this manifest, or the reason why it has to be skipped."""
    if shard_set.directory is None:
        return NEEDS_DIRECTORY
    if manifest is None or pins is None:
        return "there is no manifest"
    if shard_set.options_problem is not None:
        return f"{INDEX_NAME}: {shard_set.options_problem}"
    if shard_set.index is None or shard_set.output_options is None:
        return f"there is no sound {INDEX_NAME}, which tells the options of the build"
    if (version := shard_set.index.format_version) != SHARD_FORMAT:
        return f"{INDEX_NAME} has format_version {version}, but this program writes {SHARD_FORMAT}"
    names = keypoint_names_by_label(labels, shard_set.output_options.encode)
    return ContentsCheck(manifest, pins, shard_set.output_options, names, findings)


def describe_differences(expected: Mapping[str, Feature], found: Mapping[str, Feature]) -> str:
    """Describe the differences in one line; empty if there are none.

    Missing keys and values of another kind are skipped: the parser reports them.

    Args:
        expected: what the record should have, in the order of the report.
        found: what it has.

    >>> describe_differences({"a": Feature(Kind.INT64, [3])}, {"a": Feature(Kind.INT64, [7])})
    'a: expected [3], but got [7]'
    """
    texts = _differences(expected, found)
    shown = list(islice(texts, _KEYS_SHOWN))
    more = sum(1 for _ in texts)
    return "; ".join([*shown, *([f"and {more} more keys"] if more else [])])


def _differences(expected: Mapping[str, Feature], found: Mapping[str, Feature]) -> Iterator[str]:
    for key, (kind, values) in expected.items():
        got = found.get(key)
        if got is not None and got.kind is kind and not _is_same(kind, values, got.values):
            yield f"{key}{_describe(kind, values, got.values)}"
    for key in sorted({*found} - {*expected}):
        yield f"{key}: expected no such key, but got {_cut(_show_all(*found[key]), 0)}"


def _describe(kind: Kind, expected: Sequence[Any], got: Sequence[Any]) -> str:
    """Show both lists if they are short, otherwise the first entries that differ."""
    lists = [_show_all(kind, values) for values in (expected, got)]
    if max(map(len, lists)) <= _SHORT:
        return f": expected {lists[0]}, but got {lists[1]}"
    first = _first_difference(kind, expected, got)
    entries = [_show(kind, values[first]) if first < len(values) else "no entry" for values in (expected, got)]
    at = next((index for index, pair in enumerate(zip(*entries, strict=False)) if pair[0] != pair[1]), 0)
    sizes = f" ({len(expected)} entries expected, got {len(got)})" if len(expected) != len(got) else ""
    return f"[{first}]: expected {_cut(entries[0], at)}, but got {_cut(entries[1], at)}{sizes}"


def _first_difference(kind: Kind, first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return the index of the first different entry; the length of the shorter list if it is a prefix."""
    for index, pair in enumerate(zip(first, second, strict=False)):
        if not _is_same(kind, pair[:1], pair[1:]):
            return index
    return min(len(first), len(second))


def _is_same(kind: Kind, first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Return whether both are stored as the same bytes. Unlike with `==`, 0.0 is not -0.0, and NaN equals itself."""
    return len(first) == len(second) and LIST_ENCODERS[kind](first) == LIST_ENCODERS[kind](second)


def _show_all(kind: Kind, values: Sequence[Any]) -> str:
    return f"[{', '.join(_show(kind, value) for value in values)}]"


def _show(kind: Kind, value: Any) -> str:
    if kind is Kind.BYTES:
        return repr(value.decode(errors="backslashreplace"))
    # `str` of a 32-bit float is the shortest decimal that rounds to it: 0.1, not 0.10000000149011612.
    return str(np.float32(value) if kind is Kind.FLOAT else value)


def _cut(text: str, at: int) -> str:
    """Shorten a long text to what surrounds the position `at`."""
    if len(text) <= _SHORT:
        return text
    begin = max(0, min(at - _CONTEXT, len(text) - _SHORT))
    end = begin + _SHORT
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
