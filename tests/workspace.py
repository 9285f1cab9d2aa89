"""A user's workspace in a temporary folder, and the commands run in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

TIMEOUT_S = 300


def copy_conf(directory: Path) -> Path:
    """A workspace of nothing but conf/ and params.yaml."""
    shutil.copytree(ROOT / "conf", directory / "conf")
    shutil.copy(ROOT / "params.yaml", directory)
    return directory


def clone_project(directory: Path) -> Path:
    """The project as git has it, changes not yet committed included, in a repository of its own."""
    listed = run(["git", "ls-files", "-co", "--exclude-standard", "-z"], ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    run(["git", "init", "-q", "-b", "main"], directory)
    commit(directory, "begin")
    return directory


def commit(directory: Path, message: str) -> None:
    """Commit everything, be it nothing."""
    run(["git", "add", "-A"], directory)
    run(["git", "commit", "--allow-empty", "-qm", message], directory)


def run(command: list[str], directory: Path, expect: int | None = 0, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in a directory; its exit code must be `expect`."""
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
    """Run `dvc` in a directory; what it printed."""
    done = run([sys.executable, "-m", "dvc", *arguments], directory, expect, **variables)
    return done.stdout + done.stderr


def stages_run(output: str) -> list[str]:
    """Names of the stages that a `dvc repro` ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, as an editor does."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def files_below(directory: Path) -> set[str]:
    """Names of all files, relative."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def environment(**more: str) -> dict[str, str]:
    """What commands are run with: nothing of ours that would change what they do."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HYDRA_", "TFREC_", "DVC_"))}
    beside_python = str(Path(sys.executable).parent)  # where `python` of dvc.yaml's commands is found
    author = {f"GIT_{who}_{what}": "tests@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = os.pathsep.join([beside_python, inherited.get("PATH", "")])
    return inherited | author | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | more
