"""What two splits share: one image by its sha256, or one id."""

import pytest

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.verify.leakage import Overlap, check_splits


def sha(number: int) -> str:
    return f"{number:064x}"


def check(limit: int = 20, **splits: list[tuple[str, int | None]]):
    """Compare splits, given by the id and the number of the image of each record."""
    manifests = {
        split: RecordList({"filename": f"{name}.jpg", "id": name, "sha256": pin and sha(pin)} for name, pin in records)
        for split, records in splits.items()
    }
    return check_splits(manifests, limit)


class TestOverlaps:
    """Found over any two splits."""

    def test_nothing_is_shared(self):
        """Other ids and other images: nothing to tell."""
        found = check(train=[("a", 1), ("b", 2)], val=[("c", 3)])
        assert (found.records, found.unpinned, found.count, found.overlaps) == (3, 0, 0, [])

    def test_one_image_under_two_ids(self):
        """The same bytes in two splits, whatever they are called."""
        found = check(train=[("a", 1)], val=[("b", 2)], test=[("c", 1)])
        assert found.overlaps == [Overlap("image", sha(1), "train", "test", "c.jpg")]
        assert str(found.overlaps[0]) == f"image in train and test: c.jpg (sha256 {sha(1)})"

    def test_one_id_of_two_images(self):
        """The same id in two splits, whatever its image is."""
        (found,) = check(train=[("a", 1)], val=[("a", 2)]).overlaps
        assert str(found) == "id in train and val: a.jpg ('a')"

    def test_all_three_splits(self):
        """A third split is compared with both before it."""
        found = check(train=[("a", 1)], val=[("b", 1)], test=[("c", 1)])
        assert [(each.first, each.second) for each in found.overlaps] == [
            ("train", "val"),
            ("train", "test"),
            ("val", "test"),
        ]

    def test_within_a_split_nothing_is_compared(self):
        """An image that a split has twice is its own affair."""
        assert check(train=[("a", 1), ("b", 1)]).count == 0

    def test_records_without_a_sha256_are_compared_by_id(self):
        """Images are not read; how many are unpinned is counted."""
        found = check(train=[("a", None), ("b", 2)], val=[("a", None), ("c", None)])
        assert (found.count, found.unpinned) == (1, 3)

    def test_an_id_is_no_image(self):
        """An id that reads like a sha256 is compared with ids alone."""
        assert check(train=[(sha(1), 2)], val=[("b", 1)]).count == 0

    def test_the_first_are_kept_and_all_are_counted(self):
        """A split that is wholly in another one gives the first findings and their number."""
        names = [(str(number), number + 1) for number in range(100)]
        found = check(limit=3, train=names, val=names)
        assert (found.count, len(found.overlaps)) == (200, 3)


def test_manifests_that_python_gives_may_be_wrong_too():
    """Whatever source a manifest has, its faults are told."""
    with pytest.raises(ManifestError):
        check_splits({"train": RecordList([{"filename": "a"}])}, 1)
