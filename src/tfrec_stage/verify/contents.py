"""Compare each record with the manifest, byte by byte: encode it again around the stored image.

Encoding is deterministic: the shard has to hold what the record of the manifest becomes under the options of the build.
No image file is read. What follows from the image is taken from the stored record, where other checks compare it with
the image itself.
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
from tfrec_stage.verify.parsing import Parsed, Raw
from tfrec_stage.verify.shards import MAY_BE_SOME, ShardSet

_DIGEST_KEY: Final = "image/key/sha256"
_FROM_IMAGE: Final = frozenset(
    {
        IMAGE_KEY,
        "image/height",
        "image/width",
        "image/colorspace",
        "image/channels",
        "image/format",
        _DIGEST_KEY,
    }
)
"""Keys that no annotation decides: what they have is taken as it is."""


class ContentsCheck:
    """Compares stored records with the records of the manifest that they were built from."""

    def __init__(
        self, source: RecordSource, pins: Pins, output_options: OutputOptions, names: KeypointNames, log: Findings
    ) -> None:
        """Create a check.

        Args:
            source: the manifest.
            pins: positions of its records by id.
            output_options: the options of the build.
            names: keypoint names by label, as the build had them.
            log: collects findings.
        """
        self._source = source
        self._pins = pins
        self._encoder = RecordEncoder(output_options, Path(), names)
        # Without stored images the image is empty, whatever the record.
        self._taken = _FROM_IMAGE if output_options.encode.store_images else _FROM_IMAGE - {IMAGE_KEY}
        self._keys = [field.key for field in fields_of(output_options.encode) if field.key not in self._taken]
        self._log = log

    def check(self, parsed: Parsed, raws: Sequence[Raw]) -> Rows:
        """Report each record of a batch that differs from the manifest.

        Args:
            parsed: the batch.
            raws: its records as stored, including those that cannot be parsed.

        Returns:
            Which records were compared: those that the manifest has, in a form that can be encoded.

        Raises:
            ManifestError: the manifest changed in the meantime.
        """
        payloads = {raw.place: raw.payload for raw in raws}
        compared = np.zeros(parsed.columns.size, np.bool_)
        for row, record in self._read(parsed.columns.scalars["image/id"].tolist()):
            place = parsed.places[row]
            compared[row] = self._compare(record, _stored_image(parsed.columns, row), place, payloads[place])
        return compared

    def _read(self, image_ids: Sequence[bytes]) -> Iterator[tuple[int, ParsedRecord]]:
        """Read the manifest's record of each row that the manifest has."""
        rows: list[int] = []
        positions = array("Q")
        for row, found in enumerate(self._pins.find(image_ids)):
            rows += [row] * len(found)
            positions.extend(found)
        for row, record in zip(rows, self._source.read(positions), strict=True):
            if str(record.id).encode(errors="surrogatepass") == image_ids[row]:
                yield row, record

    def _compare(self, record: ParsedRecord, image: EncodedImage, place: Location, payload: bytes) -> bool:
        try:
            head, data, tail = self._encoder.encode_with_image(record, image)
        except RecordError as error:
            message = f"the manifest's record of it cannot be encoded, but the shard has one: {error}"
            self._tell(place, record, message)
            return False
        # If head, tail and length are equal, what is between is the image itself, so it need not be compared.
        size = len(head) + len(data) + len(tail)
        if len(payload) != size or not (payload.startswith(head) and payload.endswith(tail)):
            self._tell_differences(place, record, b"".join((head, data, tail)), payload)
        return True

    def _tell_differences(self, place: Location, record: ParsedRecord, expected: bytes, payload: bytes) -> None:
        wanted, found = decode_example(expected), decode_example(payload)
        texts = describe_differences(
            {key: wanted[key] for key in self._keys}, {key: found[key] for key in found if key not in self._taken}
        )
        if texts:
            self._tell(place, record, texts)
        elif encode_example(found) == expected:
            self._tell(place, record, "it has the values of the manifest, but this program encodes them to other bytes")

    def _tell(self, place: Location, record: ParsedRecord, message: str) -> None:
        self._log.add("manifest_mismatch", place, f"id {str(record.id)!r}: {message}")


def _stored_image(columns: Columns, row: int) -> EncodedImage:
    """Return the image as the shard has it, with what the record states about it."""

    def scalar(key: str) -> Any:
        return columns.scalars[key][row]

    def text(key: str) -> str:
        return str(scalar(key).decode(errors="replace"))

    return EncodedImage(
        scalar(IMAGE_KEY),
        width=max(1, int(scalar("image/width"))),  # an invalid size is reported elsewhere; nothing may be divided by it
        height=max(1, int(scalar("image/height"))),
        colorspace=text("image/colorspace"),
        channels=int(scalar("image/channels")),
        format=text("image/format"),
        sha256=text(_DIGEST_KEY) if _DIGEST_KEY in columns.scalars else None,
    )


def find_contents_check(
    found: ShardSet, manifest: RecordSource | None, pins: Pins | None, labels: Iterable[Label], log: Findings
) -> ContentsCheck | str:
    """Return the check for these shards and this manifest, or the reason why it cannot be made."""
    if found.directory is None:
        return MAY_BE_SOME
    if manifest is None or pins is None:
        return "there is no manifest"
    if found.options_fault is not None:
        return f"{INDEX_NAME}: {found.options_fault}"
    if found.index is None or found.output_options is None:
        return f"there is no sound {INDEX_NAME}, which tells the options of the build"
    if found.index.format_version != SHARD_FORMAT:
        return f"{INDEX_NAME} has format_version {found.index.format_version}, but this program writes {SHARD_FORMAT}"
    names = keypoint_names_by_label(labels, found.output_options.encode)
    return ContentsCheck(manifest, pins, found.output_options, names, log)


_SHORT: Final = 80
"""Characters up to which a list, or an entry of a longer one, is shown whole."""
_BEFORE: Final = 20
"""Characters that are shown before the first that differs."""
_SHOWN: Final = 4
"""How many keys of one record are shown; the others are counted."""


def describe_differences(expected: Mapping[str, Feature], found: Mapping[str, Feature]) -> str:
    """Describe the differences in one line; empty if there are none.

    Missing keys and values of another kind are skipped: the parser reports them.

    Args:
        expected: keys in the order of the report.
        found: what the record has.

    >>> describe_differences({"a": Feature(Kind.INT64, [3])}, {"a": Feature(Kind.INT64, [7])})
    'a: expected [3], but got [7]'
    """
    texts = _differences(expected, found)
    shown = list(islice(texts, _SHOWN))
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
    """Return whether both are stored as the same bytes: 0.0 is not -0.0, but NaN equals itself."""
    return len(first) == len(second) and LIST_ENCODERS[kind](first) == LIST_ENCODERS[kind](second)


def _show_all(kind: Kind, values: Sequence[Any]) -> str:
    return f"[{', '.join(_show(kind, value) for value in values)}]"


def _show(kind: Kind, value: Any) -> str:
    if kind is Kind.BYTES:
        return repr(value.decode(errors="backslashreplace"))
    return str(
        np.float32(value) if kind is Kind.FLOAT else value
    )  # the shortest decimal that rounds to this 32-bit float


def _cut(text: str, at: int) -> str:
    """Shorten a long text to what surrounds a position."""
    if len(text) <= _SHORT:
        return text
    begin = max(0, min(at - _BEFORE, len(text) - _SHORT))
    end = begin + _SHORT
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
