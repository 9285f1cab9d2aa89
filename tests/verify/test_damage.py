"""Deliberate damage: each is found, under its name and at its place, and nothing else is blamed."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import encode_noise
from tests.verify.conftest import Build
from tests.verify.damage import (
    edit_frames,
    edit_json,
    edit_record,
    features_of,
    flip,
    frames_of,
    offsets_of,
    replace_file,
    set_values,
)
from tfrec_stage.errors import ShardError
from tfrec_stage.tfrecord.example import Feature, Kind
from tfrec_stage.tfrecord.framing import HEADER, encode_frame
from tfrec_stage.verify.findings import KINDS, Finding
from tfrec_stage.verify.verify import VerifyRequest, verify_shards

Expected = list[tuple[str, str, int | None, int | None]]
Change = Callable[[Build], Expected]

RECORD = 2
"""The record of shard 1 that is damaged."""
RECORDS = 12
"""Records of the build."""


def found(faults: list[Finding]) -> Expected:
    """What identifies each fault."""
    return [(fault.kind, fault.file, fault.record, fault.offset) for fault in faults]


def place(build: Build, record: int = RECORD, shard: int = 1) -> tuple[str, int, int]:
    """File, record and offset, as a fault names them."""
    return build.shard(shard).name, record, offsets_of(build.shard(shard))[record]


def differs(build: Build, shard: int = 1) -> tuple[str, str, None, None]:
    """The fault that a changed shard has besides: it is not the one in the index."""
    return ("index_mismatch", build.shard(shard).name, None, None)


def test_the_pristine_build_is_sound(build: Build) -> None:
    """Nothing is wrong with it, nothing is left out, and everything is counted."""
    report = build.verify()
    assert report.is_sound, report.findings.kept
    assert report.skipped == {}
    assert (report.counts["records"], report.lost_ids, report.warnings) == (RECORDS, [], [])
    assert report.statistics["boxes"]["count"] == 24
    assert next(report.summary()).endswith(": sound")


def flipped(kind: str, position: Callable[[Build], int]) -> Change:
    """One bit of the file of shard 1."""

    def change(build: Build) -> Expected:
        expected = [(kind, *place(build))]
        flip(build.shard(1), place(build)[2] + position(build))
        return expected

    return change


def inside(text: Callable[[Build], bytes]) -> Callable[[Build], int]:
    """Where some bytes begin in the frame."""
    return lambda build: frames_of(build.shard(1))[RECORD].index(text(build))


def length_of_frame(build: Build) -> int:
    return len(frames_of(build.shard(1))[RECORD])


def image_of(build: Build) -> bytes:
    return features_of(build.shard(1), RECORD)["image/encoded"].values[0]


FLIPS = {
    "length": (flipped("length_crc", lambda _: 0), None),
    "high byte of the length": (flipped("length_crc", lambda _: 7), None),
    "CRC of the length": (flipped("length_crc", lambda _: 8), 0),
    "a key": (flipped("payload_crc", inside(lambda _: b"image/height")), 1),
    "an annotation": (flipped("payload_crc", lambda build: inside(lambda _: b"bbox/xmax")(build) + 20), 1),
    "the image": (flipped("payload_crc", lambda build: inside(image_of)(build) + 300), 1),
    "CRC of the payload": (flipped("payload_crc", lambda build: length_of_frame(build) - 1), 1),
}
"""What is done, and how many records can then not be read: None for all from there on."""


@pytest.mark.parametrize("name", FLIPS)
def test_a_flipped_bit(build: Build, name: str) -> None:
    """Told once, at its record; all records that can be read still are, and the ids of the others are named."""
    behind = len(frames_of(build.shard(1))) - RECORD
    change, lost = FLIPS[name]
    expected = change(build)
    report = build.verify()
    assert found(report.findings.kept) == expected
    lost = behind if lost is None else lost
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS - lost, lost)
    assert found(build.verify(with_manifest=False).findings.kept) == expected


def cut(build: Build, at: int) -> None:
    replace_file(build.shard(1), build.shard(1).read_bytes()[:at])


@pytest.mark.parametrize("position", [1, 11, 12, 13, 300, -5, -4, -1])
def test_a_cut_inside_a_record(build: Build, position: int) -> None:
    """Told at the record that is cut, wherever that is."""
    name, record, offset = place(build)
    cut(build, offset + (position if position > 0 else length_of_frame(build) + position))
    report = build.verify()
    assert found(report.findings.kept) == [("truncated", name, record, offset)]
    assert len(report.lost_ids) == RECORDS - report.counts["records"] > 0


def test_a_cut_between_records(build: Build) -> None:
    """What is left is whole, but the index knows more: one fault, and the ids that are gone are named."""
    frames = frames_of(build.shard(1))
    cut(build, place(build)[2])
    report = build.verify()
    missing = len(frames) - RECORD
    assert found(report.findings.kept) == [differs(build)]
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS - missing, missing)


@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 12, b"garbage, more than a header has"])
def test_trailing_garbage(build: Build, garbage: bytes) -> None:
    """Bytes behind the last record are told where they begin; all records are read."""
    shard = build.shard(1)
    data = shard.read_bytes()
    records = len(frames_of(shard))
    replace_file(shard, data + garbage)
    report = build.verify()
    assert found(report.findings.kept) == [("trailing_bytes", shard.name, records, len(data))]
    assert (report.counts["records"], report.lost_ids) == (RECORDS, [])


def test_a_doubled_record(build: Build) -> None:
    """Its second copy is told with the place of the first."""
    edit_frames(build.shard(1), lambda frames: [*frames, frames[RECORD]])
    report = build.verify()
    last = len(frames_of(build.shard(1))) - 1
    assert found(report.findings.kept) == [differs(build), ("duplicate_id", *place(build, last))]
    assert f"is also that of record {RECORD} in {build.shard(1).name}" in report.findings.kept[1].message


def test_a_record_of_another_shard(build: Build) -> None:
    """A copy in another shard is told there, without manifest and index too."""
    stolen = frames_of(build.shard(0))[0]
    edit_frames(build.shard(1), lambda frames: [stolen, *frames])
    assert found(build.verify().findings.kept) == [differs(build), ("duplicate_id", *place(build, 0))]
    build.index.unlink()
    report = build.verify(with_manifest=False)
    assert report.findings.by_kind == {"duplicate_id": 1, "stats_mismatch": len(report.findings.kept) - 1}


def test_a_removed_record(build: Build) -> None:
    """One fault of its shard; the manifest tells which id is gone."""
    gone = features_of(build.shard(1), RECORD)["image/id"].values[0].decode()
    edit_frames(build.shard(1), lambda frames: frames[:RECORD] + frames[RECORD + 1 :])
    report = build.verify()
    assert found(report.findings.kept) == [differs(build)]
    assert report.lost_ids == [gone]


def test_a_missing_shard(build: Build) -> None:
    """One fault; the ids that went with it are named."""
    records = len(frames_of(build.shard(1)))
    build.shard(1).unlink()
    report = build.verify()
    assert found(report.findings.kept) == [("shard_missing", build.shard(1).name, None, None)]
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS - records, records)


def test_two_swapped_shards(build: Build) -> None:
    """Both are told, each with the name of the other, and no record is blamed."""
    first, second = build.shard(0), build.shard(1)
    first.rename(build.directory / "aside")
    second.rename(first)
    (build.directory / "aside").rename(second)
    report = build.verify()
    assert found(report.findings.kept) == [("shard_swapped", shard.name, None, None) for shard in (first, second)]
    assert second.name in report.findings.kept[0].message


def test_surplus_shards(build: Build) -> None:
    """Shards of another count or number are told, and not read."""
    for name in ("train-00003-of-00003", "train-00000-of-00007", "val-00000-of-00003"):
        shutil.copy(build.shard(0), build.directory / name)
    report = build.verify()
    assert {(fault.kind, fault.file) for fault in report.findings.kept} == {
        ("shard_surplus", name) for name in ("train-00003-of-00003", "train-00000-of-00007", "val-00000-of-00003")
    }
    assert report.counts["records"] == RECORDS


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
    """Each field that is edited is found; no record is blamed."""
    edit_json(build.index, edit)
    report = build.verify()
    assert report.findings.total
    assert all(fault.kind.startswith(kind) and fault.record is None for fault in report.findings.kept), (
        report.findings.kept
    )
    assert report.counts["records"] in {RECORDS, RECORDS - len(frames_of(build.shard(2)))}


def test_an_index_that_is_none(build: Build) -> None:
    """It is told, and the shards are verified without it."""
    replace_file(build.index, b"{")
    report = build.verify()
    assert found(report.findings.kept) == [("index_invalid", "index.json", None, None)]
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
    """Every count of the shards is compared."""
    edit_json(build.stats, lambda stats: stats.update({name: 7}))
    (fault,) = build.verify().findings.kept
    assert (fault.kind, fault.file) == ("stats_mismatch", "stats.json")
    assert fault.message.startswith(f"{name}: the shards have ")


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
    """Images and boxes of every class are compared."""
    edit_json(build.classes, edit)
    (fault,) = build.verify().findings.kept
    assert (fault.kind, fault.file) == ("stats_mismatch", "classes.json")
    assert re.match(message, fault.message)


def test_classes_that_nothing_has(build: Build) -> None:
    """They may stand in it, as labels.json names them."""
    more = {"label": 9, "name": "unicorn", "images": 0, "boxes": 0}
    edit_json(build.classes, lambda classes: classes.append(more))
    assert build.verify().is_sound


def test_an_output_of_an_earlier_version(build: Build) -> None:
    """Its stats.json counts labels too, and there is no classes.json: sound, and said to be left out."""
    (build.classes).unlink()
    edit_json(build.stats, lambda stats: stats.update(object_labels={"0": 1}, records_per_shard=[1]))
    report = build.verify()
    assert report.is_sound
    assert report.skipped == {"classes": "there is no classes.json"}


@pytest.mark.parametrize("edit", [{"failed": 0}, {"failures": {}}, {"failures": {"image_missing": 1}}])
def test_edited_counts_of_failures(build: Build, edit: dict) -> None:
    """What failed is compared with `failures.jsonl`."""
    edit_json(build.stats, lambda stats: stats.update(edit))
    assert found(build.verify().findings.kept) == [("failures_mismatch", "failures.jsonl", None, None)]


def test_an_emptied_list_of_failures(build: Build) -> None:
    """Its record is then missing from the shards."""
    replace_file(build.directory / "failures.jsonl", b"")
    report = build.verify()
    assert report.findings.by_kind == {"failures_mismatch": 1, "record_missing": 1, "fingerprint_mismatch": 1}


def test_a_failure_that_is_in_the_shards(build: Build) -> None:
    """A record that is said to have failed is told where it stands."""
    image_id = features_of(build.shard(1), RECORD)["image/id"].values[0].decode()
    path = build.directory / "failures.jsonl"
    line = {"filename": "x", "id": image_id, "reason": "image_corrupt", "error_msg": ""}
    replace_file(path, path.read_bytes() + json.dumps(line).encode() + b"\n")
    report = build.verify()
    assert ("record_surplus", *place(build)) in found(report.findings.kept)
    assert report.findings.by_kind["failures_mismatch"] == 1


def test_failures_that_are_none(build: Build) -> None:
    """Lines that are no records are told, and what needs them is left out."""
    replace_file(build.directory / "failures.jsonl", b"[]\n")
    report = build.verify()
    assert report.findings.by_kind == {"failures_mismatch": 1, "record_missing": 1}
    assert set(report.skipped) == {"failures", "fingerprints"}


XMIN, COUNT = "image/object/bbox/xmin", "image/object/count"


def encode_gray() -> bytes:
    """An image of one component, with fill bytes before its frame."""
    buffer = io.BytesIO()
    Image.new("L", (40, 30)).save(buffer, "JPEG")
    return buffer.getvalue().replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1)


EDITS: dict[str, tuple[str, Callable]] = {
    "another height": ("image_size", set_values("image/height", 31)),
    "another width": ("image_size", set_values("image/width", 41)),
    "a missing scalar": ("key_missing", lambda features: features.pop("image/height")),
    "a missing list": ("key_missing", lambda features: features.pop("image/object/bbox/score")),
    "a missing list with values": ("key_missing", lambda features: features.pop("image/object/area")),
    "another kind": ("kind_wrong", lambda features: features.update({XMIN: Feature(Kind.INT64, [0, 1])})),
    "an empty list of another kind": (
        "kind_wrong",
        lambda features: features.update({"image/object/bbox/score": Feature(Kind.INT64, [])}),
    ),
    "two ids": ("not_scalar", set_values("image/width", 40, 40)),
    "no height": ("not_scalar", set_values("image/height")),
    "a coordinate beyond 1": ("out_of_range", set_values("image/object/bbox/xmax", 0.5, 1.5)),
    "a coordinate in pixels": ("out_of_range", set_values("image/object/bbox/xmax", 200.0, 0.5)),
    "an area beyond 1": ("out_of_range", set_values("image/object/area", 2.0, 0.5)),
    "a part outside": ("out_of_range", set_values("image/object/parts/x", 1.5, 0.5)),
    "a reversed box": ("box_reversed", set_values(XMIN, 0.9, 0.1)),
    "a list cut short": ("lists_disagree", set_values("image/object/bbox/label", 1)),
    "an edge cut short": ("lists_disagree", set_values("image/object/bbox/ymin", 0.0)),
    "another count": ("lists_disagree", set_values(COUNT, 3)),
    "a negative count": ("lists_disagree", set_values(COUNT, -1)),
    "an odd number of parts": ("lists_disagree", lambda features: [_parts(features, key, 3) for key in "xyv"]),
    "parts without x": ("lists_disagree", set_values("image/object/parts/x")),
    "NaN": ("value_invalid", set_values(XMIN, float("nan"), 0.1)),
    "an infinite score": ("value_invalid", set_values("image/object/bbox/score", float("inf"), 0.1)),
    "a negative label": ("value_invalid", set_values("image/object/bbox/label", -1, 0)),
    "a negative label of the image": ("value_invalid", set_values("image/class/label", -1)),
    "a visibility of 3": ("value_invalid", set_values("image/object/parts/v", 3, 0)),
    "a negative area": ("value_invalid", set_values("image/object/area", -0.5, 0.1)),
    "a name in Latin-1": ("value_invalid", set_values("image/object/bbox/text", b"caf\xe9", b"bird")),
    "gray": ("image_format", set_values("image/colorspace", b"L")),
    "one channel": ("image_format", set_values("image/channels", 1)),
    "PNG": ("image_format", set_values("image/format", b"PNG")),
    "an undecodable image": ("image_undecodable", set_values("image/encoded", b"\xff\xd8\xff\xe0 no JPEG")),
    "a PNG in place of a JPEG": (
        "image_undecodable",
        set_values("image/encoded", encode_noise(1, image_format="PNG")),
    ),
    "a gray JPEG": ("image_format", set_values("image/encoded", encode_gray())),
    "no image": ("image_undecodable", set_values("image/encoded", b"")),
}


def _parts(features: dict, key: str, count: int) -> None:
    name = f"image/object/parts/{key}"
    features[name] = Feature(features[name].kind, (features[name].values * 2)[:count])


@pytest.mark.parametrize("name", EDITS)
def test_wrong_content_in_a_right_frame(build: Build, name: str) -> None:
    """The record is told, though its checksums are right; all others are still verified, and none is blamed."""
    kind, edit = EDITS[name]
    edit_record(build.shard(1), RECORD, edit)
    build.index.unlink()
    build.stats.unlink()
    build.classes.unlink()
    report = build.verify()
    assert found(report.findings.kept) == [(kind, *place(build))], report.findings.kept
    assert report.counts["records"] == RECORDS
    assert report.lost_ids == []


def test_a_changed_record_is_not_the_one_in_the_index(build: Build) -> None:
    """With the index the file is told as well, as it is not the one that was built."""
    edit_record(build.shard(1), RECORD, set_values("image/height", 31))
    assert found(build.verify().findings.kept) == [differs(build), ("image_size", *place(build))]


def test_a_duplicate_id(build: Build) -> None:
    """A record that took the id of another is told, and the manifest misses its own."""
    other = features_of(build.shard(0), 0)["image/id"].values[0]
    own = features_of(build.shard(1), RECORD)["image/id"].values[0].decode()
    edit_record(build.shard(1), RECORD, set_values("image/id", other))
    report = build.verify()
    kinds = {"index_mismatch": 1, "duplicate_id": 1, "record_missing": 1, "image_changed": 1, "manifest_mismatch": 1}
    assert report.findings.by_kind == kinds
    assert ("duplicate_id", *place(build)) in found(report.findings.kept)
    assert any(repr(own) in fault.message for fault in report.findings.kept if fault.kind == "record_missing")


def test_a_foreign_id(build: Build) -> None:
    """An id that the manifest does not have is told."""
    edit_record(build.shard(1), RECORD, set_values("image/id", b"stranger"))
    report = build.verify()
    assert report.findings.by_kind == {"index_mismatch": 1, "record_surplus": 1, "record_missing": 1}
    assert ("record_surplus", *place(build)) in found(report.findings.kept)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_jpeg(build: Build, kept: float) -> None:
    """A JPEG that ends too soon, in a frame with right checksums, does not decode; the manifest pins another too."""
    image = image_of(build)
    edit_record(build.shard(1), RECORD, set_values("image/encoded", image[: int(len(image) * kept)]))
    expected = [differs(build), ("image_changed", *place(build)), ("image_undecodable", *place(build))]
    assert sorted(found(build.verify().findings.kept), key=str) == sorted(expected, key=str)


def test_another_image(build: Build) -> None:
    """A sound image that is not the pinned one is told by its digest."""
    edit_record(build.shard(1), RECORD, set_values("image/encoded", encode_noise(99)))
    assert found(build.verify().findings.kept) == [differs(build), ("image_changed", *place(build))]


def test_a_payload_that_is_no_example(build: Build) -> None:
    """Right checksums around anything else: told, and the records around it are verified."""
    edit_frames(
        build.shard(1),
        lambda frames: [*frames[:RECORD], b"".join(encode_frame(b"no Example")), *frames[RECORD + 1 :]],
    )
    report = build.verify()
    assert found(report.findings.kept) == [differs(build), ("not_an_example", *place(build))]
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS, 1)


def test_an_empty_file(build: Build) -> None:
    """It is no shard of four records."""
    records = len(frames_of(build.shard(1)))
    replace_file(build.shard(1), b"")
    report = build.verify()
    assert found(report.findings.kept) == [differs(build)]
    assert len(report.lost_ids) == records


def test_a_file_that_is_no_tfrecord(build: Build) -> None:
    """Told at its first byte, in words that say so."""
    replace_file(build.shard(1), b"<html>404 Not Found</html>")
    (fault,) = build.verify().findings.kept
    assert (fault.kind, fault.file, fault.record, fault.offset) == ("length_crc", build.shard(1).name, 0, 0)
    assert "is no TFRecord file" in fault.message


def test_a_shard_that_is_a_directory(build: Build) -> None:
    """What cannot be read is told, and the others are verified."""
    build.shard(1).unlink()
    build.shard(1).mkdir()
    report = build.verify()
    assert found(report.findings.kept) == [("unreadable", build.shard(1).name, None, None)]
    assert report.counts["records"] == RECORDS - len(report.lost_ids)


def test_many_faults_are_counted(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first are kept, all are counted by kind."""
    monkeypatch.setattr("tfrec_stage.verify.report.FINDINGS_LIMIT", 3)
    for number in range(3):
        for record in range(len(frames_of(build.shard(number)))):
            edit_record(build.shard(number), record, set_values("image/channels", 4))
    report = build.verify()
    assert (len(report.findings.kept), report.findings.total) == (3, 15)
    assert report.findings.by_kind == {"image_format": 12, "index_mismatch": 3}


def test_nothing_to_verify(tf, tmp_path) -> None:
    """A directory without shards is an error, not a sound set."""
    with pytest.raises(ShardError, match="expected shards such as train-00000-of-00010 in "):
        verify_shards(VerifyRequest("train", str(tmp_path)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(tf, pristine: Build, tmp_path_factory: pytest.TempPathFactory, data) -> None:
    """Whatever bit of a shard is flipped, its record is told, with nothing but the shard itself at hand."""
    shard = pristine.shard(data.draw(st.integers(0, 2)))
    position = data.draw(st.integers(0, shard.stat().st_size - 1))
    copy = tmp_path_factory.mktemp("flip") / shard.name
    copy.write_bytes(shard.read_bytes())
    flip(copy, position, data.draw(st.integers(0, 7)))
    report = verify_shards(VerifyRequest("train", str(copy), num_threads=2))
    (fault,) = report.findings.kept
    offset = max(offset for offset in offsets_of(shard) if offset <= position)
    assert (fault.record, fault.offset) == (offsets_of(shard).index(offset), offset)
    in_length = position - offset < HEADER.size
    assert fault.kind == ("length_crc" if in_length else "payload_crc")


def test_every_kind_is_made_by_some_damage() -> None:
    """There is no kind that no test makes: each is named in one of these files."""
    tests = "".join(
        Path(__file__).with_name(f"test_{name}.py").read_text() for name in ("contents", "damage", "foreign")
    )
    assert [kind for kind in KINDS if f'"{kind}"' not in tests] == []
