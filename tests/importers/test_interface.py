"""Numbers of class names, and names in messages."""

import pytest

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.importers.interface import number_labels, show_names


def test_names_are_numbered_in_alphabetical_order():
    """Labels are numbered from 0 in alphabetical order, and their `source_id` is the name."""
    labels = number_labels(["b", "a", "b"])
    assert labels == {"a": Label(0, "a", "a"), "b": Label(1, "b", "b")}
    assert list(labels) == ["a", "b"]


def test_stated_names_are_numbered_as_stated():
    """Stated names are numbered in their order, whatever names are found."""
    assert [label.text for label in number_labels(["a"], ["z", "a"]).values()] == ["z", "a"]


def test_many_names_are_shown_in_part():
    """Only the first ten names are shown, with their number."""
    assert show_names(range(1000)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … (1,000 in all)"


def test_a_name_stated_twice_is_refused():
    """A name that is stated twice is refused."""
    with pytest.raises(ConfigError, match=r"names: expected each name once, but got \['a'\] more often"):
        number_labels([], ["a", "b", "a"])
