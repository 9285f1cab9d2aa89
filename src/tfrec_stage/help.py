"""What `--help` says around the configuration.

Hydra's own help copies its configuration repository once a group, which takes half a second more than an answer may.
"""

from pathlib import Path

_BEFORE = """\
Image datasets into sharded TFRecord files: a Hydra-configured stage of a DVC pipeline.

  python -m tfrec_stage dataset=train num_shards=10    manifest -> shards
  python -m tfrec_stage dataset=train stage=manifest   annotations -> manifest
  python -m tfrec_stage dataset=train stage=verify     shards -> proof that they are sound, or what is wrong with them
  python -m tfrec_stage dataset=train stage=stats      shards -> classes, boxes, keypoints and sizes, counted
  python -m tfrec_stage stage=clean clean.dry_run=true what store_dir keeps of outputs that are gone; false removes it
  python -m tfrec_stage --cfg job                      show the configuration alone
  python -m tfrec_stage --hydra-help                   more flags

== Groups (group=option) ==
{groups}

== Options (key=value) =="""

_AFTER = """
Exit codes: 0 done; 1 a wrong option or input, nothing is written; 3 more failed images (or, importing, problems) than
max_failures; 4 stage=verify found faults; 130 interrupted; 143 terminated. `encode`, `annotations` and `splits` come
from params.yaml: they change the bytes of shards, and DVC tracks them."""


def help_before(conf: Path) -> str:
    """The text before the configuration, with the groups of a conf/ directory."""
    groups = {folder.name: sorted(option.stem for option in folder.glob("*.yaml")) for folder in sorted(conf.iterdir())}
    return _BEFORE.format(
        groups="\n".join(f"{name}: {', '.join(options)}" for name, options in groups.items() if options)
    )


def help_after() -> str:
    """The text after the configuration."""
    return _AFTER
