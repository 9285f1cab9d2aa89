"""Damaged, missing and surplus files are found under their kind and at their location, and nothing else is reported."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verify.conftest import Build
from tests.verify.damage import (
    RECORD,
    RECORDS,
    Expected,
    edit_frames,
    edit_record,
    features_of,
    flip,
    frames_of,
    image_of,
    index_mismatch,
    location_of,
    offsets_of,
    replace_file,
    set_values,
    summaries,
)
from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.framing import HEADER
from tfrec_stage.verify.findings import KINDS
from tfrec_stage.verify.verify import VerifyRequest, verify_shards

Change = Callable[[Build], Expected]


def test_the_pristine_build_is_sound(build: Build) -> None:
    """A valid build has no findings, no check is skipped, and everything is counted."""
    report = build.verify()
    assert report.is_sound, report.findings.kept
    assert report.skipped == {}
    assert (report.counts["records"], report.lost_ids, report.warnings) == (RECORDS, [], [])
    assert report.statistics["boxes"]["count"] == 24
    assert next(report.summary()).endswith(": sound")


def flip_bit(kind: str, position: Callable[[Build], int]) -> Change:
    """Return a change that flips one bit of the damaged record."""

    def change(build: Build) -> Expected:
        expected = [(kind, *location_of(build))]
        flip(build.shard(1), location_of(build)[2] + position(build))
        return expected

    return change


def offset_of(text: Callable[[Build], bytes]) -> Callable[[Build], int]:
    """Return where some bytes begin in the frame of the damaged record."""
    return lambda build: frames_of(build.shard(1))[RECORD].index(text(build))


def length_of_frame(build: Build) -> int:
    """Return the length of the damaged record's frame in bytes."""
    return len(frames_of(build.shard(1))[RECORD])


FLIPS = {
    "length": (flip_bit("length_crc", lambda _: 0), None),
    "high byte of the length": (flip_bit("length_crc", lambda _: 7), None),
    "CRC of the length": (flip_bit("length_crc", lambda _: 8), 0),
    "a key": (flip_bit("payload_crc", offset_of(lambda _: b"image/height")), 1),
    "an annotation": (flip_bit("payload_crc", lambda build: offset_of(lambda _: b"bbox/xmax")(build) + 20), 1),
    "the image": (flip_bit("payload_crc", lambda build: offset_of(image_of)(build) + 300), 1),
    "CRC of the payload": (flip_bit("payload_crc", lambda build: length_of_frame(build) - 1), 1),
}
"""The flipped bit, and the number of records it makes unreadable; None for all that follow."""


@pytest.mark.parametrize("name", FLIPS)
def test_a_flipped_bit(build: Build, name: str) -> None:
    """A flipped bit is reported once at its record; other records are read, and the ids of lost ones are listed."""
    behind = len(frames_of(build.shard(1))) - RECORD
    change, lost = FLIPS[name]
    expected = change(build)
    report = build.verify()
    assert summaries(report.findings.kept) == expected
    lost = behind if lost is None else lost
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS - lost, lost)
    assert summaries(build.verify(with_manifest=False).findings.kept) == expected


def cut(build: Build, at: int) -> None:
    """Cut shard 1 off after so many bytes."""
    replace_file(build.shard(1), build.shard(1).read_bytes()[:at])


@pytest.mark.parametrize("position", [1, 11, 12, 13, 300, -5, -4, -1])
def test_a_file_that_ends_inside_a_record(build: Build, position: int) -> None:
    """A file that ends inside a record is reported at that record."""
    name, record, offset = location_of(build)
    cut(build, offset + (position if position > 0 else length_of_frame(build) + position))
    report = build.verify()
    assert summaries(report.findings.kept) == [("truncated", name, record, offset)]
    assert len(report.lost_ids) == RECORDS - report.counts["records"] > 0


def test_a_file_that_ends_between_records(build: Build) -> None:
    """A file that ends between two records differs from the index; the ids of the lost records are listed."""
    frames = frames_of(build.shard(1))
    cut(build, location_of(build)[2])
    report = build.verify()
    missing = len(frames) - RECORD
    assert summaries(report.findings.kept) == [index_mismatch(build)]
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS - missing, missing)


@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 12, b"garbage, more than a header has"])
def test_trailing_garbage(build: Build, garbage: bytes) -> None:
    """Bytes after the last record are reported at their offset, and all records are read."""
    shard = build.shard(1)
    data = shard.read_bytes()
    records = len(frames_of(shard))
    replace_file(shard, data + garbage)
    report = build.verify()
    assert summaries(report.findings.kept) == [("trailing_bytes", shard.name, records, len(data))]
    assert (report.counts["records"], report.lost_ids) == (RECORDS, [])


def test_a_doubled_record(build: Build) -> None:
    """The second copy of a record is reported with the location of the first."""
    edit_frames(build.shard(1), lambda frames: [*frames, frames[RECORD]])
    report = build.verify()
    last = len(frames_of(build.shard(1))) - 1
    assert summaries(report.findings.kept) == [index_mismatch(build), ("duplicate_id", *location_of(build, last))]
    assert f"is also that of record {RECORD} in {build.shard(1).name}" in report.findings.kept[1].message


def test_a_record_of_another_shard(build: Build) -> None:
    """A copy of a record in another shard is reported there, also without manifest and index."""
    stolen = frames_of(build.shard(0))[0]
    edit_frames(build.shard(1), lambda frames: [stolen, *frames])
    assert summaries(build.verify().findings.kept) == [index_mismatch(build), ("duplicate_id", *location_of(build, 0))]
    build.index.unlink()
    report = build.verify(with_manifest=False)
    assert report.findings.by_kind == {"duplicate_id": 1, "stats_mismatch": len(report.findings.kept) - 1}


def test_a_removed_record(build: Build) -> None:
    """A removed record is one finding about its shard, and its id is listed."""
    gone = features_of(build.shard(1), RECORD)["image/id"].values[0].decode()
    edit_frames(build.shard(1), lambda frames: frames[:RECORD] + frames[RECORD + 1 :])
    report = build.verify()
    assert summaries(report.findings.kept) == [index_mismatch(build)]
    assert report.lost_ids == [gone]


def test_a_missing_shard(build: Build) -> None:
    """A missing shard is one finding, and the ids of its records are listed."""
    records = len(frames_of(build.shard(1)))
    build.shard(1).unlink()
    report = build.verify()
    assert summaries(report.findings.kept) == [("shard_missing", build.shard(1).name, None, None)]
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS - records, records)


def test_two_swapped_shards(build: Build) -> None:
    """Swapped shards are reported with the name of the other one, and no record is."""
    first, second = build.shard(0), build.shard(1)
    first.rename(build.directory / "aside")
    second.rename(first)
    (build.directory / "aside").rename(second)
    report = build.verify()
    assert summaries(report.findings.kept) == [("shard_swapped", shard.name, None, None) for shard in (first, second)]
    assert second.name in report.findings.kept[0].message


def test_surplus_shards(build: Build) -> None:
    """Shards of another set, or with too high a number, are reported and not read."""
    for name in ("train-00003-of-00003", "train-00000-of-00007", "val-00000-of-00003"):
        shutil.copy(build.shard(0), build.directory / name)
    report = build.verify()
    assert {(finding.kind, finding.file) for finding in report.findings.kept} == {
        ("shard_surplus", name) for name in ("train-00003-of-00003", "train-00000-of-00007", "val-00000-of-00003")
    }
    assert report.counts["records"] == RECORDS


def test_an_empty_file(build: Build) -> None:
    """An empty file is reported, and all ids of its records are listed."""
    records = len(frames_of(build.shard(1)))
    replace_file(build.shard(1), b"")
    report = build.verify()
    assert summaries(report.findings.kept) == [index_mismatch(build)]
    assert len(report.lost_ids) == records


def test_a_file_that_is_no_tfrecord(build: Build) -> None:
    """A file of another format is reported at its first byte, and the message says that it is no TFRecord file."""
    replace_file(build.shard(1), b"<html>404 Not Found</html>")
    (finding,) = build.verify().findings.kept
    assert (finding.kind, finding.file, finding.record, finding.offset) == ("length_crc", build.shard(1).name, 0, 0)
    assert "is no TFRecord file" in finding.message


def test_a_shard_that_is_a_directory(build: Build) -> None:
    """A shard that cannot be read is reported, and the others are verified."""
    build.shard(1).unlink()
    build.shard(1).mkdir()
    report = build.verify()
    assert summaries(report.findings.kept) == [("unreadable", build.shard(1).name, None, None)]
    assert report.counts["records"] == RECORDS - len(report.lost_ids)


def test_many_findings_are_counted(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first findings are kept, and all are counted by kind."""
    monkeypatch.setattr("tfrec_stage.verify.report.FINDINGS_LIMIT", 3)
    for number in range(3):
        for record in range(len(frames_of(build.shard(number)))):
            edit_record(build.shard(number), record, set_values("image/channels", 4))
    report = build.verify()
    assert (len(report.findings.kept), report.findings.total) == (3, 15)
    assert report.findings.by_kind == {"image_format": 12, "index_mismatch": 3}


def test_nothing_to_verify(tf, tmp_path) -> None:
    """A directory without shards is an error, not a valid set."""
    with pytest.raises(ShardError, match="expected shards such as train-00000-of-00010 in "):
        verify_shards(VerifyRequest("train", str(tmp_path)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(tf, pristine: Build, tmp_path_factory: pytest.TempPathFactory, data) -> None:
    """Any flipped bit of a shard is reported at its record, even if only the shard itself is there."""
    shard = pristine.shard(data.draw(st.integers(0, 2)))
    position = data.draw(st.integers(0, shard.stat().st_size - 1))
    copy = tmp_path_factory.mktemp("flip") / shard.name
    copy.write_bytes(shard.read_bytes())
    flip(copy, position, data.draw(st.integers(0, 7)))
    report = verify_shards(VerifyRequest("train", str(copy), num_threads=2))
    (finding,) = report.findings.kept
    offset = max(offset for offset in offsets_of(shard) if offset <= position)
    assert (finding.record, finding.offset) == (offsets_of(shard).index(offset), offset)
    in_length = position - offset < HEADER.size
    assert finding.kind == ("length_crc" if in_length else "payload_crc")


def test_every_kind_is_tested() -> None:
    """Every kind of finding is expected by a test in these files."""
    names = ("contents", "damage", "foreign", "metadata_files", "record_content")
    tests = "".join(Path(__file__).with_name(f"test_{name}.py").read_text() for name in names)
    assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []
