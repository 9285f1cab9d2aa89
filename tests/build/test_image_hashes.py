"""Hashes of images that no manifest pins, and the cache that saves reading them again."""

import io
import os
from array import array
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from tests.disk import names
from tfrec_stage.build import image_hashes
from tfrec_stage.build.fingerprint import KEY_SIZE, NO_KEY, KeyMaker, key_with_image, split_keys
from tfrec_stage.build.image_hashes import (
    UNCERTAIN_NS,
    HashedImages,
    HashTask,
    add_image_hashes,
    hash_images,
    hash_tasks,
)
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.build.plan import ManifestIndex, read_manifest_index
from tfrec_stage.cache.hash_cache import (
    ImageHash,
    ImageSignature,
    encode_image_hashes,
    read_image_hashes,
    write_image_hashes,
)
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest.record_list import RecordList

NOW_NS = 1_700_000_000_000_000_000
KEYS = [bytes([number]) * KEY_SIZE for number in range(4)]
OLD_NS = NOW_NS - UNCERTAIN_NS - 1


def tasks_of(folder: Path, *filenames: str, known: Mapping[str, ImageHash] | None = None) -> list[HashTask]:
    source = RecordList({"filename": name, "id": name} for name in filenames)
    output_options = OutputOptions()
    return list(
        hash_tasks(source, read_manifest_index(source, output_options), KeyMaker(output_options), folder, known or {})
    )


def hashes_of(folder: Path, *filenames: str, known: Mapping[str, ImageHash] | None = None) -> list[ImageHash | None]:
    return [image_hash for task in tasks_of(folder, *filenames, known=known) for image_hash in hash_images(task).hashes]


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that has been unchanged for just long enough."""
    monkeypatch.setattr(image_hashes, "time", SimpleNamespace(time_ns=lambda: NOW_NS))
    (tmp_path / "a").write_bytes(b"x")
    os.utime(tmp_path / "a", ns=(OLD_NS, OLD_NS))
    return tmp_path / "a"


def test_a_file_is_read_once(image: Path) -> None:
    """A cached hash is used if size, mtime, inode and ctime are the same, and ignored if any differs or is unknown."""
    (image_hash,) = hashes_of(image.parent, "a")
    signature = ImageSignature.of(image)
    assert image_hash == ImageHash("a", signature, sha256(b"x").digest())
    known = ImageHash("a", signature, b"known".ljust(32))
    assert hashes_of(image.parent, "a", known={"a": known}) == [known]
    changes = {"size_bytes": 2, "mtime_ns": OLD_NS - 1, "inode": 0, "ctime_ns": signature.ctime_ns - 1}
    assert changes.keys() == {*ImageSignature.__struct_fields__}
    for other in (None, *(replace(signature, **{name: value}) for name, value in changes.items())):
        assert hashes_of(image.parent, "a", known={"a": ImageHash("a", other, known.digest)}) == [image_hash]
    assert hashes_of(image.parent, "a", known={"b": known}) == [image_hash]


@pytest.mark.parametrize(("age_ns", "is_certain"), [(UNCERTAIN_NS + 1, True), (UNCERTAIN_NS, False), (-1, False)])
def test_recently_changed_files_are_not_cached(image: Path, age_ns: int, is_certain: bool) -> None:
    """The hash of a file that has just changed is used, but not cached."""
    os.utime(image, ns=(NOW_NS - age_ns, NOW_NS - age_ns))
    (image_hash,) = hashes_of(image.parent, "a")
    assert image_hash is not None
    assert (image_hash.signature is not None, image_hash.digest) == (is_certain, sha256(b"x").digest())


def test_a_file_that_changes_while_it_is_read(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no hash, which would belong to one content and the signature to another."""

    def read_and_change(path: str) -> bytes:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data + b"y")
        return data

    monkeypatch.setattr(image_hashes, "read_image_file", read_and_change)
    assert hashes_of(image.parent, "a") == [None]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: None, id="absent"),
        pytest.param(lambda path: path.mkdir(), id="a directory"),
        pytest.param(lambda path: path.symlink_to(path), id="a circle"),
    ],
)
def test_what_cannot_be_read(image: Path, make: Callable[[Path], None]) -> None:
    """An unreadable image gets no hash; the others do."""
    make(image.parent / "b")
    assert [image_hash is not None for image_hash in hashes_of(image.parent, "b", "a", "c\0d")] == [False, True, False]


def test_tasks_have_the_unpinned_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task has the numbers, positions and keys of its records; the last may be smaller."""
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
    """No image is hashed for a record that has changed in the manifest."""
    (task,) = tasks_of(image.parent, "a")
    with pytest.raises(ManifestError, match="changed while it was read"):
        hash_images(task._replace(source=RecordList([{"filename": "b", "id": "a"}])))


def test_hashes_are_read_back(tmp_path: Path) -> None:
    """Hashes that may be cached are read back as written; no temporary file is left."""
    hashes = [ImageHash(name, ImageSignature(number, 2, 3), b"x" * 32) for number, name in enumerate("éb")]
    lines = encode_image_hashes([*hashes, None, ImageHash("c", None, b"y" * 32)])
    write_image_hashes(tmp_path / "hashes", io.BytesIO(lines))
    assert read_image_hashes(tmp_path / "hashes") == dict(zip("éb", hashes, strict=True))
    assert names(tmp_path) == ["hashes"]
    assert read_image_hashes(tmp_path / "absent") == {}
    (tmp_path / "hashes").write_bytes(b"\xff")
    assert read_image_hashes(tmp_path / "hashes") == {}


def test_keys_cover_the_images_that_were_hashed() -> None:
    """A record without a hash, because its image is pinned or cannot be read, keeps its key."""
    index = ManifestIndex(keys=bytearray(b"".join(KEYS)), image_keys=bytearray(b"".join([KEYS[0], *[NO_KEY] * 3])))
    hashed = [
        HashedImages(array("Q", [1, 2]), [ImageHash("a", None, b"x" * 32), None], [KEYS[2], NO_KEY]),
        HashedImages(array("Q", [3]), [ImageHash("a", None, b"y" * 32)], [KEYS[1]]),
    ]
    completed = add_image_hashes(index, hashed)
    expected = [KEYS[0], key_with_image(KEYS[1], b"x" * 32), KEYS[2], key_with_image(KEYS[3], b"y" * 32)]
    assert list(split_keys(bytes(completed))) == expected
    assert bytes(index.keys) == b"".join(KEYS)
    assert list(split_keys(bytes(index.image_keys))) == [KEYS[0], KEYS[2], NO_KEY, KEYS[1]]


def test_without_images_to_hash_no_key_is_copied() -> None:
    """The keys of millions of records are held in memory once."""
    index = ManifestIndex(keys=bytearray(KEYS[0]))
    assert add_image_hashes(index, []) is index.keys
