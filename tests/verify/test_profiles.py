"""Keys of profiles, areas in pixels and compressed shards are valid as built, and a change in any of them is found."""

from pathlib import Path
from typing import Any

import pytest

from tests.verify.conftest import Build, make_build, make_records
from tests.verify.damage import edit_record, frames_of, set_values

PROFILES = ["od_api", "tfds"]
AREAS = "image/object/area"


def build_with(tmp_path: Path, **options: Any) -> Build:
    """Build four images with these options; at least one shard has two of them."""
    return make_build(tmp_path / "build", make_records(tmp_path / "images", 4), tmp_path / "images", **options)


def first_shard(build: Build) -> Path:
    """Return the first shard that has records."""
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
    """A build is valid by its index and, without one, by what its first records have, whatever the options."""
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
def test_a_changed_derived_key_is_found(tf, tmp_path: Path, key: str, values: list[Any]) -> None:
    """Without a manifest, a derived key that differs from its core key is reported, and nothing else."""
    build = build_with(tmp_path, profiles=PROFILES)
    edit_record(first_shard(build), 0, set_values(key, *values))
    findings = [finding for finding in build.verify(with_manifest=False).findings.kept if finding.record is not None]
    assert [(finding.kind, finding.record) for finding in findings] == [("copy_differs", 0)]
    assert findings[0].message.startswith(key)


def test_mismatched_lists_are_reported_once(tf, tmp_path: Path) -> None:
    """Mismatched core lists are reported, but not the derived keys that follow from them."""
    build = build_with(tmp_path, profiles=PROFILES)
    edit_record(first_shard(build), 0, set_values("image/object/bbox/label", 1, 2, 3))
    findings = [finding for finding in build.verify(with_manifest=False).findings.kept if finding.record is not None]
    assert [finding.kind for finding in findings] == ["lists_disagree"]


@pytest.mark.parametrize(("area", "is_sound"), [(40 * 30.0, True), (40 * 30.0 + 1, False), (-1.0, False)])
def test_areas_in_pixels_have_a_range(tf, tmp_path: Path, area: float, is_sound: bool) -> None:
    """An area in pixels may be that of the whole image, but not more."""
    build = build_with(tmp_path, area="pixels")
    edit_record(first_shard(build), 0, set_values(AREAS, area, area))
    kinds = {finding.kind for finding in build.verify(with_manifest=False).findings.kept if finding.record is not None}
    assert kinds == (set() if is_sound else {"value_invalid"} if area < 0 else {"out_of_range"})


def test_a_flipped_bit_in_a_compressed_shard_is_found(tf, tmp_path: Path) -> None:
    """Damage in a gzip shard is reported with its file, and the other shards are read."""
    build = build_with(tmp_path, compression="gzip")
    shard = max((build.shard(number) for number in range(3)), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 16
    shard.unlink()
    shard.write_bytes(data)
    report = build.verify()
    assert not report.is_sound
    assert {finding.file for finding in report.findings.kept} == {shard.name}
