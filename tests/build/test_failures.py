"""Builds with failing images: what may replace an earlier build, what is reported, and what is kept."""

import json
import os
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.build.test_incremental import rebuild
from tests.project import Project, files, read_all
from tests.workspace import dvc, run
from tfrec_stage import create
from tfrec_stage.build.failures import Failure, FailureLog, FailureSummary, FailureWriter
from tfrec_stage.build.fingerprint import KeyMaker
from tfrec_stage.build.options import OutputOptions
from tfrec_stage.errors import ConfigError, OutputError, TooManyFailuresError
from tfrec_stage.manifest.record_list import RecordList

MakeDataset = Callable[..., list[dict]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that was built once. It pins no image, so every build looks at the files."""
    project = Project.of(tmp_path / "project", 30, is_pinned=False)
    project.build()
    return project


class TestImagesAreGone:
    """The folder of images is missing: a disk is not mounted, or `images_root` is wrong."""

    def test_the_good_build_stays(self, project: Project) -> None:
        """Output and cache are unchanged, and once the images are back nothing has to be built."""
        output, stored = files(project.out), project.stored()
        images = project.root / "images"
        images.rename(project.root / "elsewhere")
        with pytest.raises(TooManyFailuresError) as caught:
            project.build()
        assert str(caught.value) == (
            f"train: 30 of 30 images failed, and the build that is there has records; {project.out} is left as it was, "
            f"and the records that failed are in {project.out}.failures.jsonl"
        )
        assert files(project.out) == output
        assert stored <= project.stored()
        (project.root / "elsewhere").rename(images)
        rebuilt = rebuild(project)
        assert (rebuilt.report.built, rebuilt.encoded) == ((), 0)
        assert read_all(project.out) == project.build_clean()
        assert {name for name in project.stored() if not name.endswith(".images")} == stored
        assert not caught.value.failures_path.exists()

    def test_image_hashes_are_kept(self, project: Project) -> None:
        """Hashes of images that are missing for the moment need not be computed again later."""
        for name in project.records:
            os.utime(project.image(name), (1, 1))
        project.draw("3", 4711)
        project.build()
        (known,) = project.store.glob("v1/builds/*.images")
        content = known.read_bytes()
        assert content.count(b"\n") == 29
        project.max_failures = "0"
        for name in ("5", "6"):
            project.image(name).unlink()
        with pytest.raises(TooManyFailuresError):
            project.build()
        assert known.read_bytes() == content

    def test_pinned_images_in_the_cache_are_not_needed(self, tmp_path: Path) -> None:
        """If every image is pinned, the shards are linked and no file is looked at."""
        project = Project.of(tmp_path / "project", 30)
        project.build()
        (project.root / "images").rename(project.root / "elsewhere")
        assert len(project.build().failures) == 0
        project.store = None
        before = files(project.out)
        with pytest.raises(TooManyFailuresError, match="30 of 30 images failed"):
            project.build()
        assert files(project.out) == before

    def test_all_failures_can_be_read(self, project: Project) -> None:
        """All are in a file beside the output, in the manifest's order; the error has the first of each reason."""
        for name in project.records:
            project.image(name).unlink()
        project.image("3").write_bytes(b"")
        with pytest.raises(TooManyFailuresError) as caught:
            project.build()
        failed = [json.loads(line) for line in caught.value.failures_path.read_text().splitlines()]
        assert [record["id"] for record in failed] == list(project.records)
        assert caught.value.by_reason == {"image_missing": 29, "image_empty": 1}
        assert [example.partition(":")[0] for example in caught.value.examples["image_missing"]] == ["0", "1", "2"]

    def test_create_rejects_too(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """`create` without a limit never replaces records by none."""
        dataset = make_dataset(6)
        create(dataset, "train", tmp_path / "out", 2, 1)
        before = files(tmp_path / "out")
        for record in dataset:
            Path(record["filename"]).unlink()
        with pytest.raises(TooManyFailuresError, match="6 of 6 images failed"):
            create(dataset, "train", tmp_path / "out", 2, 1)
        assert files(tmp_path / "out") == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out", "out.failures.jsonl"]

    def test_create_rejects_where_the_output_was_removed(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """After DVC removed the output, the cache keeps its shards and the next build links them."""
        dataset = make_dataset(6)
        create(dataset, "train", tmp_path / "out", 2, 1, store_dir=tmp_path / "store")
        content, stored = read_all(tmp_path / "out"), files(tmp_path / "store" / "v1" / "shards")
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "images").rename(tmp_path / "away")
        message = "6 of 6 images failed, and the latest build in the shard cache has records; .* was not made"
        with pytest.raises(TooManyFailuresError, match=message):
            create(dataset, "train", tmp_path / "out", 2, 1, store_dir=tmp_path / "store")
        assert stored.items() <= files(tmp_path / "store" / "v1" / "shards").items()
        (tmp_path / "away").rename(tmp_path / "images")
        create(dataset, "train", tmp_path / "out", 2, 1, store_dir=tmp_path / "store")
        assert read_all(tmp_path / "out") == content
        assert files(tmp_path / "store" / "v1" / "shards") == stored

    def test_create_with_a_limit_of_all(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """`max_failures="100%"` allows it."""
        dataset = make_dataset(6)
        create(dataset, "train", tmp_path / "out", 2, 1)
        for record in dataset:
            Path(record["filename"]).unlink()
        assert len(create(dataset, "train", tmp_path / "out", 2, 1, max_failures="100%")) == 6
        assert json.loads((tmp_path / "out" / "index.json").read_text())["records"] == 0


@pytest.mark.parametrize(
    ("limit", "is_allowed"), [(2, False), ("3", True), ("29%", False), ("30%", True), (None, True)]
)
def test_create_takes_a_limit(tmp_path: Path, make_dataset: MakeDataset, limit: object, is_allowed: bool) -> None:
    """More failures than the limit keep the earlier build; as many as the limit replace it."""
    dataset = make_dataset(10)
    create(dataset, "train", tmp_path / "out", 2, 1)
    before = files(tmp_path / "out")
    for record in dataset[:3]:
        Path(record["filename"]).unlink()
    if is_allowed:
        assert len(create(dataset, "train", tmp_path / "out", 2, 1, max_failures=limit)) == 3
        assert files(tmp_path / "out") != before
    else:
        with pytest.raises(TooManyFailuresError, match=f"3 of 10 images failed, more than max_failures={limit} allows"):
            create(dataset, "train", tmp_path / "out", 2, 1, max_failures=limit)
        assert files(tmp_path / "out") == before


@pytest.mark.parametrize("limit", [-1, "many", "-3%", "nan%", "", "101%", True, 1.5, [1]])
def test_an_invalid_limit_is_refused(tmp_path: Path, limit: object) -> None:
    """An invalid limit is refused before anything is written."""
    with pytest.raises(ConfigError, match="max_failures: expected a number or a percentage"):
        create([{"filename": "a", "id": "a"}], "train", tmp_path / "out", 1, 1, max_failures=limit)
    assert list(tmp_path.iterdir()) == []


def test_shards_of_a_rejected_build_are_kept(tmp_path: Path) -> None:
    """After the repair only the failed images are encoded, although the rejected build is in no directory."""
    project = Project.of(tmp_path / "project", 30)
    project.max_failures = "0"
    content = project.image("7").read_bytes()
    project.image("7").unlink()
    for _ in range(2):  # refused again, it keeps what it has
        with pytest.raises(TooManyFailuresError, match="was not made"):
            project.build()
        assert not project.out.exists()
    project.image("7").write_bytes(content)
    rebuilt = rebuild(project)
    assert (len(rebuilt.report.built), rebuilt.encoded) == (1, 1)
    assert read_all(project.out) == project.build_clean()
    assert not [name for name in project.stored() if "refused" in name]


def test_a_rejected_build_that_is_repaired_in_the_manifest(project: Project) -> None:
    """Records that the rejected build encoded are copied once the bad one is removed from the manifest."""
    project.max_failures = "0"
    for name in ("x", "y", "z"):
        project.add(name)
    project.image("y").write_bytes(b"broken")
    with pytest.raises(TooManyFailuresError):
        project.build()
    project.remove("y")
    rebuilt = rebuild(project)
    assert rebuilt.encoded == 0
    assert read_all(project.out) == project.build_clean()


class TestRecordsThatAreInvalid:
    """An invalid record fails only itself."""

    @pytest.mark.parametrize("engine", ["threads", "processes"])
    def test_it_is_returned_as_given(self, tmp_path: Path, make_dataset: MakeDataset, engine: str) -> None:
        """It is returned with its reason and the path of the problem; the others are built."""
        dataset = make_dataset(8)
        icon = object()
        dataset[2]["class"] = {"label": "cat"}
        dataset[5]["extra"] = {"icon": icon}
        dataset[6] = {"id": "6"}
        failed = create(dataset, "train", tmp_path / "out", 2, 1, engine=engine)
        assert [record["id"] for record in failed] == ["2", "5", "6"]
        assert {record["reason"] for record in failed} == {"record_invalid"}
        assert failed[0]["error_msg"].endswith("got 'cat' at `$.class`")
        assert failed[1]["extra"]["icon"] is icon
        assert failed[1]["error_msg"].startswith("`$.extra.icon`: expected JSON-like values")
        assert failed[2]["error_msg"] == "`$` has no `filename`, which every record needs"
        lines = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
        assert [line["id"] for line in lines] == ["2", "5", "6"]
        assert lines[1]["extra"] == {"icon": "a value of type object"}
        assert json.loads((tmp_path / "out" / "index.json").read_text())["records"] == 5

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            pytest.param({"icon": b"\x89PNG"}, "image/extra: `$.extra.icon`: ", id="bytes"),
            pytest.param({"icon": bytearray(b"\x89PNG")}, "image/extra: `$.extra.icon`: ", id="a buffer of bytes"),
            pytest.param({"n": [1, float("nan")]}, "image/extra: ", id="not a number"),
            pytest.param({"n": 10**5000}, "image/extra: ", id="a number of thousands of digits"),
        ],
    )
    def test_an_extra_that_is_no_json(
        self, tmp_path: Path, make_dataset: MakeDataset, extra: dict, message: str
    ) -> None:
        """An `extra` that cannot be stored as JSON text fails its record, whatever an earlier build stored."""
        dataset = make_dataset(4)
        dataset[1]["extra"] = {"n": [1, None]} if "n" in extra else {"icon": None}
        create(dataset, "train", tmp_path / "out", 1, 1, store_dir=tmp_path / "store")
        dataset[1]["extra"] = extra
        (failed,) = create(dataset, "train", tmp_path / "out", 1, 1, store_dir=tmp_path / "store")
        assert failed["id"] == "1"
        assert failed["extra"] is extra
        assert failed["error_msg"].startswith(message)

    def test_it_is_not_taken_for_the_repaired_record(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """A build with an invalid record is not taken for the one in which it is repaired."""
        dataset = make_dataset(4)
        dataset[1]["class"] = []
        assert len(create(dataset, "train", tmp_path / "out", 1, 1, store_dir=tmp_path / "store")) == 1
        dataset[1]["class"] = None
        assert create(dataset, "train", tmp_path / "out", 1, 1, store_dir=tmp_path / "store") == []
        create(dataset, "train", tmp_path / "clean", 1, 1)
        assert read_all(tmp_path / "out") == read_all(tmp_path / "clean")


class TestLog:
    """The log of failures."""

    def test_they_come_in_the_order_of_the_manifest(self, tmp_path: Path) -> None:
        """Whatever the order of tasks and of records in them; text quoted in messages is preserved."""
        source = RecordList({"filename": f"{number}.jpg", "id": number} for number in range(6))
        keys = KeyMaker(OutputOptions())
        planned = [keys.key(record).hex() for _, record in source.scan()]
        log = FailureLog(tmp_path / "log")
        for task, positions in (("b", [5, 0]), ("a", [3]), ("c", [])):
            with FailureWriter(tmp_path / task) as failures:
                for position in positions:
                    failures.add(Failure(position, planned[position], "image_missing", f"no \udce9 {position}"))
            log.collect(tmp_path / task)
        records = list(log.records(source, keys))
        assert [(record["id"], record["error_msg"]) for record in records] == [
            (0, "no \udce9 0"),
            (3, "no \udce9 3"),
            (5, "no \udce9 5"),
        ]
        assert len(log) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["log"]

    def test_a_disk_that_takes_no_failures(self, tmp_path: Path) -> None:
        """If failures cannot be written or joined, the build stops with a one-line error instead of losing them."""
        (tmp_path / "dir").mkdir()
        failure = Failure(0, "00", "image_missing", "x")
        with FailureWriter(tmp_path / "dir") as failures, pytest.raises(OutputError, match=r"cannot write .*dir: Is a"):
            failures.add(failure)
        with FailureWriter(tmp_path / "task") as failures:
            failures.add(failure)
        with pytest.raises(OutputError, match=r"cannot write .*dir: Is a"):
            FailureLog(tmp_path / "dir").collect(tmp_path / "task")
        assert (tmp_path / "task").exists()

    def test_they_are_not_held_in_memory(self, tmp_path: Path) -> None:
        """Ten thousand failures of 1,000 bytes take a small part of their size."""
        count, message = 10_000, "x" * 1000
        source = RecordList({"filename": "a.jpg", "id": number} for number in range(count))
        keys = KeyMaker(OutputOptions())
        planned = [keys.key(record).hex() for _, record in source.scan()]
        summary = FailureSummary()
        tracemalloc.start()
        try:
            with FailureWriter(tmp_path / "task") as failures:
                for position in range(count):
                    failures.add(Failure(position, planned[position], "image_missing", message))
            log = FailureLog(tmp_path / "log")
            log.collect(tmp_path / "task")
            for record in log.records(source, keys):
                summary.add(record)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (len(summary), len(summary.examples["image_missing"])) == (count, 3)
        assert peak < 100 * count + 200_000


@pytest.mark.dvc
def test_a_dvc_stage_leaves_no_directory(clone: Path) -> None:
    """A DVC stage that is rejected leaves no output, and the run after the repair builds it."""
    manifest = clone / "data" / "manifests" / "val" / "manifest.jsonl"
    text = manifest.read_text()
    image = clone / "data" / "raw" / "images" / json.loads(text.splitlines()[0])["filename"]
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(b"broken")
    manifest.unlink()
    pin = json.loads(text.splitlines()[0])["sha256"]
    manifest.write_text(text.replace(pin, "0" * 64, 1))  # another image, so that no earlier one is taken
    told = run([sys.executable, "-m", "dvc", "repro", "-s", "shards@val"], clone, expect=None)
    assert told.returncode != 0
    assert "1 of 50 images failed, more than max_failures=0 allows" in told.stderr + told.stdout
    assert not (clone / "data" / "shards" / "val").exists()
    assert (clone / "data" / "shards" / "val.failures.jsonl").exists()
    image.write_bytes(content)
    manifest.write_text(text)
    dvc("repro", directory=clone)
    assert (clone / "data" / "shards" / "val" / "index.json").exists()
