"""Shards → the image records they were built from, without TensorFlow."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tfrec_stage.errors import ShardError
from tfrec_stage.reading.fields import FIELD_BY_KEY, check_fields
from tfrec_stage.reading.sharding import ShardAssignment, assign_shards
from tfrec_stage.schema.fields import FIELDS, IMAGE_KEY, Field
from tfrec_stage.shards.directory import find_shards
from tfrec_stage.shards.reader import StoredRecord, read_features
from tfrec_stage.tfrecord.example import Feature, Kind

_PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    **{field.key: tuple(field.key.split("/")[1:]) for field in FIELDS},
    "image/object/is_crowd": ("object", "is_crowd"),
    "objects/is_crowd": ("object", "is_crowd"),
    # Our shards have these keys beside those that they repeat; shards of other programs have only these.
    "image/source_id": ("id",),
    "image/object/class/label": ("object", "bbox", "label"),
    "image/object/class/text": ("object", "bbox", "text"),
}
"""Where the value of a key belongs in an image record."""


def read_records(
    directory_or_glob: str | Path, *, shard: tuple[int, int] = (0, 1), fields: Iterable[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Image records of shards, one after the other, in the order in which they are stored.

    A record has the shape of records in manifests and in `create()`:

        {"id", "filename", "encoded", "height", "width", "colorspace", "channels", "format", "extra",
         "class": {"label", "text", "conf"},
         "object": {"count", "area", "id", "bbox": {"xmin", …}, "parts": {"x", …}}}

    and `object.is_crowd` if its key was written. Values are as they are stored:

    - floats have the precision of 32 bits (0.1 is 0.10000000149011612);
    - `extra` is a string, because an object and its JSON text are stored alike; `json.loads` parses it;
    - there is no `encoded` with `store_images: false`;
    - bytes that are not UTF-8, for example in names of files, are lone surrogates; `os.fsencode` gives the bytes back.

    `create()` with these records and the same options builds the same shards again, byte for byte, with two exceptions.
    Keys of profiles are the same only if 32 bits suffice to derive them, and have no names of keypoints. With
    `area: pixels` areas are read in pixels, not normalised, so they are not the same.

    Shards of other programs can be read too. Values without a key in the shard are not in the record, and keys that are
    not in the schema are ignored. `image/source_id` and `image/object/class/…` are used if there is no `image/id` or
    `image/object/bbox/…`.

    Args:
        directory_or_glob: a directory of shards, one of them, or a pattern such as `data/shards/*/train-*`.
        shard: `(index, count)` selects the records of one of several readers: every record belongs to exactly one index
            below count.
        fields: keys to read, for example `["image/filename", "image/class/label"]`; by default all.

    Yields:
        One record at a time, after its checksums were compared.

    Raises:
        ConfigError: `shard` or `fields` is wrong.
        ShardError: there are no shards, or a record is damaged or has values of another kind than the schema's; the
            text names the file and the byte offset. Problems of a single record are raised when it is reached.
    """
    wanted = check_fields(_PATHS if fields is None else fields, _PATHS)
    assignments = assign_shards(find_shards(directory_or_glob), shard)
    # An expression and no `yield`, so that wrong arguments are raised by the call and not by the first `next`.
    return (record for assignment in assignments for record in _read_assigned(assignment, wanted))


def _read_assigned(assignment: ShardAssignment, wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for number, stored in enumerate(read_features(assignment.path)):
        if assignment.includes(number):
            yield _to_record(assignment.path, stored, wanted)


def _to_record(path: Path, stored: StoredRecord, wanted: tuple[str, ...]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key in wanted:
        feature = stored.features.get(key)
        if feature is None or (FIELD_BY_KEY[key].is_scalar and not feature.values):
            continue
        try:
            value = _value(FIELD_BY_KEY[key], feature)
        except ShardError as error:
            raise ShardError(f"{path}: the record at byte {stored.offset}: {error}") from None
        if key != IMAGE_KEY or value:
            _put(record, _PATHS[key], value)
    return record


def _value(field: Field, feature: Feature) -> Any:
    if feature.kind is not field.kind and feature.values:
        raise ShardError(
            f"expected {field.key} to hold {field.kind.name.lower()} values, but it holds {feature.kind.name.lower()}"
        )
    if field.is_scalar and len(feature.values) != 1:
        raise ShardError(f"expected {field.key} to hold one value, but it holds {len(feature.values)}")
    values: list[Any] = feature.values
    if field.kind is Kind.BYTES and field.key != IMAGE_KEY:
        values = [value.decode(errors="surrogateescape") for value in values]
    return values[0] if field.is_scalar else values


def _put(record: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value unless it is set already.

    Keys that repeat another one come after it in `_PATHS`, so the other one has precedence.
    """
    *outer, name = path
    for group in outer:
        record = record.setdefault(group, {})
    record.setdefault(name, value)
