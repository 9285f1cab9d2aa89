"""What two splits share: an image by its sha256, or an id."""

import pytest

from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.verify.leakage import Overlap, check_splits


def sha(number: int) -> str:
    """Return a sha256 by number."""
    return f"{number:064x}"


def check(limit: int = 20, **splits: list[tuple[str, int | None]]):
    """Compare splits, given as id and image number of each record."""
    manifests = {
        split: RecordList({"filename": f"{name}.jpg", "id": name, "sha256": pin and sha(pin)} for name, pin in records)
        for split, records in splits.items()
    }
    return check_splits(manifests, limit)


class TestOverlaps:
    """Overlaps between any two splits are found."""

    def test_nothing_is_shared(self):
        """Splits with different ids and images have no overlap."""
        result = check(train=[("a", 1), ("b", 2)], val=[("c", 3)])
        assert (result.records, result.unpinned, result.count, result.overlaps) == (3, 0, 0, [])

    def test_one_image_under_two_ids(self):
        """An image in two splits is found, whatever its ids are."""
        result = check(train=[("a", 1)], val=[("b", 2)], test=[("c", 1)])
        assert result.overlaps == [Overlap("image", sha(1), "train", "test", "c.jpg")]
        assert str(result.overlaps[0]) == f"image in train and test: c.jpg (sha256 {sha(1)})"

    def test_one_id_of_two_images(self):
        """An id in two splits is found, whatever its images are."""
        (result,) = check(train=[("a", 1)], val=[("a", 2)]).overlaps
        assert str(result) == "id in train and val: a.jpg ('a')"

    def test_all_three_splits(self):
        """A third split is compared with both earlier ones."""
        result = check(train=[("a", 1)], val=[("b", 1)], test=[("c", 1)])
        assert [(each.first, each.second) for each in result.overlaps] == [
            ("train", "val"),
            ("train", "test"),
            ("val", "test"),
        ]

    def test_within_a_split_nothing_is_compared(self):
        """An image twice in one split is no overlap."""
        assert check(train=[("a", 1), ("b", 1)]).count == 0

    def test_records_without_a_sha256_are_compared_by_id(self):
        """Images are not read, and the number of unpinned records is counted."""
        result = check(train=[("a", None), ("b", 2)], val=[("a", None), ("c", None)])
        assert (result.count, result.unpinned) == (1, 3)

    def test_an_id_that_looks_like_an_image(self):
        """An id that looks like a sha256 is compared with ids only."""
        assert check(train=[(sha(1), 2)], val=[("b", 1)]).count == 0

    def test_the_first_are_kept_and_all_are_counted(self):
        """The first overlaps are kept, and all are counted."""
        names = [(str(number), number + 1) for number in range(100)]
        result = check(limit=3, train=names, val=names)
        assert (result.count, len(result.overlaps)) == (200, 3)


def test_malformed_records_from_python():
    """Malformed records raise a ManifestError, whatever the source of the manifest."""
    with pytest.raises(ManifestError):
        check_splits({"train": RecordList([{"filename": "a"}])}, 1)
