"""Options that decide which keys a record has."""

from dataclasses import dataclass, field
from enum import Enum

from tfrec_stage.errors import ConfigError
from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.options import check_types
from tfrec_stage.records import ImageRecord
from tfrec_stage.schema.fields import AREA_KEY, FIELDS, Field
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames, od_api_fields
from tfrec_stage.schema.tfds import TFDS_FIELDS


class Profile(Enum):
    """One reader or tool. A profile adds keys to records or files beside shards, and never changes anything else."""

    od_api = "od_api"
    """TensorFlow Object Detection API and Model Garden: additional keys, and `label_map.pbtxt`."""
    tfds = "tfds"
    """TensorFlow Datasets: additional keys, and `features.json` and `dataset_info.json`."""
    dali = "dali"
    """NVIDIA DALI and PyTorch's `tfrecord`: an index of each shard's records, `.idx`."""
    csv = "csv"
    """A CSV file with one row per box, in pixels."""
    croissant = "croissant"
    """Croissant: `metadata.json`, which describes the dataset to any tool."""


class AreaUnit(Enum):
    """Unit of `image/object/area`."""

    normalized = "normalized"
    """Divided by width times height."""
    pixels = "pixels"
    """Square pixels of the stored image, as in COCO and as the Object Detection API's metrics expect."""


@dataclass
class SchemaOptions:
    """Which keys a record has. Output options: they change the bytes of shards."""

    od_api_keys: bool = False
    """Older name of the profile `od_api`."""
    profiles: list[Profile] = field(default_factory=list)
    """What to prepare the shards for, besides plain TFRecord readers."""
    area: AreaUnit = AreaUnit.normalized
    """Unit of `image/object/area`."""
    store_images: bool = True
    """False leaves `image/encoded` empty; readers then load `image/filename`."""

    def __post_init__(self) -> None:
        check_types(self, "encode")
        if len(set(self.profiles)) < len(self.profiles):
            names = ", ".join(profile.name for profile in self.profiles)
            raise ConfigError(f"encode.profiles: expected each once, but got [{names}]")

    @property
    def active_profiles(self) -> tuple[Profile, ...]:
        """All profiles, each once, including `od_api` if `od_api_keys` is set."""
        return tuple(dict.fromkeys([*self.profiles, *([Profile.od_api] if self.od_api_keys else [])]))


def fields_of(options: SchemaOptions, names: KeypointNames = NO_NAMES) -> tuple[Field, ...]:
    """Return the keys that a record has with these options, in the order of the README's table.

    Args:
        options: which keys to include.
        names: names of keypoints, for the profile `od_api`.
    """
    fields = FIELDS if options.area is AreaUnit.normalized else tuple(map(_with_area_in_pixels, FIELDS))
    if Profile.od_api in options.active_profiles:
        fields += od_api_fields(names)
    if Profile.tfds in options.active_profiles:
        fields += TFDS_FIELDS
    return fields


def needs_image_sha256(options: SchemaOptions) -> bool:
    """Return whether a key of the records holds the SHA-256 of the stored image."""
    return Profile.od_api in options.active_profiles


def _with_area_in_pixels(core: Field) -> Field:
    return core._replace(values=_areas_in_pixels) if core.key == AREA_KEY else core


def _areas_in_pixels(record: ImageRecord, image: EncodedImage) -> list[float]:
    return [area * image.width * image.height for area in record.object.area]
