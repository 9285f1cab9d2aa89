"""Shards → the image records they were made of, without TensorFlow."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tfrec_stage.errors import ShardError
from tfrec_stage.reading.fields import KNOWN, check_fields
from tfrec_stage.reading.sharding import Share, deal_shards
from tfrec_stage.schema.fields import FIELDS, IMAGE_KEY, Field
from tfrec_stage.shards.reader import StoredRecord, find_shards, read_features
from tfrec_stage.tfrecord.example import Feature, Kind

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    **{field.key: tuple(field.key.split("/")[1:]) for field in FIELDS},
    "image/object/is_crowd": ("object", "is_crowd"),
    "objects/is_crowd": ("object", "is_crowd"),
    # Written beside the keys that they repeat; others write them in place of those.
    "image/source_id": ("id",),
    "image/object/class/label": ("object", "bbox", "label"),
    "image/object/class/text": ("object", "bbox", "text"),
}
"""Where an image record has the value of a key."""


def read_records(
    directory_or_glob: str | Path, *, shard: tuple[int, int] = (0, 1), fields: Iterable[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Image records of shards, one after the other, in the order in which they are stored.

    A record has the shape that manifests and `create()` know:

        {"id", "filename", "encoded", "height", "width", "colorspace", "channels", "format", "extra",
         "class": {"label", "text", "conf"},
         "object": {"count", "area", "id", "bbox": {"xmin", …}, "parts": {"x", …}}}

    and `object.is_crowd` where its key was written. Given to `create()` with the same options, records make the same
    shards again, byte for byte; with the keys of profiles as far as these follow from 32 bits and without the names of
    keypoints, and not with `area: pixels`, as areas come back in pixels. Values are as they are stored:

    - floats have the precision of 32 bits (0.1 is 0.10000000149011612);
    - `extra` is a string, for an object and its JSON text are stored alike; `json.loads` makes one of it;
    - `encoded` is left out with `store_images: false`;
    - bytes that are not UTF-8, as in names of files, stand as lone surrogates; `os.fsencode` gives them back.

    Shards of other programs are read as well: what a record has no key for is left out, keys that are not of the schema
    are passed over, and `image/source_id` and `image/object/class/…` stand in for `id`, `bbox.label` and `bbox.text`.

    Args:
        directory_or_glob: a directory of shards, one of them, or a pattern such as `data/shards/*/train-*`.
        shard: `(index, count)` gives this reader its share: every record belongs to exactly one index below count.
        fields: keys to give, for example `["image/filename", "image/class/label"]`; by default all.

    Yields:
        A record, its checksums compared.

    Raises:
        ConfigError: `shard` or `fields` is wrong.
        ShardError: there are no shards, or a record is damaged or not of the schema's kinds; the text names the file
            and the byte offset. What concerns a single record is raised when it is reached.
    """
    wanted = check_fields(_PLACES if fields is None else fields, _PLACES)
    shares = deal_shards(find_shards(directory_or_glob), shard)
    return (record for share in shares for record in _read_share(share, wanted))


def _read_share(share: Share, wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for number, stored in enumerate(read_features(share.path)):
        if share.takes(number):
            yield _to_record(share.path, stored, wanted)


def _to_record(path: Path, stored: StoredRecord, wanted: tuple[str, ...]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key in wanted:
        feature = stored.features.get(key)
        if feature is None or (KNOWN[key].is_scalar and not feature.values):
            continue
        try:
            value = _value(KNOWN[key], feature)
        except ShardError as error:
            raise ShardError(f"{path}: the record at byte {stored.offset}: {error}") from None
        if key != IMAGE_KEY or value:
            _put(record, _PLACES[key], value)
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


def _put(record: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    """Set a value where none is set yet: keys that stand in for others come after them."""
    *outer, name = place
    for group in outer:
        record = record.setdefault(group, {})
    record.setdefault(name, value)
