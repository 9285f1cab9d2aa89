"""The path of one image: record → file → proved JPEG → Example."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from tfrec_stage.annotations.policy import AnnotationPolicy, settle_annotations
from tfrec_stage.build.compression import Compression, CompressionOptions
from tfrec_stage.build.placement import PlacementOptions
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError, RecordError
from tfrec_stage.format_versions import SHARD_FORMAT, check_format
from tfrec_stage.images.encode import EncodedImage, encode_image
from tfrec_stage.images.file import read_image_file
from tfrec_stage.images.policy import ImagePolicy
from tfrec_stage.records import ImageRecord, InvalidRecord, ParsedRecord
from tfrec_stage.schema.fields import ExampleEncoder, SchemaOptions
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames
from tfrec_stage.schema.profiles import Profile

_PLAIN_ONLY: Final = frozenset({Profile.tfds, Profile.dali})
"""Consumers that read TFRecord files as they lie on disk."""


@dataclass
class EncodeOptions(CompressionOptions, PlacementOptions, ImagePolicy, SchemaOptions):
    """Every identity option of encoding in one flat group, each kept beside the code that obeys it.

    Raises:
        ConfigError: an option is out of its range, or contradicts another.
    """

    format: int = SHARD_FORMAT
    """Version of the bytes, for DVC to track; the one that this program makes (`formats`)."""

    def __post_init__(self) -> None:
        # The checks of every group, by name: with super() one class that does not pass the call on would switch off
        # those of the others in silence.
        CompressionOptions.__post_init__(self)
        PlacementOptions.__post_init__(self)
        ImagePolicy.__post_init__(self)
        SchemaOptions.__post_init__(self)
        check_format("encode.format", self.format, SHARD_FORMAT)
        shut_out = [profile.name for profile in self.profiles if profile in _PLAIN_ONLY]
        if self.compression is not Compression.none and shut_out:
            raise ConfigError(
                f"encode.compression: expected none with the profile {shut_out[0]}, whose readers take no compressed "
                f"shards, but got {self.compression.name}; leave out the one or the other"
            )


@dataclass
class OutputOptions:
    """Everything that decides the bytes of shards, besides the records: the groups of params.yaml."""

    encode: EncodeOptions = field(default_factory=EncodeOptions)
    """Order, images and keys."""
    annotations: AnnotationPolicy = field(default_factory=AnnotationPolicy)
    """What to do with annotations out of bounds."""


def keypoint_names_by_label(labels: Iterable[Label], options: EncodeOptions) -> KeypointNames:
    """Names of the parts of an object by its class, where records have them: with the profile `od_api`."""
    if Profile.od_api not in options.consumers:
        return NO_NAMES
    return {label.label: label.keypoints for label in labels if label.keypoints}


class EncodedRecord(NamedTuple):
    """One image on its way into a shard."""

    record: ImageRecord
    """What was encoded, mended where the policy says so."""
    mended: Counter[str]
    """What was mended."""
    payload: tuple[bytes, bytes, bytes]
    """Pieces of the Example: head, image, tail."""
    source_digest: bytes
    """SHA-256 of the image as it was read, 32 bytes."""
    image: EncodedImage
    """The image as it is stored."""
    duplicate_boxes: int
    """Boxes that repeat an earlier one of the image."""


class FailedRecord(NamedTuple):
    """One image that could not be encoded."""

    reason: str
    """One of `errors.REASONS`."""
    message: str
    """Why, for people."""


class RecordEncoder:
    """Image record → Example. Pure but for reading the image; safe to call from many threads, and to pickle."""

    def __init__(self, output_options: OutputOptions, images_root: Path, names: KeypointNames = NO_NAMES) -> None:
        self.output_options = output_options
        self.images_root = images_root
        self.names = dict(names)
        self._encode_record = ExampleEncoder(output_options.encode, names).encode

    def __reduce__(self) -> tuple[type["RecordEncoder"], tuple[OutputOptions, Path, KeypointNames]]:
        return RecordEncoder, (self.output_options, self.images_root, self.names)

    def __call__(self, record: ParsedRecord) -> EncodedRecord | FailedRecord:
        """Encode one record; what is wrong with it comes back as a value, since the other images go on."""
        if isinstance(record, InvalidRecord):
            return FailedRecord("record_invalid", record.message)
        try:
            return self._encode(record)
        except RecordError as error:
            return FailedRecord(error.reason, str(error))

    def _encode(self, record: ImageRecord) -> EncodedRecord:
        data = self._read(record) if record.encoded is None else record.encoded
        digest = sha256(data)
        if record.sha256 not in (None, digest.hexdigest()):
            raise RecordError(
                "image_changed",
                f"expected an image with sha256 {record.sha256}, as the manifest pins it, but {record.filename} has "
                f"{digest.hexdigest()}; import the annotations again, or restore the image",
            )
        options = self.output_options.encode
        try:
            image = encode_image(data, options, declared=_declared_size(record))
        except RecordError as error:
            raise self._with_other_faults(error, record) from None
        if not options.store_images:  # readers load the file itself
            image = image._replace(format=image.source_format)
        settled = settle_annotations(record, self.output_options.annotations, image.width, image.height)
        payload = self._encode_record(settled.record, image)
        return EncodedRecord(settled.record, settled.mended, payload, digest.digest(), image, settled.duplicate_boxes)

    def encode_around(self, record: ParsedRecord, image: EncodedImage) -> tuple[bytes, bytes, bytes]:
        """Pieces of the Example of a record whose image is encoded already; no file is read.

        Raises:
            RecordError: the record is invalid, or its annotations contradict each other or the image.
        """
        if isinstance(record, InvalidRecord):
            raise RecordError("record_invalid", record.message)
        settled = settle_annotations(record, self.output_options.annotations, image.width, image.height)
        return self._encode_record(settled.record, image)

    def _with_other_faults(self, error: RecordError, record: ImageRecord) -> RecordError:
        """A declared size that is not the image's, told together with whatever else the annotations have wrong."""
        size = _declared_size(record)
        if error.reason != "annotation_invalid" or size is None:
            return error
        try:
            settle_annotations(record, self.output_options.annotations, *size)
        except RecordError as more:
            return RecordError(error.reason, f"{error}; {more}")
        return error

    def _read(self, record: ImageRecord) -> bytes:
        return read_image_file(os.path.join(self.images_root, record.filename))  # noqa: PTH118 - ten times as fast


def _declared_size(record: ImageRecord) -> tuple[int, int] | None:
    if record.width is None or record.height is None:
        return None
    return record.width, record.height
