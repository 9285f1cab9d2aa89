"""The versions of what this program writes. Nothing else decides whether what was built before is still right.

Raise a number, by one, in the commit that makes the same input and the same options give other content than before:

    SHARD_FORMAT      another byte in a shard, or in a file of a profile (`label_map.pbtxt`, `metadata.json`, …): a key
                      more, another default, another order, another way to re-encode an image
    MANIFEST_FORMAT   another byte in `manifest.jsonl` or `labels.json`

and in no other commit: everything that anybody has built is built again when they take up the new number. What reaches
only `index.json`, `stats.json`, messages or the time a build takes is no reason. The digests in tests/golden tell when
a number has to be raised; `make renew` stores new ones, once it is.

Fingerprints of shards contain SHARD_FORMAT. params.yaml repeats both numbers (`encode.format`, `importer.format`) for
DVC: it runs a stage again when they change, and no stage depends on source files.
"""

from typing import Final

from tfrec_stage.errors import ConfigError
from tfrec_stage.options import show

SHARD_FORMAT: Final = 1
"""Version of the bytes of shards and of the files of profiles."""
MANIFEST_FORMAT: Final = 1
"""Version of the bytes of manifests and of `labels.json`."""


def check_format(name: str, wanted: object, made: int) -> None:
    """Refuse a format that this program does not make.

    Args:
        name: of the option.
        wanted: its value.
        made: the one that can be had.
    """
    if type(wanted) is int and wanted == made:
        return
    raise ConfigError(
        f"{name}: expected {made}, the format that the installed tfrec-stage makes, but got {show(wanted)}; install "
        f"a version that makes that one, or set {name} to {made} in params.yaml and build anew"
    )
