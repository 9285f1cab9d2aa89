"""Helpers that create a user's workspace in a temporary folder, and run commands in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

TIMEOUT_S = 300


def copy_conf(directory: Path) -> Path:
    """Copy conf/ and params.yaml into a workspace, and return it."""
    shutil.copytree(ROOT / "conf", directory / "conf")
    shutil.copy(ROOT / "params.yaml", directory)
    return directory


def clone_project(directory: Path) -> Path:
    """Copy all files of the project that git does not ignore into a new repository, uncommitted changes included."""
    listed = run(["git", "ls-files", "-co", "--exclude-standard", "-z"], ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    run(["git", "init", "-q", "-b", "main"], directory)
    commit(directory, "begin")
    return directory


def commit(directory: Path, message: str) -> None:
    """Commit all changes, even if there are none."""
    run(["git", "add", "-A"], directory)
    run(["git", "commit", "--allow-empty", "-qm", message], directory)


def run(command: list[str], directory: Path, expect: int | None = 0, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a directory; its exit code must be `expect`, or may be anything if that is None."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(**variables),
        text=True,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert expect in (done.returncode, None), f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def stage(*overrides: str, directory: Path, expect: int | None = 0, **variables: str) -> subprocess.CompletedProcess:
    """Run `python -m tfrec_stage` in a directory."""
    return run([sys.executable, "-m", "tfrec_stage", *overrides], directory, expect, **variables)


def dvc(*arguments: str, directory: Path, expect: int | None = 0, **variables: str) -> str:
    """Run `dvc` in a directory, and return what it prints on both streams."""
    done = run([sys.executable, "-m", "dvc", *arguments], directory, expect, **variables)
    return done.stdout + done.stderr


def stages_run(output: str) -> list[str]:
    """Return the names of the stages that `dvc repro` ran, from its output."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def files_below(directory: Path) -> set[str]:
    """Return the relative paths of all files below a directory."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def environment(**more: str) -> dict[str, str]:
    """Return the environment variables for commands, without those that change what Hydra, DVC or a stage does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HYDRA_", "TFREC_", "DVC_"))}
    beside_python = str(Path(sys.executable).parent)  # dvc.yaml runs `python`, which must be this interpreter
    author = {f"GIT_{who}_{what}": "tests@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = os.pathsep.join([beside_python, inherited.get("PATH", "")])
    return inherited | author | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | more
