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


def check_format(name: str, wanted: object, current: int) -> None:
    """Refuse a format that this program does not write.

    Args:
        name: name of the option.
        wanted: value of the option.
        current: the version that this program writes.
    """
    # `1.0` and `true` equal 1, but DVC's run cache has them as other values.
    if type(wanted) is int and wanted == current:
        return
    raise ConfigError(
        f"{name}: expected {current}, the format that the installed tfrec-stage writes, but got {show(wanted)}; "
        f"install a version that writes it, or set {name} to {current} in params.yaml and build again"
    )
