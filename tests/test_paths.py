"""Impossible and dangerous output paths are refused in one line, before anything is read or written."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeDataset
from tests.workspace import copy_conf, files_below, stage
from tfrec_stage import create
from tfrec_stage.errors import ConfigError, OutputError, TfrecStageError

LONG = "n" * 300


@pytest.fixture
def dataset(tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Three records; the working directory `here` has a file and links, and `images` is beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "file").touch()
    (tmp_path / "here" / "circle").symlink_to("circle")
    (tmp_path / "here" / "link").symlink_to("../images")
    return make_dataset(3)


def below(directory: Path) -> list[tuple[str, bool]]:
    """Return the relative path of each entry below a directory, and whether it is a directory itself."""
    return sorted((str(path.relative_to(directory)), path.is_dir()) for path in directory.rglob("*"))


def refusal(directory: Path, dataset: list, kind: type[TfrecStageError], **options: Any) -> str:
    """Return the message of a build that is refused; check that it is one line and that nothing was written."""
    before = below(directory)
    arguments = {"dataset_name": "train", "output_directory": "out", "num_shards": 2, "num_threads": 1} | options
    with pytest.raises(kind) as raised:
        create(dataset, **arguments)
    assert below(directory) == before
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        ("", ConfigError, "output_directory: expected a path, but got ''"),
        (None, ConfigError, "output_directory: expected a path, but got None"),
        (3, ConfigError, "output_directory: expected a path, but got 3"),
        ("a\0b", ConfigError, "output_directory: expected a path without NUL"),
        ("a\ud800", ConfigError, "output_directory: expected a path, but got"),
        (".", ConfigError, "'.' is the working directory"),
        ("..", ConfigError, "'..' holds the working directory"),
        ("/", ConfigError, "'/' holds the working directory"),
        ("out/..", ConfigError, "is the working directory"),
        ("../images", ConfigError, "'../images' is images_root"),
        ("link", ConfigError, "'link' is images_root"),
        ("../images/deep/..", ConfigError, "is images_root"),
        ("store", ConfigError, "'store' is store_dir"),
        ("store/out", ConfigError, "expected a path outside store_dir, but 'store/out' lies in it"),
        (LONG, OutputError, "output_dir: the file system cannot store a name as long as"),
        (f"{LONG}/out", OutputError, "output_dir: the file system cannot store a name as long as"),
        (f"new/{LONG}/out", OutputError, "output_dir: the file system cannot store a name as long as"),
        ("n" * 250, OutputError, "output_dir: the file system cannot store a name as long as"),
        ("n" * 225, OutputError, "output_dir: the file system cannot store a name as long as"),
        ("/".join(["n" * 200] * 25), OutputError, "output_dir: the file system cannot store a name as long as"),
        ("file/out", OutputError, "output_dir: expected a path below directories, but .*/file is not a directory"),
        ("file/deep/out", OutputError, "output_dir: expected a path below directories, but .*/file is not a directory"),
        ("circle/out", OutputError, "output_dir: expected a path below directories, but .*/circle is not a directory"),
        ("circle", OutputError, "output_dir: expected a path below directories, but .*/circle is not a directory"),
        ("/proc", OutputError, "output_dir: expected a directory that can be replaced, .* mounted at /proc"),
    ],
)
def test_output_directories(
    tmp_path: Path, dataset: list, output: Any, kind: type[TfrecStageError], message: str
) -> None:
    """Output directories that cannot be created, or must not be replaced, are refused."""
    options = {"output_directory": output, "images_root": "../images", "store_dir": "store"}
    assert re.search(message, refusal(tmp_path, dataset, kind, **options))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"store_dir": ""}, ConfigError, "store_dir: expected a path, but got ''"),
        ({"store_dir": "."}, ConfigError, "store_dir: .* '.' is the working directory"),
        ({"store_dir": "/"}, ConfigError, "store_dir: .* '/' holds the working directory"),
        ({"store_dir": "out/store"}, ConfigError, "output_dir: .* 'out' holds store_dir"),
        ({"store_dir": "a\0b"}, ConfigError, "store_dir: expected a path without NUL"),
        ({"store_dir": LONG}, OutputError, "store_dir: the file system cannot store a name"),
        (
            {"store_dir": "file"},
            OutputError,
            "store_dir: expected a path below directories, but .*/file is not a directory",
        ),
        ({"store_dir": "file/store"}, OutputError, "store_dir: expected a path below directories"),
        ({"output_directory": "out", "images_root": "out/images"}, ConfigError, "'out' holds images_root"),
        ({"images_root": "a\0b"}, ConfigError, "images_root: expected a path without NUL"),
        ({"images_root": None}, ConfigError, "images_root: expected a path, but got None"),
        ({"dataset_name": LONG}, OutputError, "output_dir: the file system cannot store a name"),
        ({"dataset_name": "n" * 230}, OutputError, "output_dir: the file system cannot store a name"),
        ({"dataset_name": "ü" * 120}, OutputError, "output_dir: the file system cannot store a name"),
        ({"dataset_name": "a\0b"}, ConfigError, "name: expected a name without slashes"),
        ({"dataset_name": "a\udcff"}, ConfigError, "name: expected text that UTF-8 can hold"),
        ({"dataset_name": 5}, ConfigError, "name: expected a name without slashes"),
    ],
)
def test_other_places(
    tmp_path: Path, dataset: list, options: dict[str, Any], kind: type[TfrecStageError], message: str
) -> None:
    """Impossible shard caches, image folders and names of splits are refused."""
    assert re.search(message, refusal(tmp_path, dataset, kind, **options))


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("new/deep/out", {}),
        ("../images/out", {"images_root": "../images"}),  # only its own files are ever replaced
        ("new/../out", {}),
        ("n" * 200, {"dataset_name": "n" * 200}),
        (Path("out"), {"store_dir": Path("store")}),
        (os.fsdecode(b"\xff"), {}),
        ("store beside", {"store_dir": "store"}),  # begins with the name of the cache, but is not in it
    ],
)
def test_good_output_directories(tmp_path: Path, dataset: list, output: str | Path, options: dict[str, Any]) -> None:
    """A build creates the directory, and a second one replaces it."""
    arguments = {"dataset_name": "train", "output_directory": output, "num_shards": 2, "num_threads": 1} | options
    for _ in range(2):
        assert create(dataset, **arguments) == []
    assert len(list(Path(output).glob("*-of-*"))) == 2


@pytest.fixture
def workspace(tmp_path: Path, make_dataset: MakeDataset) -> Path:
    """A manifest of three images, annotations without a row, and a file for paths that lead through it."""
    copy_conf(tmp_path)
    manifest = tmp_path / "data" / "manifests" / "train" / "manifest.jsonl"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("".join(json.dumps(record) + "\n" for record in make_dataset(3)))
    (tmp_path / "annotations.csv").write_text("filename,width,height,class,xmin,ymin,xmax,ymax\n")
    (tmp_path / "file").touch()
    return tmp_path


IMPORT = ("stage=manifest", "importer=csv", "importer.annotations=[annotations.csv]", "importer.images=images")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("output_dir=.",), "output_dir: expected a directory of its own, but '.' is the working directory"),
        (("output_dir=",), "output_dir: expected a path, but got ''"),
        (("store_dir=",), "store_dir: expected a path, but got ''"),
        (("store_dir=data/shards/train/store",), "output_dir: expected a directory of its own"),
        (("output_dir=file/out",), "output_dir: expected a path below directories"),
        (("stage=verify", "verify_file="), "verify_file: expected a path, but got ''"),
        (
            ("stage=verify", "verify_file=data"),
            "verify_file: expected a file or nothing there, but data is",
        ),
        (("stage=verify", "verify_file=file/x.json"), "verify_file: expected a path below directories"),
        (("stage=verify", f"verify_file={LONG}"), "verify_file: the file system cannot store a name"),
        (("stage=verify", "verify_file=data/shards/train/x"), "verify_file: expected a path outside output_dir"),
        (("stage=verify", "verify_file=${manifest}"), "verify_file: expected a file of its own"),
        (("stage=stats", "stats_file=data/shards/train/stats.json"), "stats_file: expected a path outside output_dir"),
        (("stage=stats", "stats_file=file/x"), "stats_file: expected a path below directories"),
        ((*IMPORT, "manifest="), "manifest: expected a path, but got ''"),
        ((*IMPORT, "manifest=."), "manifest: expected a file or nothing there, but . is a directory"),
        ((*IMPORT, "manifest=file/m.jsonl"), "manifest: expected a path below directories"),
        ((*IMPORT, f"manifest={LONG}"), "manifest: the file system cannot store a name"),
        ((*IMPORT, "manifest=annotations.csv"), "manifest: expected a file of its own, but 'annotations.csv' is read"),
        (("stage=clean", "store_dir="), "store_dir: expected a path, but got ''"),
    ],
)
def test_on_the_command_line(workspace: Path, overrides: tuple[str, ...], message: str) -> None:
    """The command line gives one line that names the option, exit code 1, and writes nothing."""
    before = files_below(workspace)
    done = stage(*overrides, directory=workspace, expect=1)
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert files_below(workspace) == before


def test_shards_in_the_working_directory_can_be_counted(tmp_path: Path, make_dataset: MakeDataset) -> None:
    """Counts may be written below the working directory even if the shards are in it: no build can replace it."""
    copy_conf(tmp_path)
    create(make_dataset(3), "train", tmp_path / "out", 1, 1)
    for path in (tmp_path / "out").iterdir():
        shutil.move(path, tmp_path)
    done = stage("stage=stats", "output_dir=.", directory=tmp_path)
    assert "stored in data/stats/train.json" in done.stdout
