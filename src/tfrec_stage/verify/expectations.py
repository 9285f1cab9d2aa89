"""What the records of a set of shards have to be: as `index.json` says, else as the first of them shows."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Final, NamedTuple

from tfrec_stage.annotations.policy import AnnotationPolicy
from tfrec_stage.errors import ShardError
from tfrec_stage.schema.fields import (
    AREA_KEY,
    FIELDS,
    IMAGE_KEY,
    OD_API_FIELDS,
    TFDS_FIELDS,
    AreaUnit,
    Field,
    fields_of,
)
from tfrec_stage.shards.reader import open_shard
from tfrec_stage.tfrecord.example import Feature, decode_example
from tfrec_stage.verify.frames import UNREADABLE, WholeFrame, walk_frames
from tfrec_stage.verify.shards import ShardSet

_LOOKED_AT: Final = 100
"""Records among which one with areas is looked for."""


class Promise(NamedTuple):
    """What every record has to be."""

    fields: tuple[Field, ...]
    """Its keys; it may have more."""
    stores_images: bool
    """Whether it holds its image."""
    policy: AnnotationPolicy
    """What was done with annotations out of bounds."""
    area: AreaUnit = AreaUnit.normalized
    """Unit of the areas of objects."""


def find_promise(found: ShardSet) -> Promise:
    """What the options in the index promise; without them, what the first record that can be read has."""
    if found.output_options is not None:
        encode = found.output_options.encode
        return Promise(fields_of(encode), encode.store_images, found.output_options.annotations, encode.area)
    first = next(_records(found), {})
    has_all = [further for further in (OD_API_FIELDS, TFDS_FIELDS) if {field.key for field in further} <= {*first}]
    is_stored = IMAGE_KEY not in first or first[IMAGE_KEY].values != [b""]
    return Promise((*FIELDS, *chain.from_iterable(has_all)), is_stored, AnnotationPolicy(), _unit_of_areas(found))


def _unit_of_areas(found: ShardSet) -> AreaUnit:
    """As the first areas show; hardly any object is smaller than a pixel, and none is larger than its image."""
    for record in islice(_records(found), _LOOKED_AT):
        areas = record[AREA_KEY].values if AREA_KEY in record else []
        if areas:
            is_large = any(isinstance(area, float) and area > 1 for area in areas)
            return AreaUnit.pixels if is_large else AreaUnit.normalized
    return AreaUnit.normalized


def _records(found: ShardSet) -> Iterator[Mapping[str, Feature]]:
    for shard in found.shards:
        try:
            with open_shard(shard.path) as stream:
                payloads = (frame.payload for frame in walk_frames(stream) if isinstance(frame, WholeFrame))
                yield from _decode_each(payloads)
        except UNREADABLE:
            continue


def _decode_each(payloads: Iterator[bytes]) -> Iterator[Mapping[str, Feature]]:
    for payload in payloads:
        try:
            yield decode_example(payload)
        except ShardError:
            continue
