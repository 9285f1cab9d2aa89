"""Digests of images that no manifest pins, and the notes that spare reading them again."""

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from tests.disk import names
from tfrec_stage.build import image_hashes
from tfrec_stage.build.fingerprint import KeyMaker, split_keys
from tfrec_stage.build.image_hashes import UNCERTAIN_NS, HashTask, hash_images, hash_tasks
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.build.plan import read_manifest_index
from tfrec_stage.cache.hash_cache import ImageHash, ImageSignature, read_image_hashes, write_image_hashes
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.record_list import RecordList

NOW_NS = 1_700_000_000_000_000_000
OLD_NS = NOW_NS - UNCERTAIN_NS - 1


def tasks_of(folder: Path, *filenames: str, notes: Mapping[str, ImageHash] | None = None) -> list[HashTask]:
    source = RecordList({"filename": name, "id": name} for name in filenames)
    output_options = OutputOptions()
    return list(
        hash_tasks(source, read_manifest_index(source, output_options), KeyMaker(output_options), folder, notes or {})
    )


def digested(folder: Path, *filenames: str, notes: Mapping[str, ImageHash] | None = None) -> list[ImageHash | None]:
    return [note for task in tasks_of(folder, *filenames, notes=notes) for note in hash_images(task).hashes]


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that has not changed for just long enough."""
    monkeypatch.setattr(image_hashes, "time", SimpleNamespace(time_ns=lambda: NOW_NS))
    (tmp_path / "a").write_bytes(b"x")
    os.utime(tmp_path / "a", ns=(OLD_NS, OLD_NS))
    return tmp_path / "a"


def test_a_file_is_read_once(image: Path) -> None:
    """A note of the same stamp is believed; one of another size, time, inode or ctime, or without a stamp, is not."""
    (note,) = digested(image.parent, "a")
    stamp = ImageSignature.of(image)
    assert note == ImageHash("a", stamp, sha256(b"x").digest())
    known = ImageHash("a", stamp, b"known".ljust(32))
    assert digested(image.parent, "a", notes={"a": known}) == [known]
    changes = {"size_bytes": 2, "mtime_ns": OLD_NS - 1, "inode": 0, "ctime_ns": stamp.ctime_ns - 1}
    assert changes.keys() == {*ImageSignature.__struct_fields__}
    for other in (None, *(replace(stamp, **{name: value}) for name, value in changes.items())):
        assert digested(image.parent, "a", notes={"a": ImageHash("a", other, known.digest)}) == [note]
    assert digested(image.parent, "a", notes={"b": known}) == [note]


@pytest.mark.parametrize(("age_ns", "is_settled"), [(UNCERTAIN_NS + 1, True), (UNCERTAIN_NS, False), (-1, False)])
def test_only_what_has_settled_is_noted(image: Path, age_ns: int, is_settled: bool) -> None:
    """A file that had just changed may change again within its clock's grain."""
    os.utime(image, ns=(NOW_NS - age_ns, NOW_NS - age_ns))
    (note,) = digested(image.parent, "a")
    assert note is not None
    assert (note.signature is not None, note.digest) == (is_settled, sha256(b"x").digest())


def test_a_file_that_changes_while_it_is_read(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of it then: a note would tie the digest of one content to the stamp of another."""

    def read_and_change(path: str) -> bytes:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data + b"y")
        return data

    monkeypatch.setattr(image_hashes, "read_image_file", read_and_change)
    assert digested(image.parent, "a") == [None]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: None, id="absent"),
        pytest.param(lambda path: path.mkdir(), id="a directory"),
        pytest.param(lambda path: path.symlink_to(path), id="a circle"),
    ],
)
def test_what_cannot_be_read(image: Path, make: Callable[[Path], None]) -> None:
    """It is not known; the others are."""
    make(image.parent / "b")
    assert [note is not None for note in digested(image.parent, "b", "a", "c\0d")] == [False, True, False]


def test_tasks_are_chunks_of_what_is_not_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has the numbers, positions and keys of its records; the last may be smaller."""
    monkeypatch.setattr(image_hashes, "IMAGES_PER_TASK", 2)
    pinned = {"sha256": "0" * 64}
    source = RecordList({"filename": "a", "id": number, **(pinned if number % 3 == 0 else {})} for number in range(8))
    maker = KeyMaker(OutputOptions())
    keys = [maker.key(record) for _, record in source.scan()]
    tasks = list(hash_tasks(source, read_manifest_index(source, OutputOptions()), maker, tmp_path, {}))
    assert [list(task.records) for task in tasks] == [[1, 2], [4, 5], [7]]
    assert [list(task.positions) for task in tasks] == [[1, 2], [4, 5], [7]]
    assert [list(split_keys(task.keys)) for task in tasks] == [keys[1:3], keys[4:6], keys[7:]]
    assert [list(hash_images(task).records) for task in tasks] == [[1, 2], [4, 5], [7]]


def test_another_record_than_planned(image: Path) -> None:
    """No image is digested for a record that is not there any more."""
    (task,) = tasks_of(image.parent, "a")
    with pytest.raises(ManifestError, match="changed while it was read"):
        hash_images(task._replace(source=RecordList([{"filename": "b", "id": "a"}])))


def test_notes_come_back(tmp_path: Path) -> None:
    """Those of files that had settled; no file of others is left beside."""
    notes = [ImageHash(name, ImageSignature(number, 2, 3), b"x" * 32) for number, name in enumerate("éb")]
    write_image_hashes(tmp_path / "notes", [*notes, ImageHash("c", None, b"y" * 32)])
    assert read_image_hashes(tmp_path / "notes") == dict(zip("éb", notes, strict=True))
    assert names(tmp_path) == ["notes"]
    assert read_image_hashes(tmp_path / "absent") == {}
    (tmp_path / "notes").write_bytes(b"\xff")
    assert read_image_hashes(tmp_path / "notes") == {}
