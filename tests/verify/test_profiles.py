"""Keys of profiles, areas in pixels and compressed shards: sound as built, and a change in any of them is found."""

from pathlib import Path
from typing import Any

import pytest

from tests.verify.conftest import Build, make_build, make_records
from tests.verify.damage import edit_record, frames_of, set_values

PROFILES = ["od_api", "tfds"]
AREAS = "image/object/area"


def build_with(tmp_path: Path, **options: Any) -> Build:
    """Four images, built with these options; one shard has two of them or more."""
    return make_build(tmp_path / "build", make_records(tmp_path / "images", 4), tmp_path / "images", **options)


def a_shard(build: Build) -> Path:
    return next(build.shard(number) for number in range(3) if frames_of(build.shard(number)))


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"profiles": PROFILES},
        {"area": "pixels"},
        {"area": "pixels", "profiles": PROFILES},
        {"compression": "gzip"},
        {"compression": "gzip", "profiles": ["od_api"]},
        {"store_images": False, "compression": "gzip"},
    ],
    ids=str,
)
def test_what_was_built_is_sound(tf, tmp_path: Path, options: dict[str, Any], with_index: bool) -> None:
    """Whatever the options, a build is sound: by its index, and without one by what its first records show."""
    build = build_with(tmp_path, **options)
    if not with_index:
        build.index.unlink()
    report = build.verify()
    assert report.is_sound, report.findings.kept
    assert ("fingerprints" in report.skipped) is not with_index


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("image/source_id", [b"another"]),
        ("image/object/class/label", [9, 9]),
        ("image/object/class/text", [b"a", b"b"]),
        ("image/object/group_of", [1, 1]),
        ("image/object/keypoint/x", [0.9, 0.9]),
        ("image/object/keypoint/y", [0.9, 0.9]),
        ("image/object/keypoint/visibility", [1, 1]),
        ("objects/bbox", [0.5] * 8),
        ("objects/bbox", [0.5] * 4),
        ("objects/label", [9, 9]),
        ("objects/id", [b"a", b"b"]),
    ],
    ids=str,
)
def test_a_changed_copy_is_found(tf, tmp_path: Path, key: str, values: list[Any]) -> None:
    """Without a manifest a key of a profile that does not say what its core key says is told, and nothing else."""
    build = build_with(tmp_path, profiles=PROFILES)
    edit_record(a_shard(build), 0, set_values(key, *values))
    faults = [fault for fault in build.verify(with_manifest=False).findings.kept if fault.record is not None]
    assert [(fault.kind, fault.record) for fault in faults] == [("copy_differs", 0)]
    assert faults[0].message.startswith(key)


def test_lists_that_disagree_are_told_once(tf, tmp_path: Path) -> None:
    """Where core lists disagree in length, what profiles made of them is not told as well."""
    build = build_with(tmp_path, profiles=PROFILES)
    edit_record(a_shard(build), 0, set_values("image/object/bbox/label", 1, 2, 3))
    faults = [fault for fault in build.verify(with_manifest=False).findings.kept if fault.record is not None]
    assert [fault.kind for fault in faults] == ["lists_disagree"]


@pytest.mark.parametrize(("area", "is_sound"), [(40 * 30.0, True), (40 * 30.0 + 1, False), (-1.0, False)])
def test_areas_in_pixels_have_a_range(tf, tmp_path: Path, area: float, is_sound: bool) -> None:
    """An area in pixels may be all of the image and no more."""
    build = build_with(tmp_path, area="pixels")
    edit_record(a_shard(build), 0, set_values(AREAS, area, area))
    kinds = {fault.kind for fault in build.verify(with_manifest=False).findings.kept if fault.record is not None}
    assert kinds == (set() if is_sound else {"value_invalid"} if area < 0 else {"out_of_range"})


def test_a_flipped_bit_in_a_compressed_shard_is_found(tf, tmp_path: Path) -> None:
    """Damage in a gzip shard is told as what cannot be read, with its file; the other shards are read."""
    build = build_with(tmp_path, compression="gzip")
    shard = max((build.shard(number) for number in range(3)), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 16
    shard.unlink()
    shard.write_bytes(data)
    report = build.verify()
    assert not report.is_sound
    assert {fault.file for fault in report.findings.kept} == {shard.name}
