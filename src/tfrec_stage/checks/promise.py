"""What the records of a set of shards have to be: as `index.json` says, else as the first of them shows."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tfrec_stage.annotations import AnnotationPolicy
from tfrec_stage.checks.frames import UNREADABLE, WholeFrame, walk_frames
from tfrec_stage.checks.shard_set import ShardSet
from tfrec_stage.codecs.example import Feature, decode_example
from tfrec_stage.codecs.schema import IMAGE_KEY, Field, SchemaOptions, fields_of
from tfrec_stage.errors import ShardError
from tfrec_stage.shards.shard_reader import open_shard


class Promise(NamedTuple):
    """What every record has to be."""

    fields: tuple[Field, ...]
    """Its keys; it may have more."""
    stores_images: bool
    """Whether it holds its image."""
    policy: AnnotationPolicy
    """What was done with annotations out of bounds."""


def find_promise(found: ShardSet) -> Promise:
    """What the options in the index promise; without them, what the first record that can be read has."""
    if found.identity is not None:
        encode = found.identity.encode
        return Promise(tuple(fields_of(encode)), encode.store_images, found.identity.annotations)
    first = next(_records(found), {})
    longer = tuple(fields_of(SchemaOptions(od_api_keys=True)))
    has_all = bool(first) and {field.key for field in longer} <= {*first}
    is_stored = IMAGE_KEY not in first or first[IMAGE_KEY].values != [b""]
    return Promise(longer if has_all else tuple(fields_of(SchemaOptions())), is_stored, AnnotationPolicy())


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
