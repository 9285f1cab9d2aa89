"""The versions of the bytes that this program writes. They alone decide whether earlier output is still valid.

Raise a number by one in the commit after which the same input and options give other content than before:

    SHARD_FORMAT      any other byte in a shard or in a file of a profile (`label_map.pbtxt`, `metadata.json`, …): one
                      more key, another default, another order, another way to re-encode an image
    MANIFEST_FORMAT   any other byte in `manifest.jsonl` or `labels.json`

and in no other commit: with a new number everybody's output is built again. Changes of `index.json`, `stats.json`,
messages or speed are no reason. The digests in tests/golden show when a number has to be raised; afterwards
`make renew` stores new digests.

Fingerprints of shards contain SHARD_FORMAT. params.yaml repeats both numbers (`encode.format`, `importer.format`) for
DVC, which runs a stage again when they change; no stage depends on source files.
"""

from typing import Final

from tfrec_stage.errors import ConfigError
from tfrec_stage.options import show

SHARD_FORMAT: Final = 1
"""Version of the bytes of shards and of the files that profiles write."""
MANIFEST_FORMAT: Final = 1
"""Version of the bytes of manifests and of `labels.json`."""


def check_format(name: str, wanted: object, made: int) -> None:
    """Refuse a format that this program does not write.

    Args:
        name: of the option.
        wanted: its value.
        made: the version that this program writes.
    """
    if type(wanted) is int and wanted == made:
        return
    raise ConfigError(
        f"{name}: expected {made}, the format that the installed tfrec-stage writes, but got {show(wanted)}; install "
        f"a version that writes it, or set {name} to {made} in params.yaml and build again"
    )
