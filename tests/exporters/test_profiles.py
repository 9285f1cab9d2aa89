"""What all profiles have in common: which files they add, and which shards they build again."""

import json
from pathlib import Path

import pytest

from tests.conftest import MakeDataset
from tests.exporters.splits import box
from tests.project import Project, files, read_all
from tests.workspace import copy_conf, files_below, stage
from tfrec_stage.errors import OutputError
from tfrec_stage.schema.options import Profile

ADDED = {
    "od_api": {"label_map.pbtxt"},
    "dali": {f"train-{number:05d}-of-00004.idx" for number in range(4)},
    "csv": {"train.csv"},
}
FILES_ONLY = ("dali", "csv")
METADATA_FILES = {"index.json", "stats.json", "classes.json", "failures.jsonl"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Twenty images with a box each in four shards, built once with a store."""
    made = Project.of(tmp_path / "project", 20)
    for number, name in enumerate(made.records):
        made.records[name] |= box(number % 3, f"class {number % 3}")
    made.build()
    return made


def use(project: Project, *names: str) -> None:
    """Set the profiles."""
    project.encode = {"profiles": [Profile(name) for name in names]}


def shards(project: Project) -> dict[str, tuple[int, int]]:
    """Inode and modification time of each shard."""
    return {name: status for name, status in files(project.out).items() if name[-8:-5] == "of-"}


@pytest.mark.parametrize("name", ADDED)
def test_a_profile_adds_its_files(project: Project, name: str) -> None:
    """With a profile its files equal those of a clean build; without it they are gone and the rest is unchanged."""
    before = read_all(project.out)
    use(project, name)
    project.build()
    assert read_all(project.out).keys() - before.keys() == ADDED[name]
    assert read_all(project.out) == project.build_clean()
    use(project)
    project.build()
    assert read_all(project.out) == before


@pytest.mark.parametrize("name", FILES_ONLY)
def test_a_profile_without_keys_builds_no_shard(project: Project, name: str) -> None:
    """A profile that adds no keys leaves every shard the same file as before."""
    before = shards(project)
    use(project, name)
    assert project.build().built == ()
    assert shards(project) == before


def test_further_keys_build_every_shard(project: Project) -> None:
    """A profile that adds keys builds every shard once; the next build reuses them all."""
    use(project, "od_api")
    assert len(project.build().built) == 4
    before = files(project.out)
    assert project.build().built == ()
    assert {name for name, status in files(project.out).items() if status != before[name]} == METADATA_FILES | ADDED[
        "od_api"
    ]


def test_a_second_build_is_the_same(project: Project) -> None:
    """With several profiles, a second build and a build without a store give the same bytes."""
    use(project, *ADDED)
    project.build()
    before = read_all(project.out)
    assert before.keys() == ADDED["od_api"] | ADDED["dali"] | ADDED["csv"] | METADATA_FILES | project.names.keys()
    project.build()
    assert read_all(project.out) == before == project.build_clean()


def test_indices_follow_their_shards(project: Project) -> None:
    """A changed image changes only the index of its shard, and with fewer shards no old index is left."""
    use(project, "dali")
    project.build()
    before = read_all(project.out)
    changed = project.shard_of("3")
    project.draw("3", 999)
    project.build()
    after = read_all(project.out)
    assert {name for name in after if before[name] != after[name]} - METADATA_FILES == {changed, f"{changed}.idx"}
    project.num_shards = 2
    project.build()
    assert {name for name in read_all(project.out) if name.endswith(".idx")} == {
        f"train-{number:05d}-of-00002.idx" for number in range(2)
    }


@pytest.mark.parametrize("name", ["label_map.pbtxt.bak", "val.csv", "train-00000-of-00004.idx.old", "train.csv2"])
def test_similar_names_are_refused(project: Project, name: str) -> None:
    """A file whose name only resembles one of a profile prevents the directory from being replaced."""
    (project.out / name).write_text("precious")
    with pytest.raises(OutputError, match="but it holds "):
        project.build()
    assert (project.out / name).read_text() == "precious"


@pytest.fixture
def workspace(tmp_path: Path, make_dataset: MakeDataset) -> Path:
    """Ten images, their manifest for train, conf/ and params.yaml."""
    dataset = make_dataset(10, tmp_path / "data" / "raw")
    manifest = tmp_path / "data" / "manifests" / "train" / "manifest.jsonl"
    manifest.parent.mkdir(parents=True)
    records = [record | {"filename": Path(record["filename"]).name} for record in dataset]
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    return copy_conf(tmp_path)


def test_the_stage_writes_exports(workspace: Path) -> None:
    """`encode.profiles=[dali,csv]` after a build without profiles builds 0 shards and writes the files."""
    stage("num_shards=4", directory=workspace)
    done = stage("num_shards=4", "encode.profiles=[dali,csv]", directory=workspace)
    assert done.stdout.startswith("train: 10 images in 4 shards (0 built, 4 unchanged), ")
    assert ADDED["dali"] | ADDED["csv"] <= files_below(workspace / "data" / "shards" / "train")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encode.profiles=[dalli]", "encode.profiles[0]: Invalid value 'dalli', expected one of [od_api, tfds, dali, "),
        ("encode.profiles=dali", "encode.profiles: expected a list: [a, b]"),
        ("encode.area=acres", "encode.area: Invalid value 'acres', expected one of [normalized, pixels]"),
    ],
)
def test_wrong_names_are_reported_in_one_line(workspace: Path, override: str, message: str) -> None:
    """An unknown profile or unit is reported in one line that names the option, and nothing is written."""
    before = files_below(workspace)
    done = stage(override, directory=workspace, expect=1)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert done.stderr.startswith(f"error: {message}")
    assert files_below(workspace) == before


@pytest.mark.parametrize("name", ["train.csv", "metadata.json", "features.json", "label_map.pbtxt"])
def test_files_of_the_user_are_kept(project: Project, name: str) -> None:
    """A file that has the name of a profile's file, but was not written by the build, is not replaced."""
    (project.out / name).write_text("mine")
    with pytest.raises(OutputError, match=name):
        project.build()
    (project.out / "index.json").unlink()
    with pytest.raises(OutputError, match=name):
        project.build()
    assert (project.out / name).read_text() == "mine"
