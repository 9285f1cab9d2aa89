"""The schema that records are expected to have: from the options in `index.json`, or else from the first record."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Final, NamedTuple

from tfrec_stage.annotations.policy import AnnotationPolicy
from tfrec_stage.errors import ShardError
from tfrec_stage.schema.fields import AREA_KEY, FIELDS, IMAGE_KEY, Field
from tfrec_stage.schema.od_api import OD_API_FIELDS
from tfrec_stage.schema.options import AreaUnit, fields_of
from tfrec_stage.schema.tfds import TFDS_FIELDS
from tfrec_stage.shards.reader import open_shard
from tfrec_stage.tfrecord.example import Feature, decode_example
from tfrec_stage.verify.frames import UNREADABLE, WholeFrame, read_frames
from tfrec_stage.verify.shards import ShardSet

_SEARCHED: Final = 100
"""How many records are searched for one with areas."""


class ExpectedSchema(NamedTuple):
    """What every record has to contain."""

    fields: tuple[Field, ...]
    """Its keys; more are allowed."""
    stores_images: bool
    """Whether it contains its image."""
    policy: AnnotationPolicy
    """The policy that its annotations follow."""
    area: AreaUnit = AreaUnit.normalized
    """Unit of the areas of objects."""


def find_expected_schema(shard_set: ShardSet) -> ExpectedSchema:
    """Return the schema that the options in the index imply; without them, that of the first readable record."""
    if shard_set.output_options is not None:
        options, encode = shard_set.output_options, shard_set.output_options.encode
        return ExpectedSchema(fields_of(encode), encode.store_images, options.annotations, encode.area)
    first = next(_records(shard_set), {})
    # Shards of other writers may have some keys of a profile, so only all of them together make it expected.
    profiles = [fields for fields in (OD_API_FIELDS, TFDS_FIELDS) if {field.key for field in fields} <= {*first}]
    stores_images = IMAGE_KEY not in first or first[IMAGE_KEY].values != [b""]
    fields = (*FIELDS, *chain.from_iterable(profiles))
    return ExpectedSchema(fields, stores_images, AnnotationPolicy(), _guess_area_unit(shard_set))


def _guess_area_unit(shard_set: ShardSet) -> AreaUnit:
    """Guess the unit of areas from the first record that has some.

    Hardly any object is smaller than one pixel, and none is larger than its image, which is 1 if normalised.
    """
    for record in islice(_records(shard_set), _SEARCHED):
        areas = record[AREA_KEY].values if AREA_KEY in record else []
        if areas:
            is_large = any(isinstance(area, float) and area > 1 for area in areas)
            return AreaUnit.pixels if is_large else AreaUnit.normalized
    return AreaUnit.normalized


def _records(shard_set: ShardSet) -> Iterator[Mapping[str, Feature]]:
    """Iterate over all records that can be read. Defects are skipped: the main pass over the shards reports them."""
    for shard in shard_set.shards:
        try:
            with open_shard(shard.path) as stream:
                payloads = (frame.payload for frame in read_frames(stream) if isinstance(frame, WholeFrame))
                yield from _decode_each(payloads)
        except UNREADABLE:
            continue


def _decode_each(payloads: Iterator[bytes]) -> Iterator[Mapping[str, Feature]]:
    for payload in payloads:
        try:
            yield decode_example(payload)
        except ShardError:
            continue
