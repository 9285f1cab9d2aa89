"""Records are compared with the manifest: no findings as built, whatever the options; any other value is reported."""

import io
import json
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.conftest import encode_noise
from tests.verify.conftest import Build, make_build, make_records, write_manifest
from tests.verify.damage import (
    edit_frames,
    edit_json,
    edit_record,
    features_of,
    frames_of,
    offsets_of,
    replace_file,
    set_values,
)
from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.dataset_info import Label
from tfrec_stage.manifest import open_manifest
from tfrec_stage.tfrecord.example import decode_example, encode_entry, encode_varint, example_header, key_field
from tfrec_stage.tfrecord.framing import FOOTER, HEADER, encode_frame
from tfrec_stage.verify.findings import Finding
from tfrec_stage.verify.manifest import read_pins
from tfrec_stage.verify.report import Report
from tfrec_stage.verify.verify import VerifyRequest, verify_shards

KIND = "manifest_mismatch"
EVERYTHING = "everything"
"""Id of the record that has an annotation under every key."""
LABELS = (Label(0, "cat", keypoints=("nose", "tail")), Label(4, "bird", keypoints=("beak", "wing")))


def mismatches(report: Report) -> list[Finding]:
    """Return the findings of this check."""
    return [finding for finding in report.findings.kept if finding.kind == KIND]


def rotated_jpeg() -> bytes:
    """Return a JPEG of 40 x 30 stored pixels with an EXIF rotation by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(io.BytesIO(encode_noise(3))).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def all_annotations() -> dict[str, Any]:
    """Return annotations under every key that a record may have."""
    return {
        "class": {"label": "3", "text": "class 3", "conf": 0.75},
        "extra": {"licence": 4, "difficult": [0, 1], "truncated": [1, 0]},
        "object": {
            "count": 2,
            "area": [0.1, 0.2],
            "id": [17, "eighteen"],
            "is_crowd": [0, 1],
            "bbox": {
                "xmin": [0.1, -0.0001],  # outside by rounding alone, so a build moves it to the edge
                "xmax": [0.3, 1.0],
                "ymin": [0.1, 0.2],
                "ymax": [0.7, 0.9],
                "label": [0, "4"],
                "text": ["cat", "bird"],
                "score": [0.5, 0.25],
                "conf": [0.9, 1.0],
            },
            "parts": {"x": [0.1, 0.2, 0.3, 0.4], "y": [0.3, 0.4, 0.5, 0.6], "v": [2, 0, 1, 2], "score": [1, 1, 1, 0.5]},
        },
    }


def boxes(xmin: list[float], xmax: list[float]) -> dict[str, Any]:
    """Return two objects with parts, whose boxes have these edges."""
    box = {"xmin": xmin, "xmax": xmax, "ymin": [0.1, 0.1], "ymax": [0.7, 0.7], "label": [1, 2]}
    return {"object": {"bbox": box, "parts": {"x": [0.1, xmax[1]], "y": [0.1, 0.2], "v": [1, 2]}}}


def write_images(folder: Path) -> list[dict[str, Any]]:
    """Return a record for every way in which images and annotations are stored; two fail unless repaired."""
    folder.mkdir()
    jpeg = encode_noise(0)
    size = {"width": 40, "height": 30}
    described = size | {"format": "JPEG", "colorspace": "RGB", "channels": 3}
    sets: dict[str, tuple[bytes, dict[str, Any]]] = {
        EVERYTHING: (encode_noise(1), all_annotations() | size),
        "png": (encode_noise(2, image_format="PNG"), boxes([0.1, 0.2], [0.5, 0.6])),
        "rotated": (rotated_jpeg(), all_annotations()),
        "rotated, annotated upright": (rotated_jpeg(), all_annotations() | {"width": 30, "height": 40}),
        "rotated, annotated as stored": (rotated_jpeg(), all_annotations() | size),
        "nothing": (encode_noise(5) + b"tail", {}),
        "text": (encode_noise(6), {"class": {"label": 2, "text": "Häher"}, "extra": "any text"}),
        "in the manifest": (jpeg, {"encoded": b64encode(jpeg).decode()} | described),
        "outside": (encode_noise(7), boxes([-0.5, 0.2], [0.5, 1.4])),
        "degenerate": (encode_noise(8), boxes([0.5, 0.2], [0.5, 0.6])),
        "not pinned": (encode_noise(9), {}),
    }
    records = []
    for number, (name, (data, stated)) in enumerate(sets.items()):
        (folder / f"{number}.jpg").write_bytes(data)
        pin = {} if name == "not pinned" else {"sha256": sha256(data).hexdigest()}
        records.append({"filename": f"{number}.jpg", "id": name} | pin | stated)
    return records


def build_with(folder: Path, records: list[dict[str, Any]], **options: Any) -> Build:
    """Build the records, then delete the image files: nothing may read them again."""
    built = Build(folder / "shards", folder / "manifest.jsonl")
    write_manifest(built.manifest, records)
    policy = {name: options.pop(name) for name in ("out_of_range", "degenerate_boxes") if name in options}
    output_options = msgspec.convert({"encode": options, "annotations": policy}, OutputOptions)
    request = BuildRequest("train", built.directory, 3, output_options, folder / "images", labels=LABELS)
    build(open_manifest(built.manifest), request)
    shutil.rmtree(folder / "images")
    return built


def verify(built: Build, labels: tuple[Label, ...] = LABELS) -> Report:
    """Verify a build."""
    return verify_shards(VerifyRequest("train", str(built.directory), open_manifest(built.manifest), labels, 2))


def stored_records(built: Build) -> Iterator[tuple[Path, int, bytes]]:
    """Iterate over shard, number and id of every record; shards must not be compressed."""
    for number in range(3):
        for record in range(len(frames_of(built.shard(number)))):
            (image_id,) = features_of(built.shard(number), record)["image/id"].values
            yield built.shard(number), record, image_id


def find_record(built: Build, image_id: str) -> tuple[Path, int]:
    """Return shard and number of a record."""
    return next((shard, record) for shard, record, stored in stored_records(built) if stored == image_id.encode())


OPTIONS: list[dict[str, Any]] = [
    {},
    {"profiles": ["od_api"]},
    {"profiles": ["tfds"]},
    {"area": "pixels"},
    {"area": "pixels", "profiles": ["od_api", "tfds"]},
    {"compression": "gzip"},
    {"store_images": False},
    {"store_images": False, "profiles": ["od_api", "tfds"]},
    {"out_of_range": "clip"},
    {"degenerate_boxes": "drop", "profiles": ["od_api", "tfds"]},
    {"degenerate_boxes": "keep"},
    {"out_of_range": "clip", "degenerate_boxes": "drop", "compression": "gzip", "profiles": ["od_api"]},
    {"shuffle": False, "seed": 7, "jpeg_quality": 50},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_build_has_the_contents_of_its_manifest(tf, tmp_path: Path, options: dict[str, Any]) -> None:
    """With any images and options there is no finding, and one changed label gives exactly one."""
    records = write_images(tmp_path / "images")
    built = build_with(tmp_path, records, **options)
    report = verify(built)
    assert report.is_sound, report.findings.kept
    assert "contents" not in report.skipped
    assert report.counts["records"] == len(records) - len((built.directory / "failures.jsonl").read_text().splitlines())
    records[0]["object"]["bbox"]["label"] = [0, 9]
    write_manifest(built.manifest, records)
    (finding,) = mismatches(verify(built))
    assert finding.message.startswith(f"id '{EVERYTHING}': image/object/bbox/label: expected [0, 9], but got [0, 4]")


FIRST_ABOVE = float(np.nextafter(np.float32(0.1), np.float32(1)))
"""The 32-bit float that follows 0.1."""

EDITS: dict[str, tuple[list[Any], str]] = {
    "image/class/label": ([7], "expected [3], but got [7]"),
    "image/class/text": ([b"class 7"], "expected ['class 3'], but got ['class 7']"),
    "image/class/conf": ([0.5], "expected [0.75], but got [0.5]"),
    "image/filename": ([b"1.jpg"], "expected ['0.jpg'], but got ['1.jpg']"),
    "image/extra": (
        [b"{}"],
        'expected [\'{"difficult": [0, 1], "licence": 4, "truncated": [1, 0]}\'], but got [\'{}\']',
    ),
    "image/object/count": ([3], "expected [2], but got [3]"),
    "image/object/area": ([120.0, 240.5], "expected [120.0, 240.0], but got [120.0, 240.5]"),
    "image/object/id": ([b"17", b"18"], "expected ['17', 'eighteen'], but got ['17', '18']"),
    "image/object/bbox/xmin": ([FIRST_ABOVE, 0.0], "expected [0.1, 0.0], but got [0.10000001, 0.0]"),
    "image/object/bbox/xmax": ([0.3], "expected [0.3, 1.0], but got [0.3]"),
    "image/object/bbox/ymin": ([float("nan"), 0.2], "expected [0.1, 0.2], but got [nan, 0.2]"),
    "image/object/bbox/ymax": ([0.7, 1.9], "expected [0.7, 0.9], but got [0.7, 1.9]"),
    "image/object/bbox/score": ([], "expected [0.5, 0.25], but got []"),
    "image/object/bbox/label": ([4, 0], "expected [0, 4], but got [4, 0]"),
    "image/object/bbox/text": ([b"cat", b"caf\xe9"], "expected ['cat', 'bird'], but got ['cat', 'caf\\\\xe9']"),
    "image/object/bbox/conf": ([0.9, 0.9], "expected [0.9, 1.0], but got [0.9, 0.9]"),
    "image/object/parts/x": ([0.1, 0.2, 0.3, 0.5], "expected [0.1, 0.2, 0.3, 0.4], but got [0.1, 0.2, 0.3, 0.5]"),
    "image/object/parts/y": ([0.3, 0.4, 0.5, 0.5], "expected [0.3, 0.4, 0.5, 0.6], but got [0.3, 0.4, 0.5, 0.5]"),
    "image/object/parts/v": ([2, 1, 1, 2], "expected [2, 0, 1, 2], but got [2, 1, 1, 2]"),
    "image/object/parts/score": ([1.0, 1.0, 1.0, 1.0], "expected [1.0, 1.0, 1.0, 0.5], but got [1.0, 1.0, 1.0, 1.0]"),
    "image/source_id": ([b"another"], "expected ['everything'], but got ['another']"),
    "image/object/class/label": ([9, 5], "expected [1, 5], but got [9, 5]"),
    "image/object/class/text": ([b"cat", b""], "expected ['cat', 'bird'], but got ['cat', '']"),
    "image/object/is_crowd": ([0, 0], "expected [0, 1], but got [0, 0]"),
    "image/object/group_of": ([1, 1], "expected [0, 1], but got [1, 1]"),
    "image/object/difficult": ([1, 1], "expected [0, 1], but got [1, 1]"),
    "image/object/keypoint/x": ([0.1], "expected [0.1, 0.2, 0.3, 0.4], but got [0.1]"),
    "image/object/keypoint/y": ([0.3], "expected [0.3, 0.4, 0.5, 0.6], but got [0.3]"),
    "image/object/keypoint/visibility": ([2, 0, 2, 2], "expected [2, 0, 1, 2], but got [2, 0, 2, 2]"),
    "image/object/keypoint/num": ([2, 2], "expected [1, 2], but got [2, 2]"),
    "image/object/keypoint/text": ([b"nose"], "expected ['nose', 'tail', 'beak', 'wing'], but got ['nose']"),
    "objects/bbox": ([0.5] * 4, "expected [0.1, 0.1, 0.7, 0.3, 0.2, 0.0, 0.9, 1.0], but got [0.5, 0.5, 0.5, 0.5]"),
    "objects/label": ([0, 5], "expected [0, 4], but got [0, 5]"),
    "objects/area": ([120.0, 0.0], "expected [120.0, 240.0], but got [120.0, 0.0]"),
    "objects/is_crowd": ([1, 1], "expected [0, 1], but got [1, 1]"),
    "objects/id": ([b"a", b"b"], "expected ['17', 'eighteen'], but got ['a', 'b']"),
}
"""For each key, other values in the shard and the message about them."""


@pytest.fixture(scope="session")
def full_build(tf, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a build with all keys that exist; tests must not change it."""
    folder = tmp_path_factory.mktemp("rich")
    return build_with(folder, write_images(folder / "images"), area="pixels", profiles=["od_api", "tfds"])


@pytest.fixture
def full_copy(full_build: Build, tmp_path: Path) -> Build:
    """Return a copy of the full build that tests may change."""
    shutil.copytree(full_build.directory, tmp_path / "shards")
    return Build(tmp_path / "shards", full_build.manifest)


@pytest.mark.parametrize("key", EDITS)
def test_any_other_value_is_reported(full_copy: Build, key: str) -> None:
    """A changed value is reported once: shard, record, offset, id, key, expected and stored value."""
    values, message = EDITS[key]
    shard, record = find_record(full_copy, EVERYTHING)
    offset = offsets_of(shard)[record]
    edit_record(shard, record, set_values(key, *values))
    findings = [finding for finding in verify(full_copy).findings.kept if finding.record is not None]
    assert findings == [Finding(KIND, shard.name, record, offset, f"id '{EVERYTHING}': {key}: {message}")]


def test_every_annotation_key_is_edited(full_build: Build) -> None:
    """Every key is edited in the test above, except the id and those that follow from the image."""
    of_image = {f"image/{name}" for name in ("encoded", "height", "width", "colorspace", "channels", "format")}
    stored = {*features_of(*find_record(full_build, EVERYTHING))}
    assert stored - of_image - {"image/id", "image/key/sha256"} == {*EDITS}


IMAGE_EDITS: list[tuple[str, Any, str]] = [
    ("image/height", 31, "image_size"),
    ("image/width", 0, "image_size"),
    ("image/channels", 4, "image_format"),
    ("image/colorspace", b"\xff", "image_format"),
    ("image/format", b"PNG", "image_format"),
    ("image/key/sha256", b"0" * 64, "image_digest"),
    ("image/key/sha256", b"\xff", "image_digest"),
]


@pytest.mark.parametrize(("key", "value", "kind"), IMAGE_EDITS)
def test_keys_of_the_image_are_reported_once(tf, tmp_path: Path, key: str, value: Any, kind: str) -> None:
    """Keys that follow from the image are compared with the image only, not with the manifest as well."""
    records = make_records(tmp_path / "images", 4)
    # Outside by rounding alone. A build measures that in pixels, and divides by the size, which is wrong here.
    records[0]["object"]["bbox"]["xmin"][0] = -0.0001
    built = make_build(tmp_path, records, tmp_path / "images", profiles=["od_api"])
    shard, record = find_record(built, "id 0")
    edit_record(shard, record, set_values(key, value))
    assert [finding.kind for finding in built.verify().findings.kept if finding.record is not None] == [kind]


def test_an_image_where_none_is_stored(tf, tmp_path: Path) -> None:
    """With `store_images: false`, a stored image is reported."""
    built = make_build(tmp_path, make_records(tmp_path / "images", 4), tmp_path / "images", store_images=False)
    edit_record(*find_record(built, "id 0"), set_values("image/encoded", b"pixels"))
    (finding,) = mismatches(built.verify())
    assert finding.message == "id 'id 0': image/encoded: expected [''], but got ['pixels']"


def test_areas_follow_from_the_stored_size(full_copy: Build) -> None:
    """A wrong size also changes the areas in pixels that follow from it, and both are reported."""
    shard, record = find_record(full_copy, "png")
    edit_record(shard, record, set_values("image/height", 60))
    report = verify(full_copy)
    assert report.findings.by_kind["image_size"] == 1
    assert [finding.message.split(":")[1] for finding in mismatches(report)] == [" objects/area"]


def test_several_keys_are_reported_in_one_line(full_copy: Build) -> None:
    """Differing keys of a record are one finding, in the order of the table of keys, those of profiles last."""
    shard, record = find_record(full_copy, EVERYTHING)
    edit_record(shard, record, set_values("image/class/label", 8))
    for key in ("objects/label", "image/object/bbox/label"):
        edit_record(shard, record, set_values(key, 8, 8))
    (finding,) = mismatches(verify(full_copy))
    assert finding.message == (
        f"id '{EVERYTHING}': image/class/label: expected [3], but got [8]; image/object/bbox/label: expected [0, 4], "
        "but got [8, 8]; objects/label: expected [0, 4], but got [8, 8]"
    )


def test_a_manifest_that_was_edited_after_the_build(tf, pristine: Build, tmp_path: Path) -> None:
    """Each record whose annotations changed in the manifest is reported with its id and location, and no other one."""
    records = [json.loads(line) for line in pristine.manifest.read_text().splitlines()]
    changed = [0, 3, 7, 11]
    for number in changed:
        records[number]["object"]["bbox"]["text"][0] = "changed"
    newer = Build(pristine.directory, tmp_path / "manifest.jsonl")
    write_manifest(newer.manifest, records)
    findings = mismatches(newer.verify())
    assert sorted(finding.message.partition(":")[0] for finding in findings) == sorted(f"id 'id {n}'" for n in changed)
    assert len({finding.file for finding in findings}) > 1
    assert all(
        "image/object/bbox/text: expected ['changed', 'bird'], but got" in finding.message for finding in findings
    )
    assert [(finding.record, finding.offset) for finding in findings] == [
        (record, offsets_of(shard)[record])
        for shard, record in (find_record(pristine, finding.message.split("'")[1]) for finding in findings)
    ]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda record: record["object"]["bbox"].update(xmax=[1.5, 1.0]),
            "$.object.bbox.xmax[0]: expected a number in",
        ),
        (lambda record: record["object"]["bbox"].update(label=[1]), "$.object.bbox.label: expected 2 entries"),
        (lambda record: record.update(width=41), "$.width: expected 40, the image's, but got 41"),
        (lambda record: record["object"].update(area=[1e300, 0.1]), "$.object.area[0]: expected a number in [0, 1]"),
    ],
)
def test_a_record_of_the_manifest_that_cannot_be_encoded(
    tf, pristine: Build, tmp_path: Path, edit, message: str
) -> None:
    """If the manifest's record cannot be encoded, the stored one must come from another; the problem is quoted."""
    records = [json.loads(line) for line in pristine.manifest.read_text().splitlines()]
    edit(records[0])
    newer = Build(pristine.directory, tmp_path / "manifest.jsonl")
    write_manifest(newer.manifest, records)
    (finding,) = mismatches(newer.verify())
    assert finding.message.startswith(
        f"id 'id 0': the manifest's record of it cannot be encoded, but the shard has one: {message}"
    )


def test_rules_apply_to_records_that_cannot_be_compared(build: Build, tmp_path: Path) -> None:
    """If the manifest's record cannot be encoded, the stored annotations are checked by the rules."""
    records = [json.loads(line) for line in build.manifest.read_text().splitlines()]
    records[0]["object"]["bbox"]["label"] = [1]
    newer = Build(build.directory, tmp_path / "manifest.jsonl")
    write_manifest(newer.manifest, records)
    edit_record(*find_record(build, "id 0"), set_values("image/object/bbox/xmax", 0.5, 1.5))
    kinds = newer.verify().findings.by_kind
    assert (kinds[KIND], kinds["out_of_range"]) == (1, 1)


def test_a_record_in_another_shard(build: Build) -> None:
    """Records are found by id: one in another shard is compared, and reported where it is now."""
    first, second = frames_of(build.shard(0)), frames_of(build.shard(1))
    edit_frames(build.shard(0), lambda _: [*first[1:], *second[:1]])
    edit_frames(build.shard(1), lambda _: [*second[1:], *first[:1]])
    assert {*build.verify().findings.by_kind} == {"index_mismatch"}
    last = len(first) - 1
    edit_record(build.shard(0), last, set_values("image/class/text", b"changed"))
    (finding,) = mismatches(build.verify())
    assert (finding.file, finding.record) == (build.shard(0).name, last)


def test_rules_apply_to_records_that_the_manifest_lacks(build: Build) -> None:
    """A record that is not in the manifest is checked by the rules."""
    edit_record(build.shard(1), 2, set_values("image/id", b"stranger"))
    edit_record(build.shard(1), 2, set_values("image/object/bbox/xmax", 0.5, 1.5))
    kinds = build.verify().findings.by_kind
    assert (kinds["record_surplus"], kinds["out_of_range"], kinds[KIND]) == (1, 1, 0)


UNKNOWN: list[tuple[Callable[[Any], Any], str]] = [
    (
        lambda index: index["options"].pop("encode"),
        "index.json: options: expected options of a build and no others",
    ),
    (lambda index: index["options"]["encode"].update(colour=1), "index.json: options: expected options of a build"),
    (lambda index: index["options"].update(more={}), "index.json: options: expected options of a build"),
    (lambda index: index["options"]["encode"].update(jpeg_quality=0), "index.json: options: expected those of a build"),
    (lambda index: index["options"]["encode"].update(area="miles"), "index.json: options: expected those of a build"),
    (lambda index: index["options"]["annotations"].update(out_of_range=3), "index.json: options: expected those of a"),
    (lambda index: index.update(format_version=99), "index.json has format_version 99, but this program writes 1"),
    (lambda index: index.pop("options"), "there is no sound index.json, which tells the options of the build"),
]


@pytest.mark.parametrize(("edit", "reason"), UNKNOWN)
def test_unknown_options_skip_the_comparison(build: Build, edit: Callable[[Any], Any], reason: str) -> None:
    """Unknown options skip the check with a reason; records are then checked by the rules."""
    edit_json(build.index, edit)
    report = build.verify()
    assert report.skipped["contents"].startswith(reason)
    assert {*report.findings.by_kind} == {"index_invalid"}
    edit_record(build.shard(1), 2, set_values("image/object/bbox/xmax", 0.5, 1.5))
    assert build.verify().findings.by_kind["out_of_range"] == 1


def test_a_missing_index_skips_the_comparison(build: Build) -> None:
    """Without an index the options are unknown, so the check is skipped."""
    build.index.unlink()
    assert build.verify().skipped["contents"] == "there is no sound index.json, which tells the options of the build"


def test_names_of_keypoints_are_those_of_the_labels(full_copy: Build) -> None:
    """Other keypoint names in labels.json than those of the build are reported."""
    renamed = (LABELS[0], Label(4, "bird", keypoints=("beak", "foot")))
    findings = mismatches(verify(full_copy, renamed))
    assert {finding.message.split("'")[1] for finding in findings} >= {EVERYTHING, "rotated"}
    expected, got = ["nose", "tail", "beak", "foot"], ["nose", "tail", "beak", "wing"]
    message = f"image/object/keypoint/text: expected {expected}, but got {got}"
    assert {finding.message.partition(": ")[2] for finding in findings} == {message}


def test_a_key_that_no_build_writes(build: Build) -> None:
    """A key that the options do not give is reported."""
    edit_record(build.shard(1), 2, lambda features: features.update({"image/zoom": features["image/height"]}))
    (finding,) = mismatches(build.verify())
    assert finding.message.endswith(": image/zoom: expected no such key, but got [30]")


def reverse_entries(payload: bytes) -> bytes:
    """Encode the same Example with its keys in reverse order."""
    features = decode_example(payload)
    entries = b"".join(encode_entry(key_field(key), *features[key]) for key in sorted(features, reverse=True))
    return example_header(len(entries)) + entries


def add_unknown_field(payload: bytes) -> bytes:
    """Append an unknown field that ends like the Example itself."""
    return payload + b"\x7a" + encode_varint(len(payload)) + payload


@pytest.mark.parametrize("encode", [reverse_entries, add_unknown_field])
def test_values_that_are_encoded_in_another_way(build: Build, encode: Callable[[bytes], bytes]) -> None:
    """Equal values in other bytes are reported, since no build writes them."""
    frames = frames_of(build.shard(1))
    frames[2] = b"".join(encode_frame(encode(frames[2][HEADER.size : -FOOTER.size])))
    replace_file(build.shard(1), b"".join(frames))
    (finding,) = mismatches(build.verify())
    assert finding.message.endswith(": it has the values of the manifest, but this program encodes them to other bytes")


def test_ids_of_equal_hash(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records whose ids have the same hash are each compared with the right record of the manifest."""
    for module in ("manifest", "record_index"):
        monkeypatch.setattr(f"tfrec_stage.verify.{module}.hash64", lambda _: 5)
    assert not mismatches(build.verify())
    edit_record(build.shard(1), 2, set_values("image/class/label", 9))
    assert len(mismatches(build.verify())) == 1


def test_pins_take_24_bytes_per_record(tmp_path: Path) -> None:
    """Three numbers per record of a manifest are kept in memory."""
    write_manifest(tmp_path / "manifest.jsonl", [{"filename": "a", "id": str(number)} for number in range(1000)])
    pins = read_pins(open_manifest(tmp_path / "manifest.jsonl"))
    assert sum(column.nbytes for column in (pins.id_hashes, pins.image_hashes, pins.positions)) == 24 * 1000
