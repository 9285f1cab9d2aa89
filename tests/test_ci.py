"""The commands of the CI workflow in docs/ci work, in their order."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.test_dvc_incremental import ONE_BUILT, change_image, clone_from, remote, shards_of, workspace
from tests.workspace import commit, dvc, run, stages_run

pytestmark = pytest.mark.dvc

WORKFLOW = ROOT / "docs" / "ci" / "workflow.yml"
NOT_RUN = ("pip ",)

__all__ = ["remote", "workspace"]  # fixtures


def steps() -> list[dict]:
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    return job["steps"]


def commands() -> list[str]:
    """Return the commands of the workflow without the installation."""
    given = [line for step in steps() for line in step.get("run", "").splitlines()]
    return [command for command in given if not command.startswith(NOT_RUN)]


def run_pipeline(clone: Path) -> str:
    """Run the commands of the workflow, and return what they print."""
    done = [run(["bash", "-eo", "pipefail", "-c", command], clone) for command in commands()]
    return "".join(one.stdout + one.stderr for one in done)


def cached_paths() -> list[str]:
    """Return the directories that the workflow caches between runs."""
    (cache,) = [step for step in steps() if "actions/cache" in step.get("uses", "")]
    return cache["with"]["path"].split()


def restore(saved: Path, clone: Path) -> None:
    """Copy the cached directories of an earlier clone to a new one, packed and unpacked as CI does."""
    run(["tar", "-cf", "cache.tar", *cached_paths()], saved)
    shutil.move(saved / "cache.tar", clone)
    run(["tar", "-xf", "cache.tar"], clone)
    (clone / "cache.tar").unlink()


def test_the_pipeline(workspace: Path, remote: Path, tmp_path: Path) -> None:
    """A first run fetches only shards; after one image has changed, the next builds one shard and pushes it.

    A `dvc repro --pull` elsewhere then takes it from the run cache.
    """
    first = clone_from(workspace, tmp_path / "first")
    restore(workspace, first)
    assert stages_run(run_pipeline(first)) == []
    assert shards_of(first) == shards_of(workspace)
    assert not (first / "data" / "raw").exists()
    change_image(workspace)
    dvc("push", "raw", directory=workspace)
    commit(workspace, "another image")
    second = clone_from(workspace, tmp_path / "second")
    restore(first, second)
    output = run_pipeline(second)
    assert stages_run(output) == ["manifest@train", "shards@train"]
    assert ONE_BUILT in output
    assert stages_run(dvc("repro", "--pull", directory=workspace)) == []
    assert shards_of(second) == shards_of(workspace)


def test_the_page_quotes_the_workflow() -> None:
    """docs/ci.md shows the DVC commands of the workflow in their order, and names the cached directories."""
    page = (ROOT / "docs" / "ci.md").read_text()
    (quoted,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    assert quoted.splitlines() == [command for command in commands() if command.startswith("dvc ")]
    assert cached_paths()
    for path in cached_paths():
        assert f"- `{path}`" in page
