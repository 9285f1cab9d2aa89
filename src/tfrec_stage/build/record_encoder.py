"""One image record → one encoded `tf.train.Example`, or the reason why it cannot be encoded.

record ──read, hash──▶ image file ──encode_image──▶ JPEG ──validate_annotations──▶ annotations ──▶ Example
"""

import os
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tfrec_stage.annotations.policy import validate_annotations
from tfrec_stage.build.failures import FailedRecord
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.errors import RecordError
from tfrec_stage.images.encode import EncodedImage, encode_image
from tfrec_stage.images.file import read_image_file
from tfrec_stage.records import ImageRecord, InvalidRecord, ParsedRecord
from tfrec_stage.schema.encoder import ExampleEncoder
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames


class EncodedRecord(NamedTuple):
    """One encoded record, ready to be written into a shard."""

    record: ImageRecord
    """The record as stored: repaired where the annotation policy says so."""
    repaired: Counter[str]
    """How many annotations were repaired, by what was done."""
    payload: tuple[bytes, bytes, bytes]
    """The encoded Example in three pieces: head, image, tail. Joining them would copy the image."""
    image_hash: bytes
    """SHA-256 of the image file as it was read, 32 bytes."""
    image: EncodedImage
    """The image as it is stored."""
    duplicate_boxes: int
    """Boxes that repeat an earlier one of the image and were kept."""


class RecordEncoder:
    """Encodes image records. Its only side effect is reading the image; threads may share it, processes pickle it."""

    def __init__(
        self, output_options: OutputOptions, images_root: Path, keypoint_names: KeypointNames = NO_NAMES
    ) -> None:
        """Create an encoder.

        Args:
            output_options: how records are encoded.
            images_root: directory that relative file names start from.
            keypoint_names: names of an object's keypoints by its label, stored by the profile `od_api`.
        """
        self.output_options = output_options
        self.images_root = images_root
        self.keypoint_names = dict(keypoint_names)
        self._encode_example = ExampleEncoder(output_options.encode, keypoint_names).encode

    def __reduce__(self) -> tuple[type["RecordEncoder"], tuple[OutputOptions, Path, KeypointNames]]:
        # ExampleEncoder holds functions that cannot be pickled, so a worker process builds its own.
        return RecordEncoder, (self.output_options, self.images_root, self.keypoint_names)

    def __call__(self, record: ParsedRecord) -> EncodedRecord | FailedRecord:
        """Encode one record. A bad record is returned as a value, not raised: the build goes on with the others."""
        if isinstance(record, InvalidRecord):
            return FailedRecord("record_invalid", record.message)
        try:
            return self._encode(record)
        except RecordError as error:
            return FailedRecord(error.reason, str(error))

    def encode_with_image(self, record: ParsedRecord, image: EncodedImage) -> tuple[bytes, bytes, bytes]:
        """Encode a record around an image that is already encoded; no file is read.

        Returns:
            The Example in three pieces: head, image, tail.

        Raises:
            RecordError: the record is invalid, or its annotations contradict each other or the image.
        """
        if isinstance(record, InvalidRecord):
            raise RecordError("record_invalid", record.message)
        settled = validate_annotations(record, self.output_options.annotations, image.width, image.height)
        return self._encode_example(settled.record, image)

    def _encode(self, record: ImageRecord) -> EncodedRecord:
        data = self._read(record) if record.encoded is None else record.encoded
        digest = sha256(data)
        # Checked before decoding: a replaced image may well decode, but the annotations were made for another one.
        if record.sha256 not in (None, digest.hexdigest()):
            raise RecordError(
                "image_changed",
                f"expected an image with sha256 {record.sha256}, as the manifest pins it, but {record.filename} has "
                f"{digest.hexdigest()}; import the annotations again, or restore the image",
            )
        options = self.output_options.encode
        try:
            image = encode_image(data, options, annotated_size=_declared_size(record))
        except RecordError as error:
            raise self._with_annotation_problems(error, record) from None
        if not options.store_images:
            # Readers open the original file, so image/format has to be that of the file, not of the JPEG it becomes.
            image = image._replace(format=image.source_format)
        settled = validate_annotations(record, self.output_options.annotations, image.width, image.height)
        payload = self._encode_example(settled.record, image)
        return EncodedRecord(settled.record, settled.repaired, payload, digest.digest(), image, settled.duplicate_boxes)

    def _with_annotation_problems(self, error: RecordError, record: ImageRecord) -> RecordError:
        """Add the other problems of the annotations if the declared size is wrong, to report all together."""
        size = _declared_size(record)
        if error.reason != "annotation_invalid" or size is None:
            return error
        try:
            validate_annotations(record, self.output_options.annotations, *size)
        except RecordError as more:
            return RecordError(error.reason, f"{error}; {more}")
        return error

    def _read(self, record: ImageRecord) -> bytes:
        return read_image_file(os.path.join(self.images_root, record.filename))  # noqa: PTH118 - ten times as fast


def _declared_size(record: ImageRecord) -> tuple[int, int] | None:
    """Width and height in pixels that the annotations were made on, if the record states both."""
    if record.width is None or record.height is None:
        return None
    return record.width, record.height
