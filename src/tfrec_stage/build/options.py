"""The output options: everything, besides the records, that decides the bytes of shards."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from tfrec_stage.annotations.policy import AnnotationPolicy
from tfrec_stage.build.placement import PlacementOptions
from tfrec_stage.cache.earlier_shards import ImageUse
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.format_versions import SHARD_FORMAT, check_format
from tfrec_stage.images.policy import ImagePolicy
from tfrec_stage.options import check_types
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames
from tfrec_stage.schema.options import Profile, SchemaOptions, needs_image_sha256

_NEED_UNCOMPRESSED: Final = frozenset({Profile.tfds, Profile.dali})
"""Profiles whose readers cannot read compressed TFRecord files."""


class Compression(Enum):
    """How the frames of a shard are stored on disk."""

    none = "none"
    """Uncompressed: every TFRecord reader takes them."""
    gzip = "gzip"
    """The shard is a gzip file, which readers need to know: `compression_type="GZIP"`."""


@dataclass
class CompressionOptions:
    """Compression of shards. Output options: they change the bytes of shards, though not those of records."""

    compression: Compression = Compression.none
    """How the frames of a shard are stored."""

    def __post_init__(self) -> None:
        check_types(self, "encode")


@dataclass
class EncodeOptions(CompressionOptions, PlacementOptions, ImagePolicy, SchemaOptions):
    """The group `encode` of params.yaml. Each option is defined beside the code that obeys it.

    Raises:
        ConfigError: an option is out of its range, or contradicts another.
    """

    format: int = SHARD_FORMAT
    """Version of the bytes, so that DVC tracks it. Only the version that this program writes is accepted."""

    def __post_init__(self) -> None:
        # Every base class is called by name. With super(), one class that does not pass the call on would silently
        # switch off the checks of the others.
        CompressionOptions.__post_init__(self)
        PlacementOptions.__post_init__(self)
        ImagePolicy.__post_init__(self)
        SchemaOptions.__post_init__(self)
        check_format("encode.format", self.format, SHARD_FORMAT)
        conflicting = [profile.name for profile in self.profiles if profile in _NEED_UNCOMPRESSED]
        if self.compression is not Compression.none and conflicting:
            raise ConfigError(
                f"encode.compression: expected none with the profile {conflicting[0]}, whose readers cannot read "
                f"compressed shards, but got {self.compression.name}; drop one of the two"
            )

    @property
    def image_use(self) -> ImageUse:
        """What records need of their images."""
        return ImageUse(self.verify, self.store_images, needs_image_sha256(self))


@dataclass
class OutputOptions:
    """All output options, in the groups of params.yaml."""

    encode: EncodeOptions = field(default_factory=EncodeOptions)
    """Placement, images, keys and compression."""
    annotations: AnnotationPolicy = field(default_factory=AnnotationPolicy)
    """What to do with annotations that are out of bounds or duplicated."""


def keypoint_names_by_label(labels: Iterable[Label], options: EncodeOptions) -> KeypointNames:
    """Return the names of an object's keypoints by its label; empty unless records store them (profile `od_api`)."""
    if Profile.od_api not in options.active_profiles:
        return NO_NAMES
    return {label.label: label.keypoints for label in labels if label.keypoints}
