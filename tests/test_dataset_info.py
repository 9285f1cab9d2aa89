"""A data set in words."""

from pathlib import Path

import pytest

from tfrec_stage import create
from tfrec_stage.dataset_info import About
from tfrec_stage.errors import ConfigError


@pytest.mark.parametrize("version", ["", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x"])
def test_a_version_is_three_numbers(version: str) -> None:
    """Both consumers take no other."""
    with pytest.raises(ConfigError, match=r"^about\.version: expected three numbers such as 1\.0\.0, but got "):
        About(version=version)


@pytest.mark.parametrize("published", ["yesterday", "2025", "20250131", "2025-02-30"])
def test_a_date_is_a_day(published: str) -> None:
    """A date that is none, or of another form, is told before anything is built."""
    with pytest.raises(ConfigError, match=r"^about\.published: expected a date such as 2025-01-31, but got "):
        About(published=published)


def test_an_unknown_key_is_told(tmp_path: Path) -> None:
    """A misspelt key drops nothing in silence."""
    with pytest.raises(ConfigError, match=r"^about: expected some of name, .*, but got 'licence'$"):
        create([], "train", tmp_path / "out", 1, 1, about={"licence": "CC0"})


def test_only_text_is_taken(tmp_path: Path) -> None:
    """A number where a text belongs is told with its key, and a wrong version as it is everywhere."""
    with pytest.raises(ConfigError, match=r"^about\.name: expected text, but got 3$"):
        create([], "train", tmp_path / "out", 1, 1, about={"name": 3})
    with pytest.raises(ConfigError, match=r"^about\.version: expected three numbers"):
        create([], "train", tmp_path / "out", 1, 1, about={"version": "2"})
