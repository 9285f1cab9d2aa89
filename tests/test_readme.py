"""The README agrees with the code: its tables are complete, and its commands and Python blocks run."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workspace import clone_project, run
from tfrec_stage.errors import REASONS
from tfrec_stage.importers import IMPORTERS, known_options
from tfrec_stage.schema.fields import FIELDS, Field
from tfrec_stage.schema.od_api import OD_API_FIELDS
from tfrec_stage.schema.tfds import TFDS_FIELDS
from tfrec_stage.verify.findings import KINDS

README = (ROOT / "README.md").read_text()
KEYS = re.compile(r"(?<=<!-- keys: begin -->\n).*(?=<!-- keys: end -->)", re.DOTALL)


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


READERS = dict(
    zip(
        ("keras", "torch", "jax", "tensorflow"),
        blocks("python", README.partition("### Read them back\n")[2].partition("\n### ")[0]),
        strict=True,
    )
)
"""The blocks that read the demo's shards."""


def key_table() -> str:
    """Return the table of keys of the schema; `python -m tests.test_readme` writes it into the README."""
    head = "| key | kind | what it is |\n|---|---|---|\n"
    also = "| with `encode.profiles: [od_api]` | | |\n"
    of_tfds = "| with `encode.profiles: [tfds]` | | |\n"
    rows = (head, *map(_row, FIELDS), also, *map(_row, OD_API_FIELDS), of_tfds, *map(_row, TFDS_FIELDS))
    return "".join(rows)


def _row(field: Field) -> str:
    kind = field.kind.name.lower()
    return f"| {field.key} | {kind if field.is_scalar else f'{kind} list'} | {field.meaning} |\n"


def test_the_table_of_keys_is_the_schema() -> None:
    """The README lists every key of the schema with its kind and meaning."""
    assert KEYS.search(README)[0] == key_table()


def test_every_kind_of_finding_is_listed() -> None:
    """The README lists every kind of finding with its meaning, in the order of the code."""
    table = README.partition("<!-- kinds: begin -->\n")[2].partition("<!-- kinds: end -->")[0]
    rows = "".join(f"| `{kind}` | {meaning} |\n" for kind, meaning in KINDS.items())
    assert table == f"| kind | what is wrong |\n|---|---|\n{rows}"


def test_every_importer_is_listed_with_its_options() -> None:
    """The README lists every importer with the options that it knows, in the same order."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*?) ?\|$", README.partition("### Importers")[2], re.MULTILINE)
    listed = {name: re.findall(r"`(\w+)`", options) for name, options in rows}
    assert listed == {name: known_options(name) for name in IMPORTERS}


def test_every_reason_is_listed() -> None:
    """The README lists every reason of a failure once."""
    table = README.partition("its `reason` |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"\| `(\w+)` \|$", table, re.MULTILINE)) == sorted(REASONS)


def test_python_blocks_run(tmp_path: Path) -> None:
    """The Python blocks run as one program, one after the other."""
    program = "\n".join(block for block in blocks("python") if block not in READERS.values())
    assert run_program(program, tmp_path).startswith("image_unknown_format - expected JPEG, ")


@pytest.mark.dvc
@pytest.mark.parametrize("reader", ["keras", "torch", "jax", "tensorflow"])
def test_readers_run(reader: str, built: Path) -> None:
    """Each block that reads shards runs as a program of its own on the shards of the demo."""
    if reader == "torch" and find_spec("torch") is None:
        pytest.skip("needs PyTorch: pip install torch")
    printed = run_program(READERS[reader], built)
    if reader == "keras":
        assert "Epoch 2/2" in printed


def run_program(program: str, directory: Path) -> str:
    """Run a program, which must succeed, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, text=True, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.dvc
def test_console_blocks_run(tmp_path: Path) -> None:
    """The commands run in a fresh clone after `make demo`, in the environment of this test."""
    clone = clone_project(tmp_path)
    stamp = f"{sys.prefix}/.installed"  # `make -o` takes it as up to date, so that nothing is installed
    demo = run(["make", "demo", f"VENV={sys.prefix}", f"BIN={sys.prefix}/bin", "-o", stamp], clone)
    assert "train" in demo.stdout
    assert "Look next at" in demo.stdout
    assert run(["git", "status", "--porcelain"], clone).stdout == ""
    for command in re.findall(r"^\$ (.*)$", "".join(blocks("console")), re.MULTILINE):
        run(command.split(), clone)


def test_make_lists_its_targets() -> None:
    """`make` lists its targets with one line of help each, and the README names only targets that exist."""
    listed = dict(re.findall(r"^  make (\S+) +(.+)$", run(["make"], ROOT).stdout, re.MULTILINE))
    assert {"setup", "demo", "test", "format", "lint", "types", "floors", "pytest", "bench", "clean"} <= set(listed)
    assert set(re.findall(r"\bmake ([a-z-]+)", "".join(blocks("sh")))) <= set(listed)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_no_machine_is_named() -> None:
    """No file of requirements or configuration names a package index."""
    listed = run(["git", "ls-files", "-co", "--exclude-standard"], ROOT).stdout.splitlines()
    assert {"README.md", "pyproject.toml", "constraints.txt", "dvc.lock"} <= set(listed)
    for name in listed:
        if name.endswith((".txt", ".lock", ".toml", ".cfg")) and (ROOT / name).is_file():
            assert not re.search(r"(index-url|extra-index|https?://\S*simple)", (ROOT / name).read_text()), name


if __name__ == "__main__":
    (ROOT / "README.md").write_text(KEYS.sub(lambda _: key_table(), README))
