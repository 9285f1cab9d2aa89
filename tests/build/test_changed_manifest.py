"""A manifest edited during a build: no record is ever stored under the key of another."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.project import read_all
from tfrec_stage.build import build as build_module
from tfrec_stage.build.build import BuildRequest, build
from tfrec_stage.build.run import BuildRun
from tfrec_stage.engine import EngineName, EngineOptions
from tfrec_stage.errors import ManifestError
from tfrec_stage.manifest import open_manifest
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.manifest.source import RecordSource

COUNT = 12
Records = list[dict[str, Any]]


class Manifest:
    """A manifest in one of three forms, a few images, and builds from them."""

    def __init__(self, root: Path, form: str, records: Records) -> None:
        self.root = root
        self.form = form
        self.path = root / "manifest.json"
        self.records = records
        self.write(records)

    def write(self, records: Records) -> None:
        """Edit the manifest in place."""
        if self.form == "list":
            self.records[:] = records
        elif self.form == "array":
            self.path.write_text(json.dumps(records))
        else:
            self.path.write_text("".join(json.dumps(record) + "\n" for record in records))

    def open(self) -> RecordSource:
        """Open the source of records."""
        if self.form != "list":
            return open_manifest(self.path)
        source = RecordList([])
        source._dataset = self.records
        return source

    def build(self, engine: str = "threads", num_threads: int = 1) -> int:
        """Build with the shard cache; return how many shards were written."""
        request = BuildRequest(
            "train",
            self.root / "out",
            3,
            images_root=self.root / "images",
            store_directory=self.root / "store",
            engine=EngineOptions(num_threads, EngineName(engine)),
        )
        return len(build(self.open(), request).built)

    def build_clean(self) -> dict[str, bytes]:
        """Return the output of the same build without a cache."""
        build(self.open(), BuildRequest("train", self.root / "clean", 3, images_root=self.root / "images"))
        content = read_all(self.root / "clean")
        shutil.rmtree(self.root / "clean")
        return content

    def stored(self) -> set[str]:
        """Return the names of all shards in the cache."""
        return {path.name for path in (self.root / "store" / "v1" / "shards").iterdir()}


@pytest.fixture(params=["lines", "array", "list"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path, make_dataset: Callable) -> Manifest:
    """A manifest that pins no image, in each of the three forms."""
    records = [{**record, "filename": Path(record["filename"]).name} for record in make_dataset(COUNT)]
    return Manifest(tmp_path, request.param, records)


def relabel(records: Records) -> Records:
    """Return the records with other labels, in the same number of bytes."""
    return [{**record, "class": {**record["class"], "label": 9}} for record in records]


def exchange_files(first: Path, second: Path) -> None:
    """Swap the contents of two files."""
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


def edit_before(monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, edit: Callable[[], None]) -> None:
    """Edit the manifest once, right before a step of the build, which is a function of a module or a class."""
    original, edits = getattr(owner, step), [edit]

    def edited(*arguments: Any) -> Any:
        while edits:
            edits.pop()()
        return original(*arguments)

    monkeypatch.setattr(owner, step, edited)


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_manifest_edited_and_restored_during_a_build(
    manifest: Manifest, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is edited between the two reads and restored afterwards, the next build equals a clean one."""
    before = [dict(record) for record in manifest.records]
    with monkeypatch.context() as context:
        edit_before(context, BuildRun, "write_shards", lambda: manifest.write(relabel(before)))
        if manifest.form == "lines" or (manifest.form, engine) == ("list", "threads"):
            with pytest.raises(ManifestError, match="the manifest changed while it was read"):
                manifest.build(engine)
            assert not (manifest.root / "out").exists()
            assert manifest.stored() == set()
        else:  # it is read but once: what was read is what is built
            manifest.build(engine)
    manifest.write(before)
    manifest.build()
    assert read_all(manifest.root / "out") == manifest.build_clean()


def test_the_previous_build_stays(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that stops over a changed manifest leaves output and cache unchanged."""
    before = [dict(record) for record in manifest.records]
    manifest.build()
    content, stored = read_all(manifest.root / "out"), manifest.stored()
    changed = [{**record, "extra": "new"} for record in before]
    manifest.write(changed)
    count = COUNT if manifest.form == "list" else 3  # create() copies its list: only what the records hold may change
    with monkeypatch.context() as context:
        edit_before(context, BuildRun, "write_shards", lambda: manifest.write([*reversed(changed)][:count]))
        if manifest.form == "array":
            manifest.build()
            return
        with pytest.raises(ManifestError, match="the manifest changed while it was read"):
            manifest.build()
    assert read_all(manifest.root / "out") == content
    assert manifest.stored() == stored


def test_an_image_is_not_hashed_for_another_record(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpinned images are hashed in a second read of the manifest: swapped file names stop the build."""
    before = [dict(record) for record in manifest.records]
    manifest.build()
    first, second = (record["filename"] for record in before[:2])
    exchange_files(manifest.root / "images" / first, manifest.root / "images" / second)
    exchanged = [{**before[0], "filename": second}, {**before[1], "filename": first}, *before[2:]]
    with monkeypatch.context() as context:
        edit_before(context, BuildRun, "hash_unpinned_images", lambda: manifest.write(exchanged))
        if manifest.form == "array":
            assert manifest.build() > 0
        else:
            # With the names exchanged as the files are, everything would seem to be in the store.
            with pytest.raises(ManifestError, match="the manifest changed while it was read"):
                manifest.build()
    manifest.write(before)
    manifest.build()
    assert read_all(manifest.root / "out") == manifest.build_clean()


def test_a_manifest_edited_before_the_failures_are_written(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """failures.jsonl names the record that failed, or the build stops with a one-line error."""
    before = [dict(record) for record in manifest.records]
    (manifest.root / "images" / before[3]["filename"]).unlink()
    with monkeypatch.context() as context:
        make_shards = build_module._make_shards

        def edit_after(run: BuildRun) -> Any:
            finished = make_shards(run)
            manifest.write(relabel(before))
            return finished

        context.setattr(build_module, "_make_shards", edit_after)
        if manifest.form == "array":
            manifest.build()
            return
        with pytest.raises(ManifestError, match="the manifest changed while it was read"):
            manifest.build()
    assert not (manifest.root / "out").exists()
    assert manifest.stored() == set()


def test_a_manifest_changed_before_it_is_read_does_not_get_the_earlier_digest(
    tmp_path: Path, make_dataset: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest taken before the manifest changed is not stored for the content that was read."""
    records = [{**record, "filename": Path(record["filename"]).name, "sha256": None} for record in make_dataset(COUNT)]
    manifest = Manifest(tmp_path, "lines", records)
    manifest.write(relabel(records))
    manifest.build()
    manifest.write(records)
    with monkeypatch.context() as context:
        edit_before(context, build_module, "_make_shards", lambda: manifest.write(relabel(records)))
        with pytest.raises(ManifestError, match="the manifest changed while it was read"):
            manifest.build()
    manifest.write(records)
    manifest.build()
    assert read_all(manifest.root / "out") == manifest.build_clean()


def test_tasks_do_not_grow_with_the_records(
    tmp_path: Path, make_dataset: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker process gets positions and keys, however large the records are."""
    import pickle

    records = [{**record, "extra": "x" * 100_000} for record in make_dataset(COUNT)]
    sizes: list[int] = []
    write_shards = BuildRun.write_shards

    def measure(run: BuildRun, tasks: Any, *more: Any) -> Any:
        sizes.extend(len(pickle.dumps(task)) for task in tasks)
        return write_shards(run, tasks, *more)

    monkeypatch.setattr(BuildRun, "write_shards", measure)
    Manifest(tmp_path, "list", records).build("processes")
    assert len(sizes) == 3
    assert max(sizes) < 10_000
