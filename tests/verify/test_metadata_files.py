"""Every count and entry of index.json, stats.json, classes.json and failures.jsonl is compared with the shards."""

import json
import re
from collections.abc import Callable

import pytest

from tests.verify.conftest import Build
from tests.verify.damage import (
    RECORD,
    RECORDS,
    edit_json,
    features_of,
    frames_of,
    location_of,
    replace_file,
    summaries,
)


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda index: index.update(format_version=99), "index_invalid"),
        (lambda index: index.update(name="test"), "index_invalid"),
        (lambda index: index.update(num_shards=4), "index_invalid"),
        (lambda index: index.update(records=99), "index_invalid"),
        (lambda index: index["shards"].pop(), "index_invalid"),
        (lambda index: index["shards"][1].update(name="train-00009-of-00003"), "index_invalid"),
        (lambda index: index["options"].pop("encode"), "index_invalid"),
        (lambda index: index["options"]["encode"].update(jpeg_quality=0), "index_invalid"),
        (lambda index: index["options"]["encode"].update(colour=1), "index_invalid"),
        (lambda index: index.pop("shards"), "index_invalid"),
        (lambda index: index["options"]["encode"].update(jpeg_quality=1), "fingerprint_mismatch"),
        (lambda index: index["options"]["encode"].update(seed=1), "fingerprint_mismatch"),
        (lambda index: index["shards"][1].update(fingerprint="0" * 64), "fingerprint_mismatch"),
        (lambda index: (index["shards"][1].update(records=9), index.update(records=12 + 9 - 4)), "index_"),
        (lambda index: index["shards"][1].update(size_bytes=9), "index_mismatch"),
        (lambda index: index["shards"][1].update(crc32c="00000000"), "index_mismatch"),
    ],
)
def test_an_edited_index(build: Build, edit: Callable, kind: str) -> None:
    """Every edited field of the index is reported, and no record is."""
    edit_json(build.index, edit)
    report = build.verify()
    assert report.findings.total
    assert all(finding.kind.startswith(kind) and finding.record is None for finding in report.findings.kept), (
        report.findings.kept
    )
    assert report.counts["records"] in {RECORDS, RECORDS - len(frames_of(build.shard(2)))}


def test_an_index_that_is_not_json(build: Build) -> None:
    """An index that is not JSON is reported, and the shards are verified without it."""
    replace_file(build.index, b"{")
    report = build.verify()
    assert summaries(report.findings.kept) == [("index_invalid", "index.json", None, None)]
    assert set(report.skipped) == {"index", "contents", "fingerprints"}
    assert report.counts["records"] == RECORDS


@pytest.mark.parametrize(
    "name",
    [
        "images",
        "image_bytes",
        "boxes",
        "parts",
    ],
)
def test_edited_stats(build: Build, name: str) -> None:
    """Every count in stats.json is compared."""
    edit_json(build.stats, lambda stats: stats.update({name: 7}))
    (finding,) = build.verify().findings.kept
    assert (finding.kind, finding.file) == ("stats_mismatch", "stats.json")
    assert finding.message.startswith(f"{name}: the shards have ")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda classes: classes[0].update(boxes=7),
            "label 0: the shards have . images and . boxes of it, but classes",
        ),
        (
            lambda classes: classes[1].update(images=70),
            "label 1: the shards have . images and . boxes of it, but classes",
        ),
        (lambda classes: classes.pop(0), "label 0: the shards have .* but classes.json says 0 and 0$"),
        (lambda classes: classes.clear(), "label 0: the shards have .* says 0 and 0; . more labels differ$"),
        (lambda classes: classes.append(classes[0]), "expected each label once"),
        (
            lambda classes: classes.append({"label": 9, "name": "x", "images": 1, "boxes": 0}),
            "label 9: the shards have 0 ",
        ),
        (lambda classes: classes[0].update(label="x"), "expected a list of classes, but: "),
    ],
)
def test_edited_classes(build: Build, edit: Callable[[list], None], message: str) -> None:
    """Images and boxes of every class in classes.json are compared."""
    edit_json(build.classes, edit)
    (finding,) = build.verify().findings.kept
    assert (finding.kind, finding.file) == ("stats_mismatch", "classes.json")
    assert re.match(message, finding.message)


def test_classes_without_images(build: Build) -> None:
    """classes.json may list classes that no record has, as labels.json names them."""
    more = {"label": 9, "name": "unicorn", "images": 0, "boxes": 0}
    edit_json(build.classes, lambda classes: classes.append(more))
    assert build.verify().is_sound


def test_an_output_of_an_earlier_version(build: Build) -> None:
    """The output of an earlier version, without classes.json and with more in stats.json, is valid."""
    (build.classes).unlink()
    edit_json(build.stats, lambda stats: stats.update(object_labels={"0": 1}, records_per_shard=[1]))
    report = build.verify()
    assert report.is_sound
    assert report.skipped == {"classes": "there is no classes.json"}


@pytest.mark.parametrize("edit", [{"failed": 0}, {"failures": {}}, {"failures": {"image_missing": 1}}])
def test_edited_counts_of_failures(build: Build, edit: dict) -> None:
    """The failures in stats.json are compared with failures.jsonl."""
    edit_json(build.stats, lambda stats: stats.update(edit))
    assert summaries(build.verify().findings.kept) == [("failures_mismatch", "failures.jsonl", None, None)]


def test_an_empty_list_of_failures(build: Build) -> None:
    """If failures.jsonl lacks a record, that record is missing from the shards."""
    replace_file(build.directory / "failures.jsonl", b"")
    report = build.verify()
    assert report.findings.by_kind == {"failures_mismatch": 1, "record_missing": 1, "fingerprint_mismatch": 1}


def test_a_failure_that_is_in_the_shards(build: Build) -> None:
    """A stored record that failures.jsonl lists as failed is reported at its location."""
    image_id = features_of(build.shard(1), RECORD)["image/id"].values[0].decode()
    path = build.directory / "failures.jsonl"
    line = {"filename": "x", "id": image_id, "reason": "image_corrupt", "error_msg": ""}
    replace_file(path, path.read_bytes() + json.dumps(line).encode() + b"\n")
    report = build.verify()
    assert ("record_surplus", *location_of(build)) in summaries(report.findings.kept)
    assert report.findings.by_kind["failures_mismatch"] == 1


def test_failures_that_are_not_records(build: Build) -> None:
    """Lines of failures.jsonl that are no records are reported, and the checks that need them are skipped."""
    replace_file(build.directory / "failures.jsonl", b"[]\n")
    report = build.verify()
    assert report.findings.by_kind == {"failures_mismatch": 1, "record_missing": 1}
    assert set(report.skipped) == {"failures", "fingerprints"}
