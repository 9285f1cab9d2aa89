"""One image record → one encoded `tf.train.Example`, or the reason why it cannot be encoded.

record ──read, hash──▶ image file ──encode_image──▶ JPEG ──validate_annotations──▶ annotations ──▶ Example
record ──────image of an earlier shard────────────▶ JPEG ──validate_annotations──▶ annotations ──▶ Example
"""

import os
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tfrec_stage.annotations.policy import validate_annotations
from tfrec_stage.build.failures import FailedRecord
from tfrec_stage.build.fingerprint import KeyMaker
from tfrec_stage.build.image_hashes import read_and_hash
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.cache.hash_cache import ImageHash
from tfrec_stage.errors import RecordError
from tfrec_stage.images.encode import EncodedImage, encode_image, pixel_codec
from tfrec_stage.images.file import read_image_file
from tfrec_stage.records import ImageRecord, InvalidRecord, ParsedRecord
from tfrec_stage.schema.encoder import ExampleEncoder
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames
from tfrec_stage.schema.options import needs_image_sha256
from tfrec_stage.shards.metadata import FailedImage


class EncodedRecord(NamedTuple):
    """One encoded record, ready to be written into a shard."""

    record: ImageRecord
    """The record as stored: repaired where the annotation policy says so."""
    repaired: Counter[str]
    """How many annotations were repaired, by what was done."""
    payload: tuple[bytes, bytes, bytes]
    """The encoded Example in three pieces: head, image, tail. Joining them would copy the image."""
    image_hash: ImageHash | None
    """The hash of the image file as it was read, if the record does not pin it."""
    image_key: bytes | None
    """The image key of the record, by what was read; None if the image comes from an earlier shard."""
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
        self._needs_sha256 = needs_image_sha256(output_options.encode)
        self._keys = KeyMaker(output_options, keypoint_names)

    def __reduce__(self) -> tuple[type["RecordEncoder"], tuple[OutputOptions, Path, KeypointNames]]:
        # ExampleEncoder holds functions that cannot be pickled, so a worker process builds its own.
        return RecordEncoder, (self.output_options, self.images_root, self.keypoint_names)

    def __call__(
        self, record: ParsedRecord, known: EncodedImage | FailedImage | None = None
    ) -> EncodedRecord | FailedRecord:
        """Encode one record. A bad record is returned as a value, not raised: the build goes on with the others.

        Args:
            record: the record.
            known: its image from an earlier shard, which is then not read; or why it cannot be stored: it is then read,
                as it may be missing or another one by now, but not decoded.
        """
        if isinstance(record, InvalidRecord):
            return FailedRecord("record_invalid", record.message)
        try:
            if isinstance(known, EncodedImage):
                return self._encode(record, known)
            data, digest, image_hash = self._read(record)
            image_key = self._keys.image_key(record, digest)
            image = self._encode_image(data, record, digest.hex(), image_key, known)
            return self._encode(record, image, image_hash, image_key)
        except _FailedImageError as error:
            return FailedRecord(error.reason, str(error), error.image)
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

    def _encode(
        self,
        record: ImageRecord,
        image: EncodedImage,
        image_hash: ImageHash | None = None,
        image_key: bytes | None = None,
    ) -> EncodedRecord:
        options = self.output_options
        if not options.encode.store_images:
            # Readers open the original file, so image/format has to be that of the file, not of the JPEG it becomes.
            image = image._replace(format=image.source_format)
        if self._needs_sha256 and image.sha256 is None:
            image = image._replace(sha256=sha256(image.data).hexdigest())
        settled = validate_annotations(record, options.annotations, image.width, image.height)
        payload = self._encode_example(settled.record, image)
        return EncodedRecord(
            settled.record, settled.repaired, payload, image_hash, image_key, image, settled.duplicate_boxes
        )

    def _read(self, record: ImageRecord) -> tuple[bytes, bytes, ImageHash | None]:
        """Return the content of the image file and its SHA-256, and what may be cached of that if no record pins it."""
        if record.encoded is not None:
            data = record.encoded
        else:
            path = os.path.join(self.images_root, record.filename)  # noqa: PTH118 - ten times as fast
            if record.sha256 is None:
                data, image_hash = read_and_hash(path, record.filename)
                return data, image_hash.digest, image_hash
            data = read_image_file(path)
        digest = sha256(data)
        # Checked before decoding: a replaced image may well decode, but the annotations were made for another one.
        if record.sha256 not in (None, digest.hexdigest()):
            raise RecordError(
                "image_changed",
                f"expected an image with sha256 {record.sha256}, as the manifest pins it, but {record.filename} has "
                f"{digest.hexdigest()}; import the annotations again, or restore the image",
            )
        return data, digest.digest(), None

    def _encode_image(
        self, data: bytes, record: ImageRecord, digest: str, image_key: bytes, known: FailedImage | None
    ) -> EncodedImage:
        options = self.output_options.encode
        if known is not None and known.sha256 == digest:
            error = RecordError(known.reason, known.message)
            raise _FailedImageError(self._with_annotation_problems(error, record), known)
        try:
            return encode_image(data, options, annotated_size=record.annotated_size, sha256=digest)
        except RecordError as error:
            explained = self._with_annotation_problems(error, record)
            if "memory" in str(error).lower():  # the next build may have enough of it
                raise explained from None
            verify, reason, message = options.verify.name, error.reason, str(error)
            failed = FailedImage(image_key.hex(), digest, reason, message, verify, pixel_codec())
            raise _FailedImageError(explained, failed) from None

    def _with_annotation_problems(self, error: RecordError, record: ImageRecord) -> RecordError:
        """Add the other problems of the annotations if the declared size is wrong, to report all together."""
        size = record.annotated_size
        if error.reason != "annotation_invalid" or size is None:
            return error
        try:
            validate_annotations(record, self.output_options.annotations, *size)
        except RecordError as more:
            return RecordError(error.reason, f"{error}; {more}")
        return error


class _FailedImageError(RecordError):
    """The content of an image cannot be stored."""

    def __init__(self, error: RecordError, image: FailedImage) -> None:
        super().__init__(error.reason, str(error))
        self.image = image
