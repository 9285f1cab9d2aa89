"""The command line, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import MakeDataset
from tests.project import files
from tests.workspace import copy_conf, edit, files_below, stage


@pytest.fixture
def workspace(tmp_path: Path, make_dataset: MakeDataset) -> Path:
    """Ten images, their manifest for train, conf/ and params.yaml."""
    dataset = make_dataset(10, tmp_path / "data" / "raw")
    relative = [record | {"filename": Path(record["filename"]).name} for record in dataset]
    write_manifest(tmp_path, relative)
    return copy_conf(tmp_path)


def write_manifest(workspace: Path, records: list[dict]) -> None:
    path = workspace / "data" / "manifests" / "train" / "manifest.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_main_job(workspace: Path) -> None:
    """`dataset=train num_shards=4` writes four shards and their metadata files, reports it, and leaves nothing else."""
    before = files_below(workspace)
    done = stage("dataset=train", "num_shards=4", directory=workspace)
    assert done.stdout.startswith("train: 10 images in 4 shards (4 built, 0 unchanged), ")
    written = {name for name in files_below(workspace) - before if not name.startswith(".tfrec_cache/")}
    assert written == {
        *(f"data/shards/train/train-{number:05d}-of-00004" for number in range(4)),
        *(f"data/shards/train/{name}" for name in ("index.json", "stats.json", "classes.json", "failures.jsonl")),
    }
    assert (workspace / "data" / "shards" / "train" / "failures.jsonl").read_text() == ""


def test_without_progress_the_log_is_silent(workspace: Path) -> None:
    """`progress=false` writes nothing to standard error; otherwise it gets at least one line."""
    assert stage("progress=false", directory=workspace).stderr == ""
    assert stage("num_shards=3", directory=workspace).stderr.startswith("train: 10 of 10 images (100 %), ")


def test_about_reaches_the_files_of_profiles(workspace: Path) -> None:
    """The description in `about` is in the files of profiles, with any letters."""
    about = ["about.name='Vögel'", "about.published=2025-01-31", "about.version=2.1.0"]
    stage("encode.profiles=[tfds,croissant]", *about, directory=workspace)
    shards = workspace / "data" / "shards" / "train"
    described = json.loads((shards / "metadata.json").read_text())
    assert [described[key] for key in ("name", "datePublished", "version")] == ["Vögel", "2025-01-31", "2.1.0"]
    info = json.loads((shards / "dataset_info.json").read_text())
    assert (info["name"], info["version"]) == ("Vögel", "2.1.0")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_shard=3", "unknown option 'num_shard': did you mean 'num_shards'?"),
        ("encode.sed=3", "unknown option 'encode.sed': did you mean 'encode.seed'?"),
        ("+colour=1", "unknown option 'colour': python -m tfrec_stage --cfg job shows all"),
        ("+encode.jpg_quality=1", "unknown option 'encode.jpg_quality': did you mean 'encode.jpeg_quality'?"),
        ("num_shards=0", "num_shards: expected 1 to 99,999, but got 0"),
        ("num_shards=ten", "num_shards: Value 'ten' of type 'str' could not be converted to Integer"),
        ("num_threads=0", "num_threads: expected 1 to 1,024, but got 0"),
        ("dataset=trian", "dataset: expected one of test, train, val, but got 'trian'"),
        ("importer=kitti", "importer: expected one of "),
        ("encode.verify=no", "encode.verify: Invalid value 'no', expected one of [decode, structure]"),
        ("encode.jpeg_quality=0", "encode.jpeg_quality: expected 1 to 100, but got 0"),
        ("engine=magic", "engine: Invalid value 'magic', expected one of "),
        ("stage=magic", "stage: Invalid value 'magic', expected one of "),
        ("max_failures=some", "max_failures: expected a number or a percentage such as 0.1%, but got 'some'"),
        ("about.licence=CC0", "unknown option 'about.licence': did you mean 'about.license'?"),
        ("about.version=2", "about.version: expected three numbers such as 1.0.0, but got '2'"),
        ("dataset=val", "manifest: there is no data/manifests/val/manifest.jsonl; make it with stage=manifest"),
        ("manifest=nope.jsonl", "manifest: expected a file, but there is no nope.jsonl"),
        ("labels=nope.json", "labels: expected a file, but there is no nope.json"),
        ("nonsense", "Error parsing override 'nonsense'"),
    ],
)
def test_wrong_options_are_reported_in_one_line(workspace: Path, override: str, message: str) -> None:
    """A wrong option gives one line that names the key, exit code 1, and no file."""
    before = files_below(workspace)
    done = stage(override, directory=workspace, expect=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert files_below(workspace) == before


def test_a_bad_thread_count_in_the_environment_is_reported(workspace: Path) -> None:
    """TFREC_NUM_THREADS sets the number of threads; anything but a number is refused with the key."""
    assert stage(directory=workspace, TFREC_NUM_THREADS="2").returncode == 0
    done = stage(directory=workspace, expect=1, TFREC_NUM_THREADS="x")
    assert done.stderr.startswith("error: num_threads: ")


def test_all_problems_of_a_manifest_are_reported(workspace: Path) -> None:
    """Every problem of a manifest is reported with its line, and the previous output stays."""
    stage(directory=workspace)
    before = files_below(workspace)
    write_manifest(workspace, [{"filename": "a", "id": "1", "clas": {}}, {"filename": "b"}])
    done = stage(directory=workspace, expect=1)
    assert done.stderr.splitlines() == [
        "error: data/manifests/train/manifest.jsonl: line 1: unknown key `$.clas`: did you mean `class`?",
        "data/manifests/train/manifest.jsonl: line 2: `$` has no `id`, which every record needs",
    ]
    assert files_below(workspace) == before


def test_a_repeated_id_names_both_lines(workspace: Path) -> None:
    """If two records have the same id, both lines are named."""
    write_manifest(workspace, [{"filename": "a", "id": name} for name in ("x", "y", "x")])
    done = stage(directory=workspace, expect=1)
    assert "line 1 and line 3: two records have the id 'x'" in done.stderr


def test_failures_end_in_exit_code_3(workspace: Path) -> None:
    """With more failures than max_failures all images are tried, the reasons are reported, and nothing is replaced."""
    images = workspace / "data" / "raw" / "images"
    for number in range(5):
        next(images.glob(f"{number:04d}.*")).unlink()
    (images / "0006.jpeg").write_bytes(b"")
    done = stage(directory=workspace, expect=3)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    verdict = "train: 6 of 10 images failed, more than max_failures=0 allows"
    kept = "data/shards/train.failures.jsonl"
    assert f"{verdict}; data/shards/train was not made, and the records that failed are in {kept}" in lines
    assert "  image_missing: 5" in lines
    assert sum(line.startswith("    ") for line in lines) == 4
    failures = (workspace / kept).read_text().splitlines()
    assert [json.loads(line)["id"] for line in failures] == ["0", "1", "2", "3", "4", "6"]
    assert not (workspace / "data" / "shards" / "train").exists()
    done = stage("max_failures=6", directory=workspace)
    assert done.stdout.startswith("train: 4 images in 10 shards")
    assert "train: 6 of 10 images failed, as max_failures allows" in done.stderr.splitlines()
    assert not (workspace / kept).exists()
    stage("max_failures=60%", directory=workspace)
    before = files(workspace / "data" / "shards" / "train")
    assert "data/shards/train is left as it was" in stage("max_failures=59%", directory=workspace, expect=3).stderr
    assert files(workspace / "data" / "shards" / "train") == before


def test_duplicate_boxes_are_reported(workspace: Path) -> None:
    """Duplicate boxes are stored with a warning, also by a build that only links cached shards; or they are dropped."""
    images = sorted((workspace / "data" / "raw" / "images").iterdir())[:2]
    boxes = {"xmin": [0.1] * 3, "xmax": [0.3] * 3, "ymin": [0.2] * 3, "ymax": [0.4] * 3, "label": [1, 2, 1]}
    write_manifest(workspace, [{"filename": each.name, "id": each.name, "object": {"bbox": boxes}} for each in images])
    warning = (
        "  warning: 2 boxes repeat a box of their image (same label and edges) and are stored; "
        "annotations.duplicate_boxes=drop leaves them out\n"
    )
    stats_file = workspace / "data" / "shards" / "train" / "stats.json"
    for _ in range(2):
        assert stage("progress=false", directory=workspace).stderr == warning
        stats = json.loads(stats_file.read_text())
        assert (stats["boxes"], stats["duplicate_boxes"], stats["mended"]) == (6, 2, {})
    done = stage("progress=false", "annotations.duplicate_boxes=drop", directory=workspace)
    stats = json.loads(stats_file.read_text())
    assert (stats["boxes"], stats["duplicate_boxes"], stats["mended"]) == (4, 0, {"duplicates_dropped": 2})
    assert not done.stderr


def test_failures_are_a_manifest(workspace: Path) -> None:
    """failures.jsonl is a manifest that can be built once the images are there again."""
    image = workspace / "data" / "raw" / "images" / "0003.jpeg"
    content = image.read_bytes()
    image.unlink()
    stage(directory=workspace, expect=3)
    image.write_bytes(content)
    overrides = ("manifest=data/shards/train.failures.jsonl", "output_dir=data/shards/repaired", "num_shards=1")
    assert stage(*overrides, directory=workspace).stdout.startswith("train: 1 images in 1 shards")


@pytest.mark.parametrize(
    ("max_failures", "code", "kept"),
    [(0, 3, "data/shards/train.failures.jsonl"), (1, 0, "data/shards/train/failures.jsonl")],
)
def test_failures_cannot_be_the_manifest_of_their_own_output(
    workspace: Path, max_failures: int, code: int, kept: str
) -> None:
    """A build is refused that would replace the list of failures that it reads, and with it repairs made by hand."""
    (workspace / "data" / "raw" / "images" / "0003.jpeg").unlink()
    stage(f"max_failures={max_failures}", directory=workspace, expect=code)
    content = (workspace / kept).read_bytes()
    done = stage(f"manifest={kept}", "max_failures=100%", directory=workspace, expect=1)
    assert done.stderr == (
        f"error: manifest: expected a file of its own, but '{kept}' is the list of failures that this build replaces; "
        "name another\n"
    )
    assert (workspace / kept).read_bytes() == content


@pytest.mark.parametrize("flag", [["--help"], ["--cfg", "job"], ["-h", "dataset=val"]])
def test_help_imports_no_heavy_modules(workspace: Path, flag: list[str]) -> None:
    """--help and --cfg job show the configuration, and import neither TensorFlow nor DVC nor the build."""
    script = (
        f"import sys, contextlib; sys.argv = ['tfrec_stage', *{flag!r}]\n"
        "from tfrec_stage.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "assert not {'tensorflow', 'dvc', 'dask', 'numpy', 'tfrec_stage.build.build'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=workspace, text=True, capture_output=True, check=True)
    assert "num_shards: ${splits.${split}.num_shards}" in done.stdout


def test_a_build_imports_no_heavy_modules(workspace: Path) -> None:
    """A build imports neither TensorFlow nor DVC nor Dask."""
    script = (
        "import sys, contextlib; sys.argv = ['tfrec_stage', 'progress=false']\n"
        "from tfrec_stage.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "assert not {'tensorflow', 'dvc', 'dask'} & set(sys.modules), sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=workspace, check=True, timeout=120)


def test_the_entry_point_imports_little() -> None:
    """Worker processes of the console script import `__main__`, which imports neither Hydra nor Pillow."""
    script = "import sys, tfrec_stage.__main__; print({'hydra', 'omegaconf', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=True)
    assert done.stdout == "set()\n"


def test_ctrl_c_during_the_imports(tmp_path: Path) -> None:
    """It gives one line and exit code 130 there as well."""
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "tfrec_stage"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted; nothing was started\n")


def test_without_conf_and_params_yaml_the_packaged_conf_is_used(workspace: Path) -> None:
    """Without a conf/ of this program and params.yaml the defaults apply; num_shards is given on the command line."""
    (workspace / "params.yaml").unlink()
    (workspace / "conf" / "config.yaml").write_text("model: another program's configuration\n")
    done = stage(directory=workspace, expect=1)
    assert done.stderr == "error: params.yaml has no splits.train.num_shards; add it there, or give num_shards=N\n"
    assert stage("num_shards=2", directory=workspace).stdout.startswith("train: 10 images in 2 shards")


def test_without_params_yaml_the_conf_of_the_workspace_is_used(workspace: Path) -> None:
    """Values in conf/ apply whether or not there is a params.yaml beside it."""
    (workspace / "params.yaml").unlink()
    edit(workspace / "conf" / "config.yaml", "output_dir: data/shards/${split}", "output_dir: elsewhere/${split}")
    assert stage("num_shards=2", directory=workspace).stdout.endswith(": elsewhere/train\n")


def test_a_multirun_builds_each_value(workspace: Path) -> None:
    """`-m` runs the stage once per value."""
    stage("-m", "num_shards=1,2", "output_dir=data/shards/${num_shards}", directory=workspace)
    assert {path.name for path in (workspace / "data" / "shards").iterdir()} == {"1", "2"}


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_cleanly(workspace: Path, sent: signal.Signals, code: int, word: str) -> None:
    """Ctrl-C and SIGTERM end a build with exit code 130 or 143; the previous output stays, and no partial file."""
    stage(directory=workspace)
    index = workspace / "data" / "shards" / "train" / "index.json"
    before = index.read_bytes()
    records = [{"filename": f"{number % 10:04d}.jpeg", "id": str(number)} for number in range(200_000)]
    write_manifest(workspace, records)
    command = [sys.executable, "-m", "tfrec_stage", "num_threads=2"]
    with subprocess.Popen(command, cwd=workspace, stderr=subprocess.PIPE, text=True) as process:
        while not list((workspace / "data" / "shards").glob(".train.*/train-*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert stderr.splitlines()[-1] == f"error: {word}; the previous output is untouched"
    assert index.read_bytes() == before
    assert [path.name for path in (workspace / "data" / "shards").iterdir()] == ["train"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("later_s", [0, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_while_workers_start(workspace: Path, later_s: float) -> None:
    """Ctrl-C reaches every process of a terminal; worker processes that are still starting print nothing."""
    records = [{"filename": f"{number % 10:04d}.jpeg", "id": str(number)} for number in range(10_000)]
    write_manifest(workspace, records)
    command = [sys.executable, "-m", "tfrec_stage", "engine=processes", "progress=false", "max_failures=100%"]
    with subprocess.Popen(command, cwd=workspace, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(children.read_text().split()) < 2:  # the resource tracker and the fork server
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(later_s)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert stderr == "error: interrupted; the previous output is untouched\n"
    assert not list((workspace / "data").glob("shards/*"))


def test_garbage_is_collected_while_a_stage_runs(workspace: Path) -> None:
    """Garbage collection is off during the start, and on while a stage runs."""
    program = """
import gc, runpy, sys
from tfrec_stage.cli import stages
stages.run_shards = lambda config: print("collects", gc.isenabled()) or 0
disable, gc.disable = gc.disable, lambda: print("stops") or disable()
sys.argv = ["tfrec_stage"]
runpy.run_module("tfrec_stage", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=workspace, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stops\ncollects True\n", "")
