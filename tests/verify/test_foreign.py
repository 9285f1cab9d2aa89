"""Shards that other programs wrote, and builds whose options change what records contain."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import encode_noise
from tests.verify.conftest import Build, make_build, make_record, make_records, write_manifest
from tests.verify.damage import edit_json, edit_record, features_of, frames_of, offsets_of, set_values
from tfrec_stage import create
from tfrec_stage.manifest import open_manifest
from tfrec_stage.tfrecord.framing import FOOTER, HEADER
from tfrec_stage.verify.report import Report
from tfrec_stage.verify.verify import VerifyRequest, verify_shards


def verify(shards: Path | str) -> Report:
    """Verify shards without a manifest."""
    return verify_shards(VerifyRequest("any", str(shards), num_threads=2))


def write_by_tensorflow(tf, path: Path, records: list[bytes]) -> None:
    """Write a shard with TensorFlow's own writer, every Example encoded again by protobuf."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(tf.train.Example.FromString(record).SerializeToString())


def payloads(path: Path) -> list[bytes]:
    """Return the payloads of a valid shard."""
    return [frame[HEADER.size : -FOOTER.size] for frame in frames_of(path)]


def test_shards_of_tensorflows_own_writer(tf, pristine: Build, tmp_path: Path) -> None:
    """Shards alone, with keys in any order, are valid; checks that need metadata files are skipped with a reason."""
    for number in range(2):
        write_by_tensorflow(tf, tmp_path / f"own.tfrecord-{number:05d}-of-00002", payloads(pristine.shard(number)))
    report = verify(tmp_path)
    assert report.is_sound, report.findings.kept
    assert report.skipped == {
        "index": "there is no index.json",
        "stats": "there is no stats.json",
        "classes": "there is no classes.json",
        "failures": "there is no failures.jsonl",
        **dict.fromkeys(("manifest", "contents", "pins", "fingerprints"), "there is no manifest"),
    }
    assert report.counts["records"] == len(frames_of(pristine.shard(0))) + len(frames_of(pristine.shard(1)))


def test_a_pattern(tf, pristine: Build) -> None:
    """Files named by a pattern are compared with no metadata file, as there may be more of them."""
    report = verify(pristine.directory / "train-0000[02]-*")
    assert report.is_sound
    assert report.counts["shards"] == 2
    assert set(report.skipped) == {
        "index",
        "stats",
        "classes",
        "failures",
        "manifest",
        "contents",
        "pins",
        "fingerprints",
    }


def test_files_of_several_directories(tf, pristine: Build, tmp_path: Path) -> None:
    """Findings name files relative to their common directory."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(pristine.shard(0), tmp_path / folder / "x.tfrecord")
    findings = verify(tmp_path / "*" / "x.tfrecord").findings.kept
    assert {(finding.kind, finding.file) for finding in findings} == {("duplicate_id", "b/x.tfrecord")}


def test_a_missing_shard_is_found_without_an_index(build: Build) -> None:
    """The names of the other shards show how many there should be."""
    build.index.unlink()
    build.shard(2).unlink()
    assert [(finding.kind, finding.file) for finding in build.verify().findings.kept] == [
        ("shard_missing", build.shard(2).name)
    ]


def make_od_api_build(tmp_path: Path) -> Build:
    """Build four records with the keys of the Object Detection API."""
    records = make_records(tmp_path / "images", 4)
    return make_build(tmp_path / "build", records, tmp_path / "images", od_api_keys=True)


@pytest.mark.parametrize("with_index", [True, False])
def test_keys_of_the_object_detection_api(tf, tmp_path: Path, with_index: bool) -> None:
    """Keys of the profile are compared if the index or, without one, the first record has them."""
    build = make_od_api_build(tmp_path)
    if not with_index:
        build.index.unlink()
    assert build.verify().is_sound
    shard = next(build.shard(number) for number in range(3) if frames_of(build.shard(number)))
    record = len(frames_of(shard)) - 1
    edit_record(shard, record, set_values("image/key/sha256", b"0" * 64))
    edit_record(shard, record, set_values("image/source_id", b"another"))
    edit_record(shard, record, set_values("image/object/class/text", b"a", b"b"))
    edit_record(shard, record, set_values("image/object/class/label", 9, 9))
    findings = [finding for finding in build.verify().findings.kept if finding.record is not None]
    by_kind = ["image_digest", "manifest_mismatch"] if with_index else ["copy_differs"] * 3 + ["image_digest"]
    assert sorted(finding.kind for finding in findings) == by_kind
    assert {(finding.record, finding.offset) for finding in findings} == {(record, offsets_of(shard)[record])}


@pytest.mark.parametrize("with_index", [True, False])
def test_images_that_are_not_stored(tf, tmp_path: Path, with_index: bool) -> None:
    """Without stored images nothing is decoded, which is reported as skipped; sizes are still checked."""
    build = make_build(tmp_path / "b", make_records(tmp_path / "images", 4), tmp_path / "images", store_images=False)
    if not with_index:
        build.index.unlink()
    report = build.verify()
    assert report.is_sound, report.findings.kept
    assert report.skipped["images"] == report.skipped["pins"] == "images are not stored"
    shard = next(build.shard(number) for number in range(3) if frames_of(build.shard(number)))
    edit_record(shard, 0, set_values("image/height", 0))
    assert build.verify().findings.by_kind["image_size"] == 1


def build_degenerate(folder: Path, keep: bool) -> Build:
    """Build a record with a box without area and, if `keep`, a reversed one."""
    record = make_record(folder, 1)
    record["object"]["bbox"] |= {"xmin": [0.5, 0.5], "xmax": [0.5, 0.2 if keep else 0.9]}
    return make_build(folder / "build", [record], folder, degenerate_boxes="keep")


def test_degenerate_boxes_that_were_kept(tf, tmp_path: Path) -> None:
    """Reversed boxes are valid if the options allow them, boxes without area also without an index."""
    build = build_degenerate(tmp_path, keep=True)
    assert build.verify().is_sound
    assert build.verify().statistics["boxes"]["reversed"] == 1
    build.index.unlink()
    assert build.verify().findings.by_kind == {"box_reversed": 1}
    (tmp_path / "other").mkdir()
    assert build_degenerate(tmp_path / "other", keep=False).verify().is_sound


def test_repaired_annotations_are_sound(tf, tmp_path: Path) -> None:
    """Annotations that a build repaired are valid."""
    record = make_record(tmp_path, 1)
    record["object"]["bbox"] |= {"xmin": [-0.5, 0.1], "xmax": [0.5, 1.4]}
    record["object"]["parts"] |= {"x": [3.0, -7.0]}
    build = make_build(tmp_path / "build", [record], tmp_path, out_of_range="clip")
    assert build.verify().is_sound


def build_images(tmp_path: Path, contents: list[bytes]) -> Build:
    """Build pinned images that the encoder may have to alter."""
    records = []
    for number, data in enumerate(contents):
        record = make_record(tmp_path, number)
        (tmp_path / record["filename"]).write_bytes(data)
        records.append(record | {"sha256": sha256(data).hexdigest()})
    return make_build(tmp_path / "build", records, tmp_path)


def test_altered_images_may_differ(tf, tmp_path: Path) -> None:
    """As many images may differ from their pins as stats.json counts; one more is reported, with examples."""
    jpegs = [encode_noise(number) for number in range(3)]
    build = build_images(tmp_path, [*jpegs, encode_noise(3, image_format="PNG"), encode_noise(4, image_format="PNG")])
    assert json.loads(build.stats.read_text())["notes"] == {"reencoded": 2}
    assert build.verify().is_sound
    location = find_record(build, b"id 0")
    edit_record(*location, set_values("image/encoded", encode_noise(77)))
    (finding,) = [finding for finding in build.verify().findings.kept if finding.kind != "index_mismatch"]
    assert (finding.kind, finding.file) == ("image_changed", "stats.json")
    assert "expected 2 stored images to differ" in finding.message
    assert f"record {location[1]} of {location[0].name}" in finding.message


def find_record(build: Build, image_id: bytes) -> tuple[Path, int]:
    """Return shard and number of a record."""
    for number in range(3):
        for record in range(len(frames_of(build.shard(number)))):
            if features_of(build.shard(number), record)["image/id"].values == [image_id]:
                return build.shard(number), record
    raise LookupError(image_id)


def test_trimmed_images_may_differ(tf, tmp_path: Path) -> None:
    """An image whose trailing bytes were dropped differs from its pin, and is counted as altered."""
    build = build_images(tmp_path, [encode_noise(0) + b"tail", encode_noise(1)])
    assert build.verify().is_sound


def test_fewer_altered_images_than_counted(build: Build) -> None:
    """Fewer differing images than stats.json counts are reported."""
    edit_json(build.stats, lambda stats: stats["notes"].update(reencoded=1))
    (finding,) = build.verify().findings.kept
    assert (finding.kind, finding.file) == ("image_changed", "stats.json")


def test_the_index_names_the_library_of_reencoded_images(tf, tmp_path: Path) -> None:
    """The index has the version of Pillow per shard: another Pillow today is fine, a wrong entry is reported."""
    build = build_images(tmp_path, [encode_noise(3, image_format="PNG")])
    assert build.verify().is_sound
    (entry,) = [entry for entry in json.loads(build.index.read_text())["shards"] if entry["made_by"]]
    assert entry["made_by"][0].startswith("pillow ")
    edit_json(
        build.index, lambda index: [one.update(made_by=["pillow 0.1"]) for one in index["shards"] if one["made_by"]]
    )
    assert [(finding.kind, finding.file) for finding in build.verify().findings.kept] == [
        ("fingerprint_mismatch", entry["name"])
    ]


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"store_images": False}], ids=str)
def test_annotations_that_changed_after_the_build(tf, tmp_path: Path, options: dict) -> None:
    """A label that changed in the manifest is reported for its record, and for the fingerprint of its shard."""
    records = [make_record(tmp_path, 0), make_record(tmp_path, 1)]
    data = encode_noise(1, image_format="PNG")
    (tmp_path / records[1]["filename"]).write_bytes(data)
    records[1]["sha256"] = sha256(data).hexdigest()
    build = make_build(tmp_path / "build", records, tmp_path, **options)
    assert build.verify().is_sound
    records[0]["class"]["label"] = 9
    write_manifest(build.manifest, records)
    assert build.verify().findings.by_kind == {"manifest_mismatch": 1, "fingerprint_mismatch": 1}


def test_unpinned_manifests(tf, tmp_path: Path) -> None:
    """Without pins neither images nor fingerprints can be compared, and both checks are skipped."""
    records = [{**record, "sha256": None} for record in make_records(tmp_path / "images", 4)]
    plain = [{key: value for key, value in record.items() if value is not None} for record in records]
    report = make_build(tmp_path / "build", plain, tmp_path / "images").verify()
    assert report.is_sound
    assert report.skipped == {
        "pins": "the manifest pins no image by its sha256",
        "fingerprints": "4 records of the manifest do not pin their image",
    }


def test_a_manifest_that_is_newer_than_the_shards(pristine: Build, tf, tmp_path: Path) -> None:
    """A new pin is reported for its image, a new record as missing."""
    lines = pristine.manifest.read_text().splitlines()
    first = json.loads(lines[0]) | {"sha256": "0" * 64}
    newer = tmp_path / "manifest.jsonl"
    newer.write_text("\n".join([json.dumps(first), *lines[1:], json.dumps({"filename": "new.jpg", "id": "new"})]))
    request = VerifyRequest("train", str(pristine.directory), open_manifest(newer), num_threads=2)
    report = verify_shards(request)
    assert report.findings.by_kind == {"image_changed": 1, "record_missing": 1}
    assert report.skipped == {"fingerprints": "1 records of the manifest do not pin their image"}


def test_a_class_with_two_names_is_a_warning(tf, tmp_path: Path) -> None:
    """A label with two names is a warning, not a finding."""
    record = make_record(tmp_path, 1)
    record["object"]["bbox"] |= {"label": [4, 4], "text": ["bird", "finch"]}
    report = make_build(tmp_path / "build", [record], tmp_path).verify()
    assert report.is_sound
    assert report.warnings == ["boxes with label 4 have several names: 'bird', 'finch'"]


def test_names_of_any_bytes(tf, tmp_path: Path) -> None:
    """A file name that is not UTF-8 is stored unchanged, and is valid."""
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    (tmp_path / name).write_bytes(encode_noise(1))
    assert create([{"filename": name, "id": "a"}], "train", tmp_path / "out", 1, 1, images_root=tmp_path) == []
    assert verify(tmp_path / "out").is_sound


def test_a_manifest_of_other_shards_is_not_compared(tf, tmp_path: Path) -> None:
    """Without an index, a manifest that has none of the ids is not compared, and the reason is given."""
    build = make_build(tmp_path / "build", make_records(tmp_path / "images", 4), tmp_path / "images")
    build.index.unlink()
    write_manifest(build.manifest, [{"filename": "a.jpg", "id": "another"}])
    report = build.verify()
    assert report.is_sound, report.findings.kept
    assert report.skipped["manifest"] == "there is no index.json, and the manifest has none of these ids"


@pytest.mark.parametrize("payload", [b"\xff\xd8\xff raw bytes", b"\xe9\xe9", b"", bytes(100)])
def test_records_that_are_no_examples(tf, tmp_path: Path, payload: bytes) -> None:
    """Any payload in a valid frame is reported, never passed to TensorFlow where it could abort the process."""
    with tf.io.TFRecordWriter(str(tmp_path / "other.tfrecord")) as writer:
        writer.write(payload)
    kinds = {finding.kind for finding in verify(tmp_path / "other.tfrecord").findings.kept}
    assert kinds <= {"not_an_example", "key_missing"}
    assert kinds


def test_an_example_that_crashes_tensorflow(tf, pristine: Build, tmp_path: Path) -> None:
    """An image whose length exceeds the record is reported, although TensorFlow's batch parser would crash."""
    (first, *_) = payloads(pristine.shard(0))
    broken = bytearray(first)
    broken[broken.index(b"\xff\xd8\xff") - 1] |= 0x80
    with tf.io.TFRecordWriter(str(tmp_path / "other.tfrecord")) as writer:
        writer.write(bytes(broken))
        writer.write(first)
    report = verify(tmp_path / "other.tfrecord")
    assert [(finding.kind, finding.record) for finding in report.findings.kept] == [("not_an_example", 0)]
    assert report.counts["records"] == 2


def test_labels_without_boxes_are_sound(tf, tmp_path: Path) -> None:
    """Objects with labels but without boxes, such as points, are valid under every profile."""
    records = make_records(tmp_path / "images", 4)
    for record in records:
        record["object"] = {"count": 2, "bbox": {"label": [1, 0]}}
    assert make_build(tmp_path / "build", records, tmp_path / "images", profiles=["od_api", "tfds"]).verify().is_sound


@pytest.mark.parametrize("name", ["index.json", "stats.json", "classes.json", "failures.jsonl"])
@pytest.mark.parametrize("damage", ["deep", "directory", "notes"])
def test_damaged_metadata_files_are_reported(tf, build: Build, name: str, damage: str) -> None:
    """A metadata file that is nested too deep, a directory, or of wrong types is reported, never an exception."""
    path = build.directory / name
    path.unlink()
    if damage == "directory":
        path.mkdir()
    else:
        path.write_bytes(b'{"notes":' + (b"[" * 200_000 if damage == "deep" else b'{"reencoded":"x"}}'))
    assert not build.verify().is_sound
