"""The description of a dataset is checked before anything is built."""

from pathlib import Path

import pytest

from tfrec_stage import create
from tfrec_stage.dataset_info import About
from tfrec_stage.errors import ConfigError


@pytest.mark.parametrize("version", ["", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x"])
def test_a_version_is_three_numbers(version: str) -> None:
    """Any other form of a version is refused, as TFDS and Croissant would."""
    with pytest.raises(ConfigError, match=r"^about\.version: expected three numbers such as 1\.0\.0, but got "):
        About(version=version)


@pytest.mark.parametrize("published", ["yesterday", "2025", "20250131", "2025-02-30"])
def test_a_date_is_a_day(published: str) -> None:
    """A date that does not exist or has another form is refused."""
    with pytest.raises(ConfigError, match=r"^about\.published: expected a date such as 2025-01-31, but got "):
        About(published=published)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A misspelt key is an error that lists the known keys."""
    with pytest.raises(ConfigError, match=r"^about: expected some of name, .*, but got 'licence'$"):
        create([], "train", tmp_path / "out", 1, 1, about={"licence": "CC0"})


def test_create_checks_the_values(tmp_path: Path) -> None:
    """`create` refuses a number in place of text, and a wrong version, with the key."""
    with pytest.raises(ConfigError, match=r"^about\.name: expected text, but got 3$"):
        create([], "train", tmp_path / "out", 1, 1, about={"name": 3})
    with pytest.raises(ConfigError, match=r"^about\.version: expected three numbers"):
        create([], "train", tmp_path / "out", 1, 1, about={"version": "2"})
