"""Digests of everything that decides bytes, and of nothing else: of one record (its key) and of one shard.

In a key: the version of the bytes (`formats`), the identity options that are not at their default, names of parts where
records have them, the record's content and its image's. In a fingerprint: the keys in their order, the versions of
Pillow and its libjpeg where pixels were encoded anew, and the compressor where the shard is compressed. In neither:
threads, paths of the machine, the names and the number of shards, and seed and shuffle, which show in the order.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import astuple

from tfrec_stage.build.record_encoder import OutputOptions
from tfrec_stage.format_versions import SHARD_FORMAT
from tfrec_stage.manifest.faults import changed_error
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ImageRecord, InvalidRecord, ParsedRecord
from tfrec_stage.schema.fields import fields_of
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KEY_SIZE: Final = 16
"""Bytes of a key."""

_SEEN_ELSEWHERE: Final = frozenset({"seed", "shuffle", "od_api_keys", "profiles", "compression", "format"})
"""Options that show in the order of records, in which keys these have, in what compresses the shard, in the version."""
_encode = msgspec.json.Encoder(order="deterministic").encode


class KeyMaker:
    """Keys of records under some identity options."""

    def __init__(self, output_options: OutputOptions, names: KeypointNames = NO_NAMES) -> None:
        self._identity = options_digest(output_options, names)

    def key(self, record: ParsedRecord) -> bytes:
        """Digest of options and content; of the image too where the record pins or holds it (`has_image`)."""
        return sha256(self._identity + _content(record)).digest()[:KEY_SIZE]

    def read(self, source: RecordReader, positions: Sequence[int], keys: Iterable[bytes]) -> Iterator[ParsedRecord]:
        """Records of a source, each the one that the key was made of.

        A manifest that is edited during a build would else have records stored under the keys of others, and every
        later build would take them from there.

        Args:
            source: where the records are.
            positions: which of them.
            keys: the key of each, as the first walk through the source gave it.

        Raises:
            ManifestError: a record is another one than planned.
        """
        for position, record, key in zip(positions, source.read(positions), keys, strict=True):
            self.compare(record, key, source, position)
            yield record

    def compare(self, record: ParsedRecord, key: bytes, source: RecordReader, position: int) -> None:
        """See to it that a record is the one that the key was made of.

        Raises:
            ManifestError: it is another one.
        """
        if self.key(record) != key:
            raise changed_error(source.where(position))


def has_image(record: ParsedRecord) -> bool:
    """Whether the record itself tells which bytes its image has, or needs none."""
    return isinstance(record, InvalidRecord) or record.sha256 is not None or record.encoded is not None


def key_with_image(key: bytes, image_digest: bytes) -> bytes:
    """Key of a record that does not pin its image, together with that image's SHA-256."""
    return sha256(key + image_digest).digest()[:KEY_SIZE]


def key_of_failure(key: bytes) -> bytes:
    """What stands for a record that failed: without it the shard is another one, not the shard after the repair."""
    return sha256(key + b"failed").digest()[:KEY_SIZE]


def shard_fingerprint(keys: bytes, pixels_by: str | None = None, compressed_by: str | None = None) -> str:
    """Digest of a shard; 64 hexadecimal digits.

    Args:
        keys: its records' keys, one after the other.
        pixels_by: what encoded pixels anew, where anything did (`pixel_codec`).
        compressed_by: what compressed the file, where anything did (`compressor`).
    """
    return sha256(keys + "".join(filter(None, (pixels_by, compressed_by))).encode()).hexdigest()


def split_keys(keys: bytes) -> Iterator[bytes]:
    """Keys that stand one after the other, one by one."""
    return (keys[start : start + KEY_SIZE] for start in range(0, len(keys), KEY_SIZE))


def options_as_dict(output_options: OutputOptions) -> dict[str, Any]:
    """The options as plain values, for JSON, in the groups of params.yaml; the format is told beside them."""
    groups = {group: _plain_options(options) for group, options in vars(output_options).items()}
    del groups["encode"]["format"]
    return groups


def options_digest(output_options: OutputOptions, names: KeypointNames = NO_NAMES) -> bytes:
    """Digest of the version of the bytes, the keys of a record and what decides, beside it, what stands under them.

    Options at their default are left out, so that a new option, whose default changes no byte, changes no digest.
    Whoever changes a default raises the version.

    Args:
        output_options: the options.
        names: of the parts of objects, as far as records have them.
    """
    chosen = {group: _chosen_options(options) for group, options in vars(output_options).items()}
    chosen["encode"] = {name: value for name, value in chosen["encode"].items() if name not in _SEEN_ELSEWHERE}
    keys = sorted(field.key for field in fields_of(output_options.encode))
    named = [sorted(names.items())] if names else []
    return sha256(json.dumps([SHARD_FORMAT, keys, chosen, *named], sort_keys=True).encode()).digest()


def _content(record: ParsedRecord) -> bytes:
    """What the record says, however it was written: the order of keys, spaces and defaults do not matter."""
    if isinstance(record, InvalidRecord):
        return _as_text([record.id, record.message])
    try:
        content = _encode(_values(record))
    except UnicodeEncodeError:  # a lone surrogate: no JSON, but the record shall fail alone, where it is encoded
        content = repr(_values(record)).encode(errors="backslashreplace")
    if type(record.extra) is str:
        return content + b"text" + record.extra.encode(errors="surrogatepass")
    # msgspec writes NaN as null, and Python's json does not: a record that fails must not have the key of another.
    return content + b"json" + _as_text(record.extra)


def _values(record: ImageRecord) -> tuple[Any, ...]:
    """All that decides bytes, but `extra`.

    Tuples and not the record: of that msgspec leaves out what is the very default object, but not what equals it, so
    that the key would depend on whether `conf: 1.0` was written down.
    """
    objects = record.object
    return (
        record.filename,
        record.id,
        astuple(record.class_),
        (objects.count, objects.area, objects.id, objects.is_crowd),
        astuple(objects.bbox),
        astuple(objects.parts),
        (record.sha256, record.height, record.width),
        (record.encoded, record.format, record.colorspace, record.channels),
    )


def _as_text(value: Any) -> bytes:
    """Any value as JSON text, what JSON cannot hold included."""
    try:
        return json.dumps(value, sort_keys=True, default=repr).encode()
    except ValueError:  # an integer of thousands of digits, which Python does not write: its record fails
        return b"not storable"


def _chosen_options(options: "DataclassInstance") -> dict[str, Any]:
    """Those that are not at their default."""
    default = _plain_options(type(options)())
    return {name: value for name, value in _plain_options(options).items() if value != default[name]}


def _plain_options(options: "DataclassInstance") -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(options).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, Enum) else value
