"""Values that the configuration computes."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tfrec_stage.cli.config import StageConfig, manifests_by_split
from tfrec_stage.errors import ConfigError


@pytest.mark.parametrize(
    ("max_failures", "images", "allowed"),
    [
        ("0", 1000, 0),
        ("7", 1000, 7),
        ("7", 3, 7),
        ("0.5%", 1000, 5),
        ("0.5%", 199, 0),  # rounded down
        ("0.57%", 10_000, 57),  # 0.57 * 10_000 is a little less than 5700
        ("100%", 7, 7),
        (" 1 % ", 100, 1),
        ("0%", 100, 0),
    ],
)
def test_max_failures_is_a_number_or_a_percentage(max_failures: str, images: int, allowed: int) -> None:
    """A number is a limit as it is, a percentage one of all images, rounded down."""
    assert StageConfig(max_failures=max_failures).allowed_failures(images) == allowed


@pytest.mark.parametrize("max_failures", ["", "%", "-1", "-1%", "1.5", "nan%", "inf%", "five"])
def test_any_other_max_failures_is_refused(max_failures: str) -> None:
    """Anything else is refused with its key, before any image is read."""
    with pytest.raises(ConfigError, match=r"^max_failures: expected a number or a percentage such as 0\.1%, but got "):
        StageConfig(max_failures=max_failures).allowed_failures(0)


def test_the_manifest_of_each_split() -> None:
    """`manifest` is resolved with each split, those of params.yaml first; the configuration is unchanged."""
    composed = OmegaConf.create(
        {"split": "extra", "manifest": "m/${split}.jsonl", "splits": {"train": {"num_shards": 1}, "val": {}}}
    )
    assert manifests_by_split(composed) == {
        "train": Path("m/train.jsonl"),
        "val": Path("m/val.jsonl"),
        "extra": Path("m/extra.jsonl"),
    }
    assert composed.split == "extra"


def test_one_manifest_for_all_splits() -> None:
    """Without `${split}` in the path the result is empty: a manifest would be compared with itself."""
    composed = OmegaConf.create({"split": "train", "manifest": "m.jsonl", "splits": {"val": {}}})
    assert manifests_by_split(composed) == {}
