"""Digests of everything that decides bytes, and of nothing else.

    image key      what decides the stored bytes of an image: the version of the bytes (`format_versions`), the options
                   of `ImagePolicy` that are not at their default (without `verify`, which decides whether it is
                   stored), the content of the image file, and the size that the annotations were made on
    key            what decides a record: the version of the bytes, all output options that are not at their default,
                   the names of keypoints where records store them, the content of the record and that of its image
    fingerprint    what decides a shard: the keys of its records in their order, the versions of Pillow and libjpeg
                   where images were re-encoded, and the compressor where the shard is compressed

The versions of Pillow and libjpeg are in no key: they are compared when a record or an image is found by its key
(`cache.reuse`). No digest covers threads, paths of the machine, the name or number of shards. Seed and shuffle are
covered by the order of the keys.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import astuple

from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions
from tfrec_stage.format_versions import SHARD_FORMAT
from tfrec_stage.images.policy import ImagePolicy
from tfrec_stage.manifest.problems import changed_error
from tfrec_stage.manifest.source import RecordReader
from tfrec_stage.records import ImageRecord, InvalidRecord, ParsedRecord
from tfrec_stage.schema.od_api import NO_NAMES, KeypointNames
from tfrec_stage.schema.options import fields_of
from tfrec_stage.tfrecord.gzip import zlib_version

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

KEY_SIZE: Final = 16
"""Bytes in a key."""
NO_KEY: Final = bytes(KEY_SIZE)
"""Stands for the image key of an image whose content is not known."""

_COVERED_ELSEWHERE: Final = frozenset({"seed", "shuffle", "od_api_keys", "profiles", "compression", "format"})
"""Options of `encode` that need not be in a key: seed and shuffle decide the order of keys, od_api_keys and profiles
decide the features (whose names are hashed), compression is covered by the fingerprint, format is SHARD_FORMAT."""
_encode = msgspec.json.Encoder(order="deterministic").encode


class KeyMaker:
    """Makes the keys of records under given output options."""

    def __init__(self, output_options: OutputOptions, keypoint_names: KeypointNames = NO_NAMES) -> None:
        self._options_digest = options_digest(output_options, keypoint_names)
        self._image_options_digest = image_options_digest(output_options.encode)

    def key(self, record: ParsedRecord) -> bytes:
        """Return the digest of options and record; it covers the image if the record pins or holds it (`has_image`)."""
        return sha256(self._options_digest + _content(record)).digest()[:KEY_SIZE]

    def image_key(self, record: ImageRecord, image_hash: bytes) -> bytes:
        """Return the image key of a record.

        Args:
            record: the record.
            image_hash: SHA-256 of its image file, 32 bytes.
        """
        width, height = record.width, record.height
        frame = b"" if width is None or height is None else b"%d %d" % (width, height)
        return sha256(self._image_options_digest + image_hash + frame).digest()[:KEY_SIZE]

    def stated_image_key(self, record: ParsedRecord) -> bytes:
        """Return the image key of a record that pins or holds its image; `NO_KEY` if it takes reading the image."""
        if isinstance(record, InvalidRecord):
            return NO_KEY
        if record.encoded is None:
            return NO_KEY if record.sha256 is None else self.image_key(record, bytes.fromhex(record.sha256))
        image_hash = sha256(record.encoded)
        is_as_pinned = record.sha256 in (None, image_hash.hexdigest())
        return self.image_key(record, image_hash.digest()) if is_as_pinned else NO_KEY

    def read(self, source: RecordReader, positions: Sequence[int], keys: Iterable[bytes]) -> Iterator[ParsedRecord]:
        """Read records again and check that each is the one its key was made from.

        Without the check, a manifest edited during a build would store records under the keys of others, and every
        later build would copy them from there.

        Args:
            source: the records.
            positions: positions of the records to read.
            keys: the key of each, as made when the manifest was first read.

        Raises:
            ManifestError: a record has changed.
        """
        for position, record, key in zip(positions, source.read(positions), keys, strict=True):
            self.compare(record, key, source, position)
            yield record

    def compare(self, record: ParsedRecord, key: bytes, source: RecordReader, position: int) -> None:
        """Check that a record is the one a key was made from.

        Raises:
            ManifestError: it is another one.
        """
        if self.key(record) != key:
            raise changed_error(source.where(position))


def has_image(record: ParsedRecord) -> bool:
    """Return whether the key of a record covers its image: it pins or holds the image, or can never be encoded."""
    return isinstance(record, InvalidRecord) or record.sha256 is not None or record.encoded is not None


def key_with_image(key: bytes, image_hash: bytes) -> bytes:
    """Combine the key of an unpinned record with the SHA-256 of its image."""
    return sha256(key + image_hash).digest()[:KEY_SIZE]


def key_of_failure(key: bytes) -> bytes:
    """Return a placeholder key for a failed record: this shard's fingerprint must differ from the repaired shard's."""
    return sha256(key + b"failed").digest()[:KEY_SIZE]


def shard_fingerprint(keys: bytes, pixel_codec: str | None = None, compressor: str | None = None) -> str:
    """Return the fingerprint of a shard, 64 hexadecimal digits.

    Args:
        keys: the keys of its records, concatenated in the order of writing.
        pixel_codec: the library that re-encoded images (`images.encode.pixel_codec`); None if no image was re-encoded.
        compressor: the library that compressed the file (`compressor_version`); None if it is not compressed.
    """
    return sha256(keys + "".join(filter(None, (pixel_codec, compressor))).encode()).hexdigest()


def compressor_version(compression: Compression) -> str | None:
    """Name the library that compresses shards, with its version: another version may write other bytes."""
    return f"gzip ({zlib_version()})" if compression is Compression.gzip else None


def split_keys(keys: bytes) -> Iterator[bytes]:
    """Iterate over concatenated keys."""
    return (keys[start : start + KEY_SIZE] for start in range(0, len(keys), KEY_SIZE))


def options_as_dict(output_options: OutputOptions) -> dict[str, Any]:
    """Return the options as plain JSON values, in the groups of params.yaml, without `encode.format`."""
    groups = {group: _plain_options(options) for group, options in vars(output_options).items()}
    del groups["encode"]["format"]
    return groups


def options_digest(output_options: OutputOptions, keypoint_names: KeypointNames = NO_NAMES) -> bytes:
    """Digest the version of the bytes, the names of the features and the options that decide their values.

    Options at their default are omitted. A new option whose default changes no byte then changes no digest, and
    nobody's shards are rebuilt. Changing a default needs another version in `format_versions`.

    Args:
        output_options: the options.
        keypoint_names: names of an object's keypoints by its label; empty if records do not store them.
    """
    chosen = {group: _options_not_default(options) for group, options in vars(output_options).items()}
    chosen["encode"] = {name: value for name, value in chosen["encode"].items() if name not in _COVERED_ELSEWHERE}
    features = sorted(field.key for field in fields_of(output_options.encode))
    names = [sorted(keypoint_names.items())] if keypoint_names else []
    return sha256(json.dumps([SHARD_FORMAT, features, chosen, *names], sort_keys=True).encode()).digest()


def image_options_digest(options: EncodeOptions) -> bytes:
    """Digest the version of the bytes and the options that decide the stored bytes of images.

    Args:
        options: the group `encode`.
    """
    policy = {option.name: getattr(options, option.name) for option in fields(ImagePolicy)}
    chosen = _options_not_default(ImagePolicy(**policy))
    chosen.pop("verify", None)
    return sha256(json.dumps([SHARD_FORMAT, "image", chosen], sort_keys=True).encode()).digest()


def _content(record: ParsedRecord) -> bytes:
    """Serialise a record for its key. Order of JSON keys, white space and written-out defaults make no difference."""
    if isinstance(record, InvalidRecord):
        return _as_text([record.id, record.message])
    try:
        content = _encode(_values(record))
    except UnicodeEncodeError:
        # A lone surrogate cannot be JSON. The record fails when it is encoded; here it only needs a key of its own.
        content = repr(_values(record)).encode(errors="backslashreplace")
    # The tags keep the text "[1]" apart from the JSON value [1].
    if type(record.extra) is str:
        return content + b"text" + record.extra.encode(errors="surrogatepass")
    # msgspec writes NaN as null, Python's json does not. A record with NaN fails, so it needs a key of its own.
    return content + b"json" + _as_text(record.extra)


def _values(record: ImageRecord) -> tuple[Any, ...]:
    """Return everything that decides bytes except `extra`.

    The values are passed as tuples because msgspec omits from a struct whatever is identical to the default object, but
    not what merely equals it: the key would depend on whether `conf: 1.0` was written out.
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
    """Return any value as JSON text, including values that are not valid JSON, such as NaN or an object's repr."""
    try:
        return json.dumps(value, sort_keys=True, default=repr).encode()
    except ValueError:  # an integer of more than 4,300 digits; the record fails when it is encoded
        return b"not storable"


def _options_not_default(options: "DataclassInstance") -> dict[str, Any]:
    default = _plain_options(type(options)())
    return {name: value for name, value in _plain_options(options).items() if value != default[name]}


def _plain_options(options: "DataclassInstance") -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(options).items()}


def _plain(value: Any) -> Any:
    """Replace enum members by their names, also in lists."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, Enum) else value
