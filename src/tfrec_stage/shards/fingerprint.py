"""Digest of everything that decides the bytes of one shard, and of nothing else.

In it: the format version, the identity options, each record's content and each image's, in their order; and, where
pixels were encoded anew, the versions of Pillow and its libjpeg. Not in it: threads, paths of the machine, the names
and the number of shards, and seed and shuffle, which show in the order.
"""

import json
from dataclasses import asdict
from enum import Enum
from functools import cache
from hashlib import sha256
from typing import Any, Final

from PIL import features

from tfrec_stage.shards.encoder import EncodedRecord, FailedRecord, Identity

FORMAT_VERSION: Final = 1
"""Raised whenever the same input and options give other bytes than before."""

_SEEN_IN_ORDER: Final = ("seed", "shuffle")


class ShardFingerprint:
    """Grows record by record."""

    def __init__(self, identity: Identity) -> None:
        self._digest = sha256(_header(identity))
        self._reencoded = False

    def add(self, record_digest: bytes, outcome: EncodedRecord | FailedRecord) -> None:
        """Take in the next record and what became of it."""
        self._digest.update(record_digest)
        if isinstance(outcome, FailedRecord):
            # Without its image the shard is another one: it must not be taken for the shard after the repair.
            self._digest.update(b"failed")
            return
        self._digest.update(outcome.source_digest)
        self._reencoded |= outcome.image.is_reencoded

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        digest = self._digest.copy()
        if self._reencoded:
            digest.update(pixel_codec().encode())
        return digest.hexdigest()


def plain_identity(identity: Identity) -> dict[str, Any]:
    """The options as plain values, for JSON, in the groups of params.yaml."""
    groups = asdict(identity).items()
    return {group: {name: _plain(value) for name, value in options.items()} for group, options in groups}


@cache
def pixel_codec() -> str:
    """What encodes pixels anew: `pillow 13.0.0, libjpeg-turbo 3.1.2`."""
    library = "libjpeg-turbo" if features.check_feature("libjpeg_turbo") else "libjpeg"
    version = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    return f"pillow {features.version_module('pil')}, {library} {version}"


def _header(identity: Identity) -> bytes:
    groups = plain_identity(identity)
    for name in _SEEN_IN_ORDER:
        del groups["encode"][name]
    return json.dumps([FORMAT_VERSION, groups], sort_keys=True).encode()


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Enum) else value
