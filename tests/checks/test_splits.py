"""What two splits share: one image by its sha256, or one id."""

import json
from pathlib import Path

import pytest
from tests.workspace import copy_conf, files_below, stage

from tfrec_stage.checks.splits import Overlap, check_splits
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.record_list import RecordList


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


def record(name: str, pin: int | None) -> dict:
    return {"filename": f"{name}.jpg", "id": name} | ({"sha256": sha(pin)} if pin else {})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """conf/ and params.yaml, and manifests of train and val that share an id and an image."""
    write(tmp_path, "train", [record("a", 1), record("b", 2)])
    write(tmp_path, "val", [record("a", 3), record("c", 2), record("d", None)])
    return copy_conf(tmp_path)


def write(workspace: Path, split: str, records: list[dict]) -> None:
    path = workspace / "data" / "manifests" / split / "manifest.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records))


class TestStage:
    """`stage=verify`, as a user runs it."""

    def test_overlaps_are_warnings(self, workspace: Path) -> None:
        """Each is told with both splits and the file, absent splits are named, and the exit code is 0."""
        before = files_below(workspace)
        done = stage("stage=verify", "dataset=train", directory=workspace)
        assert done.stderr.splitlines() == [
            "test: there is no data/manifests/test/manifest.jsonl, so it is not compared",
            "1 of 5 records have no sha256: compared by their ids alone",
            "warning: 2 ids or images are in two splits",
            "  id in train and val: a.jpg ('a')",
            f"  image in train and val: c.jpg (sha256 {sha(2)})",
        ]
        assert done.stdout == "train, val: 5 records compared, 2 in two splits\n"
        assert files_below(workspace) == before

    def test_clean_splits_are_silent(self, workspace: Path) -> None:
        """Nothing shared and everything pinned: one line on standard output."""
        write(workspace, "val", [record("c", 3)])
        write(workspace, "test", [record("d", 4)])
        done = stage("stage=verify", directory=workspace)
        assert (done.stdout, done.stderr) == ("train, val, test: 4 records compared, 0 in two splits\n", "")

    def test_a_flood_is_counted(self, workspace: Path) -> None:
        """The first twenty are told, and how many more there are."""
        for split in ("train", "val"):
            write(workspace, split, [record(str(number), None) for number in range(100)])
        lines = stage("stage=verify", directory=workspace).stderr.splitlines()
        assert lines[2] == "warning: 100 ids or images are in two splits"
        assert (lines[-1], len(lines)) == ("  … and 80 more", 24)

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("manifest=all.jsonl", "manifest: expected a path with ${split} in it, as stage=verify reads those of all"),
            ("dataset=trian", "dataset: expected one of test, train, val, but got 'trian'"),
        ],
    )
    def test_wrong_options(self, workspace: Path, override: str, message: str) -> None:
        """A wrong option is told in one line."""
        done = stage("stage=verify", override, directory=workspace, expect=1)
        assert done.stderr.startswith(f"error: {message}")
        assert done.stderr.count("\n") == 1

    def test_a_bad_manifest_is_told(self, workspace: Path) -> None:
        """A record of the wrong shape ends the comparison, with its line."""
        write(workspace, "val", [{"filename": "a"}])
        done = stage("stage=verify", directory=workspace, expect=1)
        assert "line 1: `$` has no `id`, which every record needs" in done.stderr


def test_manifests_that_python_gives_may_be_wrong_too():
    """Whatever source a manifest has, its faults are told."""
    with pytest.raises(ManifestError):
        check_splits({"train": RecordList([{"filename": "a"}])}, 1)
