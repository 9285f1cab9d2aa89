"""Each record against the manifest: encoded anew around the stored image, and compared byte by byte.

Encoding is deterministic, so what a record of the manifest becomes under the options of the build is what the shard has
to hold. No image file is read: what follows from the image is taken from the stored record, where other checks compare
it with the image itself.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
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
from tfrec_stage.schema.fields import IMAGE_KEY, fields_of
from tfrec_stage.schema.od_api import KeypointNames
from tfrec_stage.shards.metadata_files import INDEX_NAME
from tfrec_stage.tfrecord.example import decode_example, encode_example
from tfrec_stage.verify.differences import describe_differences
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
    """Compares records with those of the manifest that they were made from."""

    def __init__(
        self, source: RecordSource, pins: Pins, output_options: OutputOptions, names: KeypointNames, log: Findings
    ) -> None:
        """A check of any number of batches.

        Args:
            source: the manifest.
            pins: where its records are, by their ids.
            output_options: the options of the build.
            names: of the parts of objects, as the build had them.
            log: where faults go.
        """
        self._source = source
        self._pins = pins
        self._encoder = RecordEncoder(output_options, Path(), names)
        # Without stored images the image is empty, whatever the record.
        self._taken = _FROM_IMAGE if output_options.encode.store_images else _FROM_IMAGE - {IMAGE_KEY}
        self._keys = [field.key for field in fields_of(output_options.encode) if field.key not in self._taken]
        self._log = log

    def check(self, parsed: Parsed, raws: Sequence[Raw]) -> Rows:
        """Tell each record of a batch that is not what the manifest gives.

        Args:
            parsed: the batch.
            raws: its records as they stand in their file, with those that were refused.

        Returns:
            Which records were compared: those that the manifest has, in a form that can be encoded.

        Raises:
            ManifestError: the manifest changed meanwhile.
        """
        payloads = {raw.place: raw.payload for raw in raws}
        compared = np.zeros(parsed.columns.size, np.bool_)
        for row, record in self._read(parsed.columns.scalars["image/id"].tolist()):
            place = parsed.places[row]
            compared[row] = self._compare(record, _stored_image(parsed.columns, row), place, payloads[place])
        return compared

    def _read(self, image_ids: Sequence[bytes]) -> Iterator[tuple[int, ParsedRecord]]:
        """The manifest's record of each row that it has."""
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
        # With the head and the tail what is between them is the image that was put in, so it need not be compared.
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
    """The image as the shard has it, and what the record says of it."""

    def scalar(key: str) -> Any:
        return columns.scalars[key][row]

    def text(key: str) -> str:
        return str(scalar(key).decode(errors="replace"))

    return EncodedImage(
        scalar(IMAGE_KEY),
        width=max(1, int(scalar("image/width"))),  # what is no size is told elsewhere, and nothing is divided by it
        height=max(1, int(scalar("image/height"))),
        colorspace=text("image/colorspace"),
        channels=int(scalar("image/channels")),
        format=text("image/format"),
        sha256=text(_DIGEST_KEY) if _DIGEST_KEY in columns.scalars else None,
    )


def find_contents_check(
    found: ShardSet, manifest: RecordSource | None, pins: Pins | None, labels: Iterable[Label], log: Findings
) -> ContentsCheck | str:
    """What compares the records of these shards with a manifest, or why that cannot be done."""
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
