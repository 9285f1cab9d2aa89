"""`dvc repro`, experiments, metrics and plots work in a temporary clone, as a user runs them."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.workspace import commit, dvc, edit, files_below, run, stage, stages_run

pytestmark = pytest.mark.dvc


def digests(clone: Path) -> dict[str, list[str]]:
    """Return the CRC32C of every shard by split, from the indexes."""
    indexes = sorted((clone / "data" / "shards").glob("*/index.json"))
    return {path.parent.name: [shard["crc32c"] for shard in json.loads(path.read_text())["shards"]] for path in indexes}


def test_a_fresh_clone_builds_the_committed_bytes(built: Path) -> None:
    """`dvc repro` in a fresh clone leaves dvc.lock unchanged: every machine builds the same bytes."""
    assert run(["git", "status", "--porcelain"], built).stdout == ""
    assert "up to date" in dvc("status", directory=built)


def test_nothing_changed_runs_nothing(clone: Path) -> None:
    """A second `dvc repro` runs no stage."""
    assert stages_run(dvc("repro", directory=clone)) == []


def test_a_run_by_hand_is_up_to_date(clone: Path) -> None:
    """A stage run by hand gives the same output as `dvc repro`, and leaves no other files."""
    before = files_below(clone / "data")
    shutil.rmtree(clone / "data" / "shards" / "train")
    stage("dataset=train", directory=clone)
    assert "up to date" in dvc("status", directory=clone)
    assert files_below(clone / "data") == before
    assert run(["git", "status", "--porcelain", "--ignored", "-unormal"], clone).stdout.count("outputs/") == 0


def test_a_parameter_of_one_split_runs_that_split(clone: Path) -> None:
    """A new num_shards for train runs only shards@train; the old value is then taken from the run cache."""
    edit(clone / "params.yaml", "num_shards: 10", "num_shards: 5")
    assert stages_run(dvc("repro", directory=clone)) == ["shards@train"]
    assert len(digests(clone)["train"]) == 5
    edit(clone / "params.yaml", "num_shards: 5", "num_shards: 10")
    output = dvc("repro", directory=clone)
    assert "is cached - skipping run" in output
    assert stages_run(output) == []
    assert len(digests(clone)["train"]) == 10


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("num_threads: ${oc.env:TFREC_NUM_THREADS,4}", "num_threads: 1"),
        ("engine: threads", "engine: processes"),
        ("progress: true", "progress: false"),
        ("max_failures: 0", "max_failures: 7"),
    ],
)
def test_runtime_options_run_nothing(clone: Path, old: str, new: str) -> None:
    """After a change of threads, engine, progress or max_failures everything is up to date."""
    edit(clone / "conf" / "config.yaml", old, new)
    assert "up to date" in dvc("status", directory=clone)


def test_the_seed_runs_all_shards(clone: Path) -> None:
    """A new seed runs the three shards stages and no manifest stage."""
    edit(clone / "params.yaml", "seed: 0", "seed: 1")
    assert stages_run(dvc("repro", directory=clone)) == ["shards@train", "shards@val", "shards@test"]
    assert "encode.seed" in dvc("params", "diff", directory=clone)


def test_experiments(clone: Path) -> None:
    """`dvc exp run -S` and the queue set parameters, and keep the comments of params.yaml."""
    before = digests(clone)
    dvc("exp", "run", "-S", "encode.seed=1", directory=clone)
    params = (clone / "params.yaml").read_text()
    assert yaml.safe_load(params)["encode"]["seed"] == 1
    assert "# order of records inside each shard" in params
    seeded = digests(clone)
    run(["git", "checkout", "-q", "--", "params.yaml", "dvc.lock"], clone)
    dvc("checkout", directory=clone)
    assert digests(clone) == before != seeded
    dvc("exp", "run", "--queue", "-S", "encode.seed=2", directory=clone)
    dvc("exp", "run", "--queue", "-S", "splits.train.num_shards=3", directory=clone)
    dvc("queue", "start", directory=clone)
    wait_for_queue(clone)
    shown = dvc("exp", "show", "--csv", "--no-pager", directory=clone)
    assert shown.count("Success") >= 2 or dvc("queue", "status", directory=clone).count("Success") == 2


def wait_for_queue(clone: Path) -> None:
    for _ in range(120):
        status = dvc("queue", "status", directory=clone)
        if "Queued" not in status and "Running" not in status:
            return
        run(["sleep", "1"], clone)
    pytest.fail(status)


def test_stats_are_metrics(built: Path) -> None:
    """`dvc metrics show` shows the numbers of images and failures, and no long lists."""
    shown = json.loads(dvc("metrics", "show", "--json", directory=built).splitlines()[0])
    train = shown[""]["data"]["data/shards/train/stats.json"]["data"]
    assert (train["images"], train["failed"]) == (200, 0)
    assert not {name for name in train if name.endswith(("_labels", "_per_shard"))}


def test_classes_are_plots(clone: Path) -> None:
    """`dvc plots show` draws the boxes of each class by name, in one plot per split."""
    (page,) = re.findall(r"file://(\S+)", dvc("plots", "show", directory=clone))
    assert Path(page).stat().st_size > 0
    shown = json.loads(dvc("plots", "show", "--json", directory=clone).splitlines()[0])["data"]
    assert set(shown) == {f"data/shards/{split}/classes.json" for split in ("train", "val", "test")}
    (train,) = shown["data/shards/train/classes.json"]
    names = [row["name"] for row in train["content"]["data"]["values"]]
    assert names == ["circle", "square", "triangle", "hexagon", "star", "flower"]
    assert train["content"]["encoding"]["y"]["field"] == "name"


def test_an_older_revision_is_restored(clone: Path) -> None:
    """`dvc checkout` restores the shards of an older revision, and then those of the newer one."""
    old = digests(clone)
    edit(clone / "params.yaml", "seed: 0", "seed: 3")
    dvc("repro", directory=clone)
    new = digests(clone)
    commit(clone, "another seed")
    run(["git", "checkout", "-q", "HEAD~"], clone)
    dvc("checkout", directory=clone)
    assert digests(clone) == old
    run(["git", "checkout", "-q", "main"], clone)
    dvc("checkout", directory=clone)
    assert digests(clone) == new
