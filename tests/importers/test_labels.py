import os

import pytest

from tfrec_stage.dataset_info import Label, read_labels, write_labels
from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.importers.interface import number_labels, show_names

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


def test_the_same_labels_give_the_same_bytes(tmp_path):
    """labels.json is a list of objects, two spaces deep, in UTF-8."""
    write_labels(tmp_path / "labels.json", LABELS)
    assert (tmp_path / "labels.json").read_text("utf-8") == GOLD


def test_what_was_written_is_read(tmp_path):
    """Labels come back as they went."""
    write_labels(tmp_path / "labels.json", LABELS)
    assert read_labels(tmp_path / "labels.json") == LABELS


def test_an_earlier_file_is_replaced_not_written_into(tmp_path):
    """An earlier labels.json may be a hard link into a cache; that copy stays as it was."""
    cached = tmp_path / "cached"
    cached.write_text("[]")
    os.link(cached, tmp_path / "labels.json")
    write_labels(tmp_path / "labels.json", LABELS)
    assert cached.read_text() == "[]"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cached", "labels.json"]


@pytest.mark.parametrize("content", [None, "", "{}", '[{"label": "one", "text": ""}]'])
def test_a_file_without_labels_is_refused(tmp_path, content):
    """A missing file, or one that is no list of labels, is an error that names it."""
    path = tmp_path / "labels.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SourceError, match=r"labels\.json: expected a list of labels"):
        read_labels(path)


def test_names_are_numbered_in_alphabetical_order():
    """Numbers are contiguous from 0, in the order of the names, and the name is the key in the annotations too."""
    labels = number_labels(["b", "a", "b"])
    assert labels == {"a": Label(0, "a", "a"), "b": Label(1, "b", "b")}
    assert list(labels) == ["a", "b"]


def test_stated_names_are_numbered_as_stated():
    """With all names stated, their order holds, whatever is found."""
    assert [label.text for label in number_labels(["a"], ["z", "a"]).values()] == ["z", "a"]


def test_many_names_are_shown_in_part():
    """A message does not list a thousand names."""
    assert show_names(range(1000)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … (1,000 in all)"


def test_a_name_stated_twice_is_refused():
    """One name cannot have two numbers."""
    with pytest.raises(ConfigError, match=r"names: expected each name once, but got \['a'\] more often"):
        number_labels([], ["a", "b", "a"])
