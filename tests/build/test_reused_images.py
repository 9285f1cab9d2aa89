"""An image is read, verified and stored once: builds after other changes take it from the shards of earlier builds."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import encode_noise, rotated_image, undecodable_image
from tests.project import Project, read_all
from tfrec_stage.annotations.policy import DegenerateBoxes, DuplicateBoxes, OutOfRange
from tfrec_stage.build import image_hashes, record_encoder
from tfrec_stage.build.build import BuildReport
from tfrec_stage.build.options import Compression
from tfrec_stage.images import encode
from tfrec_stage.images.policy import Verify
from tfrec_stage.schema.options import AreaUnit, Profile

LONG_AGO_S = 1_600_000_000
COUNT = 20
BOXES = {"xmin": [0.0, 0.25], "xmax": [0.5, 0.75], "ymin": [0.0, 0.25], "ymax": [0.5, 0.75], "label": [1, 2]}


@pytest.fixture(params=[True, False], ids=["pinned", "unpinned"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """Twenty records in four shards: JPEGs, some with what is repaired, and PNGs; two images each have two records."""
    made = Project.of(tmp_path / "project", COUNT, is_pinned=request.param)
    for number in range(4):
        made.add(f"drawing {number}", "PNG")
    put(made, "1", encode_noise(1) + b"trailing")
    put(made, "2", rotated_image(), width=40, height=30)  # annotations made on the stored frame
    put(made, "3", rotated_image(), width=30, height=40)  # on the upright one
    for name in ("4", "5"):
        put(made, name, encode_noise(4))
    for record in made.records.values():
        record["object"] = {"bbox": dict(BOXES)}
    return made


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the images that are read, and those that are encoded or verified."""
    counted: Counter[str] = Counter()

    def counting(name: str, function: Callable) -> Callable:
        def count(*arguments: object, **options: object) -> object:
            counted[name] += 1
            return function(*arguments, **options)

        return count

    for module in (record_encoder, image_hashes):
        monkeypatch.setattr(module, "read_image_file", counting("read", image_hashes.read_image_file))
    monkeypatch.setattr(record_encoder, "encode_image", counting("encoded", encode.encode_image))
    return counted


def put(project: Project, name: str, content: bytes, **record: object) -> None:
    """Replace the image of a record."""
    project.image(name).unlink(missing_ok=True)
    project.image(name).write_bytes(content)
    project.records[name] |= record
    project.pin(name)


def settle(project: Project) -> None:
    """Make all images old enough for their hashes to be cached."""
    for image in (project.root / "images").iterdir():
        os.utime(image, (LONG_AGO_S, LONG_AGO_S))


def relabel(project: Project) -> None:
    for record in project.records.values():
        record["class"] = {"label": 7, "text": "seven"}


def move_boxes(project: Project) -> None:
    for record in project.records.values():
        record["object"] = {"bbox": {name: edges[:1] for name, edges in BOXES.items()}}


def add_parts(project: Project) -> None:
    for record in project.records.values():
        record["object"] = record["object"] | {"parts": {"x": [0.5] * 2, "y": [0.5] * 2, "v": [2] * 2}}


def add_extra(project: Project) -> None:
    for number, record in enumerate(project.records.values()):
        record["extra"] = {"number": number}


def remove_objects(project: Project) -> None:
    for record in project.records.values():
        del record["object"]


def rename_records(project: Project) -> None:
    records = [record | {"id": f"renamed {name}"} for name, record in project.records.items()]
    project.records = {record["id"]: record for record in reversed(records)}


def reverse(project: Project) -> None:
    project.records = dict(reversed(project.records.items()))


def choose(**options: object) -> Callable[[Project], None]:
    return lambda project: project.encode.update(options)


def repair(project: Project) -> None:
    project.annotations = {
        "out_of_range": OutOfRange.clip,
        "degenerate_boxes": DegenerateBoxes.drop,
        "duplicate_boxes": DuplicateBoxes.drop,
    }
    for record in project.records.values():
        record["object"] = {"bbox": BOXES | {"xmax": [1.5, 0.75]}}


def reshard(project: Project) -> None:
    project.num_shards = 7


EDITS = [
    pytest.param(edits, id=name)
    for name, *edits in [
        ("labels", relabel),
        ("boxes", move_boxes),
        ("keypoints", add_parts),
        ("extra", add_extra),
        ("removed keys", remove_objects),
        ("ids", rename_records),
        ("order", reverse, choose(shuffle=False)),
        ("od_api", choose(profiles=[Profile.od_api])),
        ("tfds", choose(profiles=[Profile.tfds])),
        ("area", choose(area=AreaUnit.pixels)),
        ("annotation policy", repair),
        ("without images", choose(store_images=False)),
        ("gzip", choose(compression=Compression.gzip), relabel),
        ("seed", choose(seed=3), relabel),
        ("num_shards", reshard, relabel),
        ("shuffle", choose(shuffle=False), relabel),
        ("verify", choose(verify=Verify.structure)),
        (
            "all at once",
            *[relabel, add_parts, add_extra, rename_records, repair, reshard],
            choose(profiles=[Profile.od_api], area=AreaUnit.pixels, compression=Compression.gzip),
            choose(seed=3, shuffle=False, verify=Verify.structure),
        ),
    ]
]


def build_again(project: Project, work: Counter[str]) -> tuple[BuildReport, Counter[str]]:
    """Build, compare with a clean build, and return what the build did."""
    work.clear()
    report = project.build()
    done = Counter(work)
    assert read_all(project.out) == project.build_clean()
    return report, done


@pytest.mark.parametrize("first", [{}, {"compression": Compression.gzip}], ids=["from plain", "from gzip"])
@pytest.mark.parametrize("edits", EDITS)
def test_no_image_is_read_again(project: Project, work: Counter[str], edits: list, first: dict) -> None:
    """Whatever changes but the images: no image file is read, and the result equals a clean build."""
    project.encode = dict(first)
    settle(project)
    project.build()
    for edit in edits:
        edit(project)
    if Profile.tfds in project.encode.get("profiles", []):  # whose readers take no compressed shards
        project.encode["compression"] = Compression.none
    report, done = build_again(project, work)
    assert done == {}
    assert len(report.built) == project.num_shards
    copied = report.copied_records
    assert (copied, report.reused_images) in [(0, COUNT + 4), (COUNT + 4, 0)]
    # and what was reused can be reused once more
    relabel(project)
    next(iter(project.records.values()))["class"] = {"label": 9}
    assert build_again(project, work)[1] == {}


def test_images_without_their_files(project: Project, work: Counter[str]) -> None:
    """With `store_images: false` no shard is read for an image; images that no shard has are read again."""
    settle(project)
    project.build()
    project.encode = {"store_images": False, "profiles": [Profile.od_api]}
    assert build_again(project, work)[1] == {}
    relabel(project)
    assert build_again(project, work)[1] == {}
    project.encode = {"profiles": [Profile.od_api]}
    assert build_again(project, work)[1]["encoded"] == COUNT + 4


def test_the_digest_of_an_image_that_is_nowhere(project: Project, work: Counter[str]) -> None:
    """A profile that stores digests reads the images whose digest is not known: those that differ from their files."""
    settle(project)
    project.encode = {"store_images": False}
    project.build()
    project.encode = {"store_images": False, "profiles": [Profile.od_api]}
    assert build_again(project, work)[1]["encoded"] == 4 + 3  # the PNGs, and those with trailing bytes or a rotation


@pytest.mark.parametrize("option", [{"jpeg_quality": 50}, {"background": [0, 0, 0]}])
def test_another_image_policy(project: Project, work: Counter[str], option: dict) -> None:
    """What decides how images are stored: all are read again."""
    settle(project)
    project.build()
    project.encode = option
    assert build_again(project, work)[1]["encoded"] == COUNT + 4


def test_another_frame(project: Project, work: Counter[str]) -> None:
    """Annotations made on another frame of the image: that image is read again, as it is stored otherwise."""
    settle(project)
    project.build()
    project.records["2"] |= {"width": 30, "height": 40}
    assert build_again(project, work)[1] == {"read": 1, "encoded": 1}


def test_another_pillow(project: Project, work: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another Pillow encodes again the images that were re-encoded, whatever else changes; others are reused."""
    settle(project)
    project.build()
    relabel(project)
    monkeypatch.setattr("PIL.features.version_module", lambda _: "99")
    encode.pixel_codec.cache_clear()
    try:
        assert build_again(project, work)[1] == {"read": 5, "encoded": 5}
    finally:
        encode.pixel_codec.cache_clear()


def test_a_stored_image_that_is_damaged(project: Project, work: Counter[str]) -> None:
    """Damage behind an unchanged signature: only that image is read again."""
    settle(project)
    project.build()
    path = project.stored_path(project.shard_of("7"))
    stamp = path.stat()
    content = bytearray(path.read_bytes())
    image = content.index(project.image("7").read_bytes())
    content[image + 500] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    relabel(project)
    assert build_again(project, work)[1] == {"read": 1, "encoded": 1}


def test_a_sidecar_without_images(project: Project, work: Counter[str]) -> None:
    """Entries of a version that knew no image keys: records are copied, and images read once more."""
    settle(project)
    project.build()
    for sidecar in (project.store / "v1" / "shards").glob("*.jsonl"):
        rewrite(sidecar, lambda entry: entry[:12])
    project.encode = {"seed": 1}
    report, done = build_again(project, work)
    assert (report.copied_records, done) == (COUNT + 4, {})
    for sidecar in (project.store / "v1" / "shards").glob("*.jsonl"):
        rewrite(sidecar, lambda entry: entry[:12])
    relabel(project)
    assert build_again(project, work)[1]["encoded"] == COUNT + 4
    move_boxes(project)
    assert build_again(project, work)[1] == {}


def rewrite(sidecar: Path, change: Callable[[list], list]) -> None:
    """Change the entries of a sidecar, with the right checksums."""
    from google_crc32c import value

    head, *lines = sidecar.read_bytes().splitlines()
    entries = b"".join(json.dumps(change(json.loads(line))).encode() + b"\n" for line in lines)
    metadata = json.loads(head.partition(b" ")[2]) | {"entries_crc32c": value(entries)}
    line = json.dumps(metadata).encode() + b"\n"
    sidecar.unlink()
    sidecar.write_bytes(b"%08x %b%b" % (value(line), line, entries))


class TestVerified:
    """What was verified by decoding counts as verified; what had only its structure checked does not."""

    def test_decoding_is_asked_for_later(self, project: Project, work: Counter[str]) -> None:
        """After `structure`, `decode` reads all JPEGs that are stored as they are; the others were decoded."""
        settle(project)
        project.encode = {"verify": Verify.structure}
        project.build()
        project.encode = {}
        assert build_again(project, work)[1]["encoded"] == COUNT - 1  # one is rotated, and was decoded for that
        project.encode = {"verify": Verify.structure}
        assert build_again(project, work)[1] == {}
        project.encode = {}
        assert build_again(project, work)[1] == {}

    def test_what_only_decoding_finds(self, project: Project, work: Counter[str]) -> None:
        """An image that passes with `structure` alone: stored, rejected, and stored again."""
        put(project, "7", undecodable_image())
        settle(project)
        project.encode = {"verify": Verify.structure}
        assert project.build().failures.by_reason == {}
        project.encode = {"verify": Verify.decode}
        assert build_again(project, work)[0].failures.by_reason == {"image_corrupt": 1}
        project.encode = {"verify": Verify.structure}
        report, done = build_again(project, work)
        assert report.failures.by_reason == {}
        assert done == {"read": 1, "encoded": 1}


class TestFailures:
    """An image that failed is not decoded again while its content and the image policy are the same."""

    def test_the_reason_is_reported_again(self, project: Project, work: Counter[str]) -> None:
        """It is read, since it may be another one by now, but not decoded."""
        put(project, "7", undecodable_image())
        put(project, "8", b"<html>404</html>")
        settle(project)
        first = project.build().failures
        for edit in (lambda _: None, relabel, rename_records, choose(seed=2)):
            edit(project)
            report, done = build_again(project, work)
            assert done["encoded"] == 0
            assert report.failures.by_reason == first.by_reason == {"image_corrupt": 1, "image_unknown_format": 1}

    def test_structure_that_failed_fails_with_decode(self, project: Project, work: Counter[str]) -> None:
        """What fails in its structure fails with `decode` too; what failed in decoding may pass with `structure`."""
        put(project, "7", encode_noise(1)[:-300])
        settle(project)
        project.encode = {"verify": Verify.structure}
        project.build()
        project.encode = {}
        report, done = build_again(project, work)
        assert report.failures.by_reason == {"image_corrupt": 1}
        assert done["encoded"] == COUNT - 2

    def test_an_image_that_is_repaired(self, project: Project, work: Counter[str]) -> None:
        """It is stored. Until a manifest pins it, the pin is what fails."""
        put(project, "7", undecodable_image())
        settle(project)
        project.build()
        project.image("7").unlink()
        assert build_again(project, work)[0].failures.by_reason == {"image_missing": 1}
        project.image("7").write_bytes(encode_noise(7))
        settle(project)
        reasons = build_again(project, work)[0].failures.by_reason
        assert reasons == ({"image_changed": 1} if project.is_pinned else {})
        put(project, "7", encode_noise(7))
        assert build_again(project, work)[0].failures.by_reason == {}

    def test_problems_of_annotations_are_those_of_now(self, project: Project, work: Counter[str]) -> None:
        """The reason of an image of the wrong size has the problems of its annotations as they are now."""
        project.records["7"] |= {"width": 41, "height": 30}
        settle(project)
        before = project.build().failures.examples["annotation_invalid"]
        assert "xmax" not in str(before)
        project.records["7"]["object"] = {"bbox": BOXES | {"xmax": [1.5, 0.75]}}
        report, done = build_again(project, work)
        assert "xmax" in str(report.failures.examples["annotation_invalid"])
        assert done["encoded"] == 0

    def test_another_pillow_tries_again(
        self, project: Project, work: Counter[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A newer decoder may read it."""
        put(project, "7", b"<html>404</html>")
        settle(project)
        project.build()
        monkeypatch.setattr("PIL.features.version_module", lambda _: "99")
        encode.pixel_codec.cache_clear()
        try:
            assert build_again(project, work)[1]["encoded"] >= 1
        finally:
            encode.pixel_codec.cache_clear()

    def test_for_lack_of_memory(self, project: Project, work: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """An image that failed because memory was short is tried again."""

        def fail(*_: object) -> None:
            raise MemoryError

        settle(project)
        with monkeypatch.context() as patch:
            patch.setattr("tfrec_stage.images.decode._load", fail)
            assert project.build().failures.by_reason == {"image_corrupt": 4}
        report, done = build_again(project, work)
        assert report.failures.by_reason == {}
        assert done["encoded"] == 4

    def test_a_rejected_build(self, project: Project, work: Counter[str]) -> None:
        """Images and failures of a build that was rejected are known to the next one."""
        put(project, "7", undecodable_image())
        settle(project)
        project.max_failures = "0"
        with pytest.raises(Exception, match="more than max_failures=0"):
            project.build()
        project.max_failures = None
        relabel(project)
        report, done = build_again(project, work)
        assert report.reused_images == COUNT + 3
        assert done["encoded"] == 0


def test_a_cache_that_is_deleted_meanwhile(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the cache vanishes after the plan, everything is encoded."""
    settle(project)
    project.build()
    relabel(project)
    plan = project.store / "v1" / "shards"
    from tfrec_stage.build import run

    write_shards = run.BuildRun.write_shards

    def delete_and_write(*arguments: object) -> object:
        shutil.rmtree(plan)
        return write_shards(*arguments)

    monkeypatch.setattr(run.BuildRun, "write_shards", delete_and_write)
    report = project.build()
    monkeypatch.undo()
    assert report.reused_images == 0
    assert read_all(project.out) == project.build_clean()


def test_an_image_in_the_record(tmp_path: Path, work: Counter[str]) -> None:
    """An image that the record itself holds is decoded once, too; a wrong pin is found every time."""
    import base64

    project = Project.of(tmp_path, 3, is_pinned=False)
    held = {"height": 30, "width": 40, "format": "JPEG", "colorspace": "RGB", "channels": 3}
    for number, record in enumerate(project.records.values()):
        record |= {"encoded": base64.b64encode(encode_noise(number)).decode(), **held}
    project.build()
    relabel(project)
    assert build_again(project, work)[1] == {}
    project.records["1"]["sha256"] = "0" * 64
    assert build_again(project, work)[0].failures.by_reason == {"image_changed": 1}
    assert build_again(project, work)[0].failures.by_reason == {"image_changed": 1}
