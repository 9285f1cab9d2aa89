"""The description of a dataset is checked before anything is built, and labels.json is read as written."""

import os
from pathlib import Path

import pytest

from tfrec_stage import create
from tfrec_stage.dataset_info import About, Label, read_labels, write_labels
from tfrec_stage.errors import ConfigError, SourceError

LABELS = (Label(0, "person", 1, ("nose", "Ohr, großes")), Label(1, "car", "/m/0k4j"))
GOLD = """\
[
  {
    "label": 0,
    "text": "person",
    "source_id": 1,
    "keypoints": [
      "nose",
      "Ohr, großes"
    ]
  },
  {
    "label": 1,
    "text": "car",
    "source_id": "/m/0k4j",
    "keypoints": []
  }
]
"""


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


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    """labels.json is a list of objects in UTF-8, indented by two spaces."""
    write_labels(tmp_path / "labels.json", LABELS)
    assert (tmp_path / "labels.json").read_text("utf-8") == GOLD


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Labels that were written are read back unchanged."""
    write_labels(tmp_path / "labels.json", LABELS)
    assert read_labels(tmp_path / "labels.json") == LABELS


def test_an_earlier_file_is_replaced_not_written_into(tmp_path: Path) -> None:
    """An earlier labels.json is replaced, so that a hard link to it in a cache keeps its content."""
    cached = tmp_path / "cached"
    cached.write_text("[]")
    os.link(cached, tmp_path / "labels.json")
    write_labels(tmp_path / "labels.json", LABELS)
    assert cached.read_text() == "[]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cached", "labels.json"]


@pytest.mark.parametrize("content", [None, "", "{}", '[{"label": "one", "text": ""}]'])
def test_a_file_without_labels_is_refused(tmp_path: Path, content: str | None) -> None:
    """A file that is missing or not a list of labels is an error that names it."""
    path = tmp_path / "labels.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SourceError, match=r"labels\.json: expected a list of labels"):
        read_labels(path)
