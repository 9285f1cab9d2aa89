"""Wrong content with right checksums is found under its kind and at its location, and nothing else is reported."""

import io
from collections.abc import Callable

import pytest
from PIL import Image

from tests.conftest import encode_noise
from tests.verify.conftest import Build
from tests.verify.damage import (
    RECORD,
    RECORDS,
    edit_frames,
    edit_record,
    features_of,
    image_of,
    index_mismatch,
    location_of,
    set_values,
    summaries,
)
from tfrec_stage.tfrecord.example import Feature, Kind
from tfrec_stage.tfrecord.framing import encode_frame

XMIN, COUNT = "image/object/bbox/xmin", "image/object/count"


def encode_gray() -> bytes:
    """Return a JPEG of one component, with fill bytes before its frame header."""
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
    """Repeat the values of a list of parts, and keep so many."""
    name = f"image/object/parts/{key}"
    features[name] = Feature(features[name].kind, (features[name].values * 2)[:count])


@pytest.mark.parametrize("name", EDITS)
def test_wrong_content_in_a_right_frame(build: Build, name: str) -> None:
    """Wrong content with right checksums is reported at its record; all other records are still verified."""
    kind, edit = EDITS[name]
    edit_record(build.shard(1), RECORD, edit)
    build.index.unlink()
    build.stats.unlink()
    build.classes.unlink()
    report = build.verify()
    assert summaries(report.findings.kept) == [(kind, *location_of(build))], report.findings.kept
    assert report.counts["records"] == RECORDS
    assert report.lost_ids == []


def test_a_changed_record_also_differs_from_the_index(build: Build) -> None:
    """With an index, a changed record is reported and its file too, as it is not the one that was built."""
    edit_record(build.shard(1), RECORD, set_values("image/height", 31))
    assert summaries(build.verify().findings.kept) == [index_mismatch(build), ("image_size", *location_of(build))]


def test_a_duplicate_id(build: Build) -> None:
    """A record with the id of another one is reported, and its own id as missing."""
    other = features_of(build.shard(0), 0)["image/id"].values[0]
    own = features_of(build.shard(1), RECORD)["image/id"].values[0].decode()
    edit_record(build.shard(1), RECORD, set_values("image/id", other))
    report = build.verify()
    kinds = {"index_mismatch": 1, "duplicate_id": 1, "record_missing": 1, "image_changed": 1, "manifest_mismatch": 1}
    assert report.findings.by_kind == kinds
    assert ("duplicate_id", *location_of(build)) in summaries(report.findings.kept)
    assert any(repr(own) in finding.message for finding in report.findings.kept if finding.kind == "record_missing")


def test_a_foreign_id(build: Build) -> None:
    """An id that is not in the manifest is reported."""
    edit_record(build.shard(1), RECORD, set_values("image/id", b"stranger"))
    report = build.verify()
    assert report.findings.by_kind == {"index_mismatch": 1, "record_surplus": 1, "record_missing": 1}
    assert ("record_surplus", *location_of(build)) in summaries(report.findings.kept)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_jpeg(build: Build, kept: float) -> None:
    """A truncated JPEG in a frame with right checksums does not decode, and is not the pinned image."""
    image = image_of(build)
    edit_record(build.shard(1), RECORD, set_values("image/encoded", image[: int(len(image) * kept)]))
    expected = [
        index_mismatch(build),
        ("image_changed", *location_of(build)),
        ("image_undecodable", *location_of(build)),
    ]
    assert sorted(summaries(build.verify().findings.kept), key=str) == sorted(expected, key=str)


def test_another_image(build: Build) -> None:
    """A valid image that is not the pinned one is reported."""
    edit_record(build.shard(1), RECORD, set_values("image/encoded", encode_noise(99)))
    assert summaries(build.verify().findings.kept) == [index_mismatch(build), ("image_changed", *location_of(build))]


def test_a_payload_that_is_no_example(build: Build) -> None:
    """A payload that is no Example is reported, and the records around it are verified."""
    edit_frames(
        build.shard(1),
        lambda frames: [*frames[:RECORD], b"".join(encode_frame(b"no Example")), *frames[RECORD + 1 :]],
    )
    report = build.verify()
    assert summaries(report.findings.kept) == [index_mismatch(build), ("not_an_example", *location_of(build))]
    assert (report.counts["records"], len(report.lost_ids)) == (RECORDS, 1)
