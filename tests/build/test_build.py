"""Builds from Python, end to end."""

import copy
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import MakeDataset, encode_noise
from tfrec_stage import create, directories
from tfrec_stage.cache.shard_cache import NoCache
from tfrec_stage.engine import EngineName, EngineOptions, runner
from tfrec_stage.errors import ConfigError, ManifestError, OutputError
from tfrec_stage.progress import Progress

LINUX_ONLY = [
    "copy_file_range",
    "link",
    "posix_fadvise",
    "preadv",
    "RWF_NOWAIT",
    "writev",
    "memfd_create",
    "O_DIRECTORY",
]
"""What `os` has on Linux alone, or not everywhere."""
FULL_RECORD = {
    "id": "0",
    "extra": '{"a": 1}',
    "class": {"label": 1, "text": "Indigo Bunting", "conf": 0.9},
    "object": {
        "count": 1,
        "area": [0.49],
        "id": ["1"],
        "bbox": {
            "xmin": [0.1],
            "xmax": [0.8],
            "ymin": [0.2],
            "ymax": [0.9],
            "label": [1],
            "text": ["bird"],
            "score": [0.8],
            "conf": [0.9],
        },
        "parts": {"x": [0.2, 0.5], "y": [0.3, 0.6], "v": [2, 1], "score": [1.0, 1.0]},
    },
}


def digests(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def read_examples(tf, directory: Path) -> list[dict]:
    """Read all records of all shards, parsed by TensorFlow alone."""
    dataset = tf.data.TFRecordDataset(sorted(str(path) for path in directory.glob("*-of-*")))
    return [_as_dict(tf.train.Example.FromString(raw)) for raw in dataset.as_numpy_iterator()]


def _as_dict(example) -> dict:
    return {key: list(getattr(f, f.WhichOneof("kind")).value) for key, f in example.features.feature.items()}


@pytest.fixture(autouse=True, params=EngineName, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> EngineName:
    """Run every test here on each engine: where the default, threads, is asked for, the engine under test is used."""
    open_pool = runner._open_pool

    def open_under_test(options: EngineOptions, *arguments: object) -> runner.Pool:
        is_default = options.engine is EngineName.threads
        return open_pool(replace(options, engine=request.param) if is_default else options, *arguments)

    monkeypatch.setattr(runner, "_open_pool", open_under_test)
    return request.param


def build(dataset: list[dict], directory: Path, **options) -> list[dict]:
    return create(dataset, "train", directory, **{"num_shards": 3, "num_threads": 2, **options})


class TestRecords:
    """What is stored is what was given."""

    def test_a_full_record_comes_back(self, tf, tmp_path: Path) -> None:
        """Every value of the nested form comes back through tf.io.parse_single_example."""
        image = tmp_path / "1.jpg"
        image.write_bytes(encode_noise(1))
        assert build([{**FULL_RECORD, "filename": str(image)}], tmp_path / "out", num_shards=1) == []
        raw = next(tf.data.TFRecordDataset(str(tmp_path / "out" / "train-00000-of-00001")).as_numpy_iterator())
        scalar, many = tf.io.FixedLenFeature, tf.io.VarLenFeature
        spec = {
            **{f"image/{key}": scalar([], tf.string) for key in ("id", "filename", "encoded", "extra", "class/text")},
            **{f"image/{key}": scalar([], tf.string) for key in ("colorspace", "format")},
            **{f"image/{key}": scalar([], tf.int64) for key in ("height", "width", "channels", "class/label")},
            "image/object/count": scalar([], tf.int64),
            "image/class/conf": scalar([], tf.float32),
            **{f"image/object/bbox/{key}": many(tf.float32) for key in ("xmin", "xmax", "ymin", "ymax")},
            **{f"image/object/bbox/{key}": many(tf.float32) for key in ("score", "conf")},
            "image/object/bbox/label": many(tf.int64),
            "image/object/bbox/text": many(tf.string),
            **{f"image/object/parts/{key}": many(tf.float32) for key in ("x", "y", "score")},
            "image/object/parts/v": many(tf.int64),
            "image/object/area": many(tf.float32),
            "image/object/id": many(tf.string),
        }
        parsed = tf.io.parse_single_example(raw, spec)
        got = {
            key: (tf.sparse.to_dense(value) if isinstance(value, tf.sparse.SparseTensor) else value).numpy()
            for key, value in parsed.items()
        }
        assert got["image/id"] == b"0"
        assert got["image/filename"] == str(image).encode()
        assert got["image/encoded"] == image.read_bytes()
        assert (got["image/height"], got["image/width"], got["image/channels"]) == (30, 40, 3)
        assert (got["image/format"], got["image/colorspace"]) == (b"JPEG", b"RGB")
        assert (got["image/class/label"], got["image/class/text"]) == (1, b"Indigo Bunting")
        assert got["image/class/conf"] == pytest.approx(0.9)
        assert got["image/extra"] == b'{"a": 1}'
        assert got["image/object/count"] == 1
        boxes, parts = FULL_RECORD["object"]["bbox"], FULL_RECORD["object"]["parts"]
        for key in ("xmin", "xmax", "ymin", "ymax", "score", "conf", "label"):
            assert got[f"image/object/bbox/{key}"] == pytest.approx(boxes[key])
        assert list(got["image/object/bbox/text"]) == [b"bird"]
        assert list(got["image/object/id"]) == [b"1"]
        assert got["image/object/area"] == pytest.approx([0.49])
        for key in ("x", "y", "v", "score"):
            assert got[f"image/object/parts/{key}"] == pytest.approx(parts[key])

    def test_a_minimal_record_has_every_key(self, tf, tmp_path: Path) -> None:
        """Only `filename` and `id` are required; all 27 keys are stored, each with its kind and default."""
        (tmp_path / "a.jpg").write_bytes(encode_noise(1))
        build([{"filename": "a.jpg", "id": 5}], tmp_path / "out", num_shards=1, images_root=tmp_path)
        raw = (tmp_path / "out" / "train-00000-of-00001").read_bytes()
        example = tf.train.Example.FromString(raw[12:-4])
        assert len(example.features.feature) == 27
        assert all(feature.WhichOneof("kind") for feature in example.features.feature.values())
        got = _as_dict(example)
        assert got["image/filename"] == [b"a.jpg"]
        assert got["image/class/label"] == [0]
        assert got["image/class/text"] == [b""]
        assert got["image/class/conf"] == [1.0]
        assert got["image/extra"] == [b""]
        assert got["image/object/count"] == [0]
        assert got["image/object/bbox/xmin"] == []

    def test_bytes_are_those_of_tensorflow(self, tf, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Each record of a shard is what tf.train.Example serialises deterministically."""
        build(make_dataset(20), tmp_path / "out")
        shards = sorted(str(path) for path in (tmp_path / "out").glob("*-of-*"))
        stored = list(tf.data.TFRecordDataset(shards).as_numpy_iterator())
        assert len(stored) == 20
        for raw in stored:
            assert tf.train.Example.FromString(raw).SerializeToString(deterministic=True) == raw

    def test_labels_may_be_digits(self, tf, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """`"label": "1"` is read as 1."""
        (record,) = make_dataset(1)
        build([record | {"class": {"label": "1"}}], tmp_path / "out")
        assert read_examples(tf, tmp_path / "out")[0]["image/class/label"] == [1]

    def test_extra_may_be_any_json(self, tf, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """A string is stored as it is, any other JSON value as JSON text."""
        first, second = make_dataset(2)
        build([first | {"extra": "plain"}, second | {"extra": {"b": [1], "a": "ä"}}], tmp_path / "out", shuffle=False)
        extras = [example["image/extra"][0].decode() for example in read_examples(tf, tmp_path / "out")]
        assert extras == ["plain", '{"a": "ä", "b": [1]}']

    def test_bytes_in_the_record_are_encoded(self, tf, tmp_path: Path) -> None:
        """With `encoded` no file is read."""
        described = {"height": 30, "width": 40, "format": "JPEG", "colorspace": "RGB", "channels": 3}
        record = {"filename": "nowhere.jpg", "id": "a", "encoded": encode_noise(1), **described}
        assert build([record], tmp_path / "out") == []
        assert read_examples(tf, tmp_path / "out")[0]["image/encoded"] == [encode_noise(1)]

    def test_images_need_not_be_stored(self, tf, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """`store_images=False` leaves `image/encoded` empty and states the format of the file."""
        dataset = make_dataset(5)
        build(dataset, tmp_path / "with")
        assert build(dataset, tmp_path / "without", store_images=False) == []
        stored, named = (read_examples(tf, tmp_path / name) for name in ("with", "without"))
        assert [example["image/encoded"] for example in named] == [[b""]] * 5
        assert [e["image/format"] for e in named] == [
            [b"PNG"] if e["image/filename"][0].endswith(b"png") else [b"JPEG"] for e in named
        ]
        same = {"image/encoded": [b""], "image/format": [b""]}
        assert [example | same for example in named] == [example | same for example in stored]

    def test_every_image_decodes(self, tf, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """TensorFlow decodes every image to the stated size, PNG files included."""
        build(make_dataset(10), tmp_path / "out")
        examples = read_examples(tf, tmp_path / "out")
        assert len(examples) == 10
        for example in examples:
            shape = tf.io.decode_jpeg(example["image/encoded"][0], channels=3).shape
            assert tuple(shape) == (example["image/height"][0], example["image/width"][0], 3)


class TestSameBytes:
    """The same records and output options give the same bytes."""

    @pytest.mark.parametrize("num_threads", [1, 2, 7])
    @pytest.mark.parametrize("num_shards", [1, 3, 10])
    def test_threads_do_not_matter(
        self, tmp_path: Path, make_dataset: MakeDataset, num_threads: int, num_shards: int
    ) -> None:
        """Any number of threads with any number of shards gives the same files."""
        dataset = make_dataset(40)
        build(dataset, tmp_path / "one", num_shards=num_shards, num_threads=1)
        build(dataset, tmp_path / "many", num_shards=num_shards, num_threads=num_threads)
        assert digests(tmp_path / "many") == digests(tmp_path / "one")

    def test_the_order_of_records_does_not_matter(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """A shuffled dataset gives the same files."""
        dataset = make_dataset(40)
        build(dataset, tmp_path / "first")
        build(random.Random(1).sample(dataset, len(dataset)), tmp_path / "second")
        assert digests(tmp_path / "second") == digests(tmp_path / "first")

    def test_systems_that_have_less(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Systems without the calls that only Linux has, and without hard links, write the same."""
        dataset = make_dataset(20)
        build(dataset, tmp_path / "expected", store_dir=tmp_path / "expected store")
        program = f"""
import ctypes, json, os, sys
for name in {LINUX_ONLY}:
    hasattr(os, name) and delattr(os, name)
ctypes.CDLL = lambda *_, **__: object()
from tfrec_stage import create
for _ in range(2):
    assert create(json.load(open("dataset.json")), "train", "out", 3, 2, store_dir="store") == []
"""
        (tmp_path / "dataset.json").write_text(json.dumps(dataset))
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
        assert digests(tmp_path / "out") == digests(tmp_path / "expected")
        assert not {path.stat().st_ino for path in (tmp_path / "store" / "v1" / "shards").iterdir()} & {
            path.stat().st_ino for path in (tmp_path / "out").iterdir()
        }

    def test_process_and_directory_do_not_matter(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Other processes with other hash seeds, in other working directories, give the same files."""
        for name in ("first", "second"):
            workspace = tmp_path / name
            workspace.mkdir()
            dataset = make_dataset(20, workspace)
            relative = [r | {"filename": os.path.relpath(r["filename"], workspace)} for r in dataset]
            (workspace / "dataset.json").write_text(json.dumps(relative))
            script = (
                "import json; from tfrec_stage import create;"
                "create(json.load(open('dataset.json')), 'train', 'out', 3, 2)"
            )
            environment = {**os.environ, "PYTHONHASHSEED": str(len(name))}
            subprocess.run([sys.executable, "-c", script], cwd=workspace, env=environment, check=True, timeout=120)
        assert digests(tmp_path / "second" / "out") == digests(tmp_path / "first" / "out")

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("seed", 1),
            ("shuffle", False),
            ("jpeg_quality", 50),
            ("profiles", ["od_api"]),
            ("area", "pixels"),
            ("store_images", False),
            ("compression", "gzip"),
        ],
    )
    def test_output_options_matter(self, tmp_path: Path, make_dataset: MakeDataset, option: str, value: object) -> None:
        """An output option changes the shards, and the fingerprint of every shard that changes."""
        dataset = make_dataset(30)
        build(dataset, tmp_path / "before")
        build(dataset, tmp_path / "after", **{option: value})
        before, after = (json.loads((tmp_path / d / "index.json").read_text())["shards"] for d in ("before", "after"))
        assert before != after
        for old, new in zip(before, after, strict=True):
            assert (old["crc32c"] == new["crc32c"]) or (old["fingerprint"] != new["fingerprint"])


class TestFailures:
    """A bad image is data: it is returned with its reason, and the others go on."""

    def test_failed_records_come_back(self, tf, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Each failed dict is a copy with `error_msg`; the rest is written; the given records are not changed."""
        dataset = make_dataset(10)
        dataset[3]["filename"] = str(tmp_path / "nowhere.jpg")
        Path(dataset[5]["filename"]).write_bytes(b"<html>404</html>")
        dataset[7]["object"]["bbox"]["xmax"].append(0.5)
        given = copy.deepcopy(dataset)
        failed = build(dataset, tmp_path / "out")
        assert dataset == given
        assert [record["reason"] for record in failed] == [
            "image_missing",
            "image_unknown_format",
            "annotation_invalid",
        ]
        for record, number in zip(failed, (3, 5, 7), strict=True):
            assert record == {**dataset[number], "error_msg": record["error_msg"], "reason": record["reason"]}
            assert record is not dataset[number]
        assert "xmax" in failed[2]["error_msg"]
        assert sorted(int(e["image/id"][0]) for e in read_examples(tf, tmp_path / "out")) == [0, 1, 2, 4, 6, 8, 9]
        stats = json.loads((tmp_path / "out" / "stats.json").read_text())
        assert (stats["images"], stats["failed"], stats["failures"]["image_missing"]) == (7, 3, 1)

    def test_totals_are_numbers_or_have_names(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """The metrics that DVC shows contain no list and no count per class or shard."""
        build(make_dataset(10), tmp_path / "out")
        stats = json.loads((tmp_path / "out" / "stats.json").read_text())
        assert list(stats) == [
            "images",
            "image_bytes",
            "boxes",
            "parts",
            "notes",
            "mended",
            "duplicate_boxes",
            "failed",
            "failures",
        ]
        assert stats["notes"] == {"reencoded": 2}

    def test_classes_are_counted_by_name(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """An image counts once for a class, by its own class or by any number of boxes; unused classes are listed."""
        dataset = make_dataset(4)
        dataset[0]["object"]["bbox"] = {"xmin": [0, 0], "xmax": [1, 1], "ymin": [0, 0], "ymax": [1, 1], "label": [1, 1]}
        build(dataset, tmp_path / "out", labels=["cat", "dog", "owl", "unicorn"])
        assert json.loads((tmp_path / "out" / "classes.json").read_text()) == [
            {"label": 0, "name": "cat", "images": 2, "boxes": 1},
            {"label": 1, "name": "dog", "images": 2, "boxes": 3},
            {"label": 2, "name": "owl", "images": 1, "boxes": 1},
            {"label": 3, "name": "unicorn", "images": 0, "boxes": 0},
        ]

    def test_class_names_from_the_records(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Without labels, the texts stored with the label numbers are the names."""
        build(make_dataset(4), tmp_path / "out")
        classes = json.loads((tmp_path / "out" / "classes.json").read_text())
        assert [each["name"] for each in classes] == ["class 0", "class 1", "class 2"]

    def test_no_class_at_all(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Images alone have no classes."""
        build([{"filename": each["filename"], "id": each["id"]} for each in make_dataset(2)], tmp_path / "out")
        assert json.loads((tmp_path / "out" / "classes.json").read_text()) == []

    def test_failures_can_be_repaired_and_fed_back(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """A list of failures is a dataset: once repaired, it can be built."""
        dataset = make_dataset(3)
        image = Path(dataset[1]["filename"])
        content = image.read_bytes()
        image.unlink()
        failed = build(dataset, tmp_path / "out")
        image.write_bytes(content)
        assert build(failed, tmp_path / "again") == []
        build(dataset[1:2], tmp_path / "clean")
        assert digests(tmp_path / "again") == digests(tmp_path / "clean")

    def test_a_pinned_image_that_changed_fails(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """The sha256 of a record must be that of its image."""
        first, second = make_dataset(2)
        first["sha256"] = sha256(Path(first["filename"]).read_bytes()).hexdigest()
        second["sha256"] = first["sha256"]
        (failed,) = build([first, second], tmp_path / "out")
        assert (failed["id"], failed["reason"]) == ("1", "image_changed")

    def test_a_failed_image_changes_the_fingerprint(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """A shard without one of its images never has the fingerprint of the complete shard."""
        dataset = make_dataset(2)
        build(dataset, tmp_path / "whole", num_shards=1)
        Path(dataset[0]["filename"]).unlink()
        build(dataset, tmp_path / "less", num_shards=1)
        whole, less = (json.loads((tmp_path / d / "index.json").read_text())["shards"][0] for d in ("whole", "less"))
        assert whole["fingerprint"] != less["fingerprint"]

    def test_all_may_fail(self, tmp_path: Path) -> None:
        """If every image fails, the shards exist and are empty."""
        failed = build([{"filename": "nowhere", "id": str(number)} for number in range(4)], tmp_path / "out")
        assert len(failed) == 4
        assert [path.stat().st_size for path in (tmp_path / "out").glob("*-of-*")] == [0, 0, 0]


class TestRefusals:
    """A bad manifest or option is an exception, and nothing is written."""

    @pytest.mark.parametrize(
        ("records", "message"),
        [
            pytest.param([], "has none", id="no records"),
            pytest.param([{"filename": "a", "id": 1}, {"filename": "b", "id": "1"}], r"dataset\[0\] and dataset\[1\]"),
            pytest.param([{"filename": "a", "id": "1", "objct": {}}], "did you mean `object`"),
            pytest.param([{"filename": "a"}], "has no `id`"),
            pytest.param([3], r"expected an object at `\$`, but got a number"),
        ],
    )
    def test_bad_manifests(self, tmp_path: Path, records: list, message: str) -> None:
        """Malformed records, duplicate ids and empty datasets are refused."""
        with pytest.raises(ManifestError, match=message):
            build(records, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_shards": 0}, "num_shards: expected 1 to 99,999, but got 0"),
            ({"num_shards": 2.0}, "num_shards"),
            ({"num_threads": 0}, "num_threads: expected 1 to 1,024, but got 0"),
            ({"engine": "magic"}, "engine: expected one of threads, processes, but got 'magic'"),
            ({"jpeg_quality": 101}, "encode.jpeg_quality"),
            ({"verify": "no"}, "encode.verify: expected one of decode, structure, but got 'no'"),
            ({"profiles": ["tfd"]}, "encode.profiles: expected a list of od_api, tfds, dali, csv, croissant, but got"),
            ({"profiles": "tfds"}, "encode.profiles: expected a list of od_api, tfds, .*, but got 'tfds'"),
            ({"progress": True}, "progress: expected a function that takes a Progress, but got True"),
            ({"labels": ["\ud800"]}, "labels: expected a list of names"),
            ({"about": {"name": "\udcff"}}, "about.name: expected text that UTF-8 can hold"),
            ({"sed": 1}, "unknown option 'sed': did you mean 'seed'"),
            ({"background": [0, 0]}, "background"),
        ],
    )
    def test_bad_options(self, tmp_path: Path, options: dict, message: str) -> None:
        """An unknown option, or one out of range, is named in the error."""
        with pytest.raises(ConfigError, match=message):
            build([{"filename": "a", "id": "1"}], tmp_path / "out", **options)
        assert list(tmp_path.iterdir()) == []

    def test_bad_names(self, tmp_path: Path) -> None:
        """A name that would lead to another directory is refused."""
        with pytest.raises(ConfigError, match="name: expected a name without slashes"):
            create([{"filename": "a", "id": "1"}], "../train", tmp_path / "out", 1, 1)


class TestOutput:
    """The output directory is replaced as a whole, and only if it holds nothing but an earlier build."""

    def test_leftovers_do_not_survive(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """After a build with fewer shards, no file of the earlier build is left."""
        build(make_dataset(10), tmp_path / "out", num_shards=5)
        build(make_dataset(10), tmp_path / "out", num_shards=2)
        names = {path.name for path in (tmp_path / "out").iterdir()}
        accounts = {"index.json", "stats.json", "classes.json", "failures.jsonl"}
        assert names == {"train-00000-of-00002", "train-00001-of-00002", *accounts}

    def test_an_output_of_an_earlier_version_is_ours(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """An output without classes.json, whose stats.json counts labels, is replaced."""
        build(make_dataset(3), tmp_path / "out")
        (tmp_path / "out" / "classes.json").unlink()
        (tmp_path / "out" / "stats.json").write_text(
            '{"images": 3, "object_labels": {"0": 3}, "records_per_shard": [3]}'
        )
        build(make_dataset(3), tmp_path / "out")
        assert (tmp_path / "out" / "classes.json").exists()

    @pytest.mark.parametrize("foreign", ["notes.txt", "val-00000-of-00002", "train.jpg"])
    def test_foreign_files_are_never_removed(self, tmp_path: Path, make_dataset: MakeDataset, foreign: str) -> None:
        """A directory with other files is refused before anything is built, and the files are named."""
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / foreign).write_text("mine")
        events: list[object] = []
        with pytest.raises(OutputError, match=f"it holds {foreign}"):
            build(make_dataset(3), tmp_path / "out", progress=events.append)
        assert events == []
        assert (tmp_path / "out" / foreign).read_text() == "mine"

    @pytest.mark.parametrize("foreign", ["index.json", "train-00000-of-00003"])
    def test_a_folder_is_never_ours(self, tmp_path: Path, make_dataset: MakeDataset, foreign: str) -> None:
        """A folder that has the name of one of our files is foreign, with everything in it."""
        (tmp_path / "out" / foreign).mkdir(parents=True)
        (tmp_path / "out" / foreign / "mine").touch()
        with pytest.raises(OutputError, match=f"it holds {foreign}"):
            build(make_dataset(3), tmp_path / "out")
        assert (tmp_path / "out" / foreign / "mine").exists()

    @pytest.mark.parametrize("is_there", [True, False])
    @pytest.mark.parametrize("foreign", ["NOTES.md", "val-00000-of-00002"])
    def test_foreign_files_that_come_during_the_build(
        self, tmp_path: Path, make_dataset: MakeDataset, foreign: str, is_there: bool
    ) -> None:
        """Files added to the output directory during the build are refused like those that were there before."""
        if is_there:
            build(make_dataset(10), tmp_path / "out")
        before = digests(tmp_path / "out") if is_there else {}

        def put(_: object) -> None:
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out" / foreign).write_text("mine")

        with pytest.raises(OutputError, match=f"it holds {foreign}"):
            build(make_dataset(12), tmp_path / "out", progress=put)
        assert (tmp_path / "out" / foreign).read_text() == "mine"
        (tmp_path / "out" / foreign).unlink()
        assert digests(tmp_path / "out") == before
        assert {path.name for path in tmp_path.iterdir()} == {"images", "out"}

    def test_a_foreign_file_at_the_last_moment(
        self, tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file added after the last check is kept beside the new shards, and refused by the next build."""
        build(make_dataset(10), tmp_path / "out", profiles=["csv"])
        swap = directories._swap

        def put_and_swap(staging: Path, path: Path) -> None:
            (path / "NOTES.md").write_text("mine")
            swap(staging, path)

        monkeypatch.setattr(directories, "_swap", put_and_swap)
        build(make_dataset(12), tmp_path / "out")
        index = json.loads((tmp_path / "out" / "index.json").read_text())
        assert index["records"] == 12
        assert (tmp_path / "out" / "NOTES.md").read_text() == "mine"
        assert not (tmp_path / "out" / "train.csv").exists()
        with pytest.raises(OutputError, match=r"it holds NOTES\.md"):
            build(make_dataset(12), tmp_path / "out")

    def test_a_directory_that_may_not_be_read(
        self, tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An output directory without read permission is refused with a one-line error."""

        def refuse(directory: Path) -> None:
            raise PermissionError(13, "Permission denied", str(directory))

        (tmp_path / "out").mkdir()
        monkeypatch.setattr("tfrec_stage.shards.directory.os.scandir", refuse)
        with pytest.raises(OutputError, match=r"cannot read .*out: Permission denied; name another"):
            build(make_dataset(3), tmp_path / "out")

    def test_a_file_in_the_place_is_refused(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """A file in the place of the output directory is left alone."""
        (tmp_path / "out").write_text("mine")
        with pytest.raises(OutputError, match="to be a directory"):
            build(make_dataset(3), tmp_path / "out")

    def test_the_index_describes_the_files(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """Sizes and checksums of the index are those of the files."""
        from google_crc32c import value

        build(make_dataset(12), tmp_path / "out")
        index = json.loads((tmp_path / "out" / "index.json").read_text())
        assert (index["name"], index["num_shards"], index["records"]) == ("train", 3, 12)
        assert index["options"]["encode"]["seed"] == 0
        for shard in index["shards"]:
            data = (tmp_path / "out" / shard["name"]).read_bytes()
            assert (len(data), f"{value(data):08x}") == (shard["size_bytes"], shard["crc32c"])

    def test_an_interrupted_build_leaves_the_previous_one(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """After Ctrl-C the previous output is complete and no temporary file is left."""
        build(make_dataset(10), tmp_path / "out")
        before = digests(tmp_path / "out")

        def interrupt(_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(make_dataset(30), tmp_path / "out", progress=interrupt)
        assert digests(tmp_path / "out") == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]

    def test_the_last_progress_event(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        """The last progress event counts every image, failures included."""
        events = []
        build(make_dataset(10), tmp_path / "out", progress=events.append)
        assert (events[-1].name, events[-1].done, events[-1].total, events[-1].is_last) == ("train", 10, 10, True)


def test_a_killed_worker_changes_no_byte(tmp_path: Path, make_dataset: MakeDataset) -> None:
    """With every third image broken and a worker process killed, the output is what threads write."""
    dataset = make_dataset(90)
    for record in dataset[::3]:
        Path(record["filename"]).write_bytes(b"no image")
    killed = []

    def kill_one(_: Progress) -> None:
        if not killed:
            killed.extend(worker.pid for worker in multiprocessing.active_children()[:1])
            for worker in killed:
                os.kill(worker, signal.SIGKILL)

    failed = build(dataset, tmp_path / "killed", num_shards=9, engine="processes", progress=kill_one)
    assert len(killed) == 1
    assert failed == build(dataset, tmp_path / "threads", num_shards=9)
    assert len(failed) == 30
    assert digests(tmp_path / "killed") == digests(tmp_path / "threads")


def test_an_interrupt_between_two_shards_ends_the_work(
    tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the driver is interrupted while it adds a shard to the cache, threads stop and nothing is left."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NoCache, "add", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        build(make_dataset(200), tmp_path / "out", num_shards=20)
    assert caught.value.__traceback__ is not None  # which holds every frame, and so whatever they had not closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("shard", "image"))]
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
