from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_stage.errors import ConfigError
from tfrec_stage.importers import SplitOptions
from tfrec_stage.records import ImageRecord

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def record(key, name="a.jpg"):
    return ImageRecord(filename=name, id=str(key))


def test_the_split_of_an_image_never_changes():
    """The split of an id never changes: the expected splits are literals."""
    options = SplitOptions(FRACTIONS)
    assert [options.split_of(record(key)) for key in range(8)] == ["test", *["train"] * 7]


def test_splits_have_about_the_size_of_their_fractions():
    """Of 10,000 images, each split gets its fraction within one percent of all."""
    counts = Counter(SplitOptions(FRACTIONS).split_of(record(key)) for key in range(10_000))
    assert {name: round(count / 10_000, 2) for name, count in counts.items()} == FRACTIONS


@given(st.text(), st.integers(0, 2**63 - 1))
def test_an_image_is_in_exactly_one_split(key, seed):
    """Every image belongs to exactly one split, whatever its id and the seed."""
    options = SplitOptions(FRACTIONS, seed=seed)
    assert sum(options.belongs_to(split, record(key)) for split in FRACTIONS) == 1


@given(st.text())
def test_the_order_of_the_fractions_does_not_matter(key):
    """The order of `fractions` does not change the splits."""
    backwards = SplitOptions(dict(reversed(FRACTIONS.items())))
    assert SplitOptions(FRACTIONS).split_of(record(key)) == backwards.split_of(record(key))


def test_another_seed_gives_another_division():
    """Another seed gives another division."""
    first, second = ([SplitOptions(FRACTIONS, seed=seed).split_of(record(key)) for key in range(99)] for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("group_by", [r"video(\d+)_", r"video\d+", r"(?:clip(\d+)|video(\d+))_"])
def test_frames_of_one_video_stay_together(group_by):
    """Images with the same key are in the same split; the key is the first group that matched, else the match."""
    options = SplitOptions({"train": 0.5, "val": 0.5}, group_by=group_by)
    by_video = [
        {options.split_of(record(f"{video}-{frame}", f"video{video}_{frame}.jpg")) for frame in range(20)}
        for video in range(20)
    ]
    assert {len(splits) for splits in by_video} == {1}
    assert len(set.union(*by_video)) == 2


def test_a_name_without_a_key_is_refused():
    """A file name that `group_by` does not match is refused."""
    with pytest.raises(ConfigError, match=r"group_by: expected 'video' to match every file name, but got 'a\.jpg'"):
        SplitOptions(FRACTIONS, group_by="video").split_of(record(1))


def test_without_fractions_every_image_belongs_to_every_split():
    """Without fractions every image belongs to every split."""
    assert SplitOptions().belongs_to("train", record(1))


def test_an_unknown_split_is_refused():
    """A split without a fraction is refused."""
    with pytest.raises(ConfigError, match="split: expected one of test, train, val, but got 'valid'"):
        SplitOptions(FRACTIONS).belongs_to("valid", record(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": {"train": 0.8, "val": 0.1}}, "expected a sum of 1, but got 0.9"),
        ({"fractions": {"train": 1.2, "val": -0.2}}, r"expected shares in \(0, 1\], but got"),
        ({"group_by": "("}, "group_by: expected a regular expression, but got '\\('"),
    ],
)
def test_wrong_options_are_refused(options, message):
    """Invalid fractions and an invalid regular expression are errors that name the option."""
    with pytest.raises(ConfigError, match=message):
        SplitOptions(**options)
