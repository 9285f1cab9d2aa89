"""docs/architecture.md names the tree as it is."""

import re
import tomllib

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "tfrec_stage"
TEXT = (ROOT / "docs" / "architecture.md").read_text()


def test_every_file_it_names_exists() -> None:
    """Paths are relative to the package."""
    named = set(re.findall(r"`([\w/]+\.py)`", TEXT))
    assert len(named) > 30
    assert sorted(name for name in named if not (SOURCE / name).is_file()) == []


def test_every_folder_is_described() -> None:
    """The table has one row per folder of the package, and no other."""
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert sorted(re.findall(r"^\| `(\w+)/` \|", TEXT, re.MULTILINE)) == sorted(folders)


def test_the_floors_are_those_that_are_checked() -> None:
    """Every folder stands on the floor where import-linter has it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    checked = [set(re.findall(r"tfrec_stage\.(\w+)", layer)) for layer in layers if "__main__" not in layer]
    drawn = [line.strip() for line in TEXT.splitlines() if line.startswith("    ")]
    assert len(drawn) == len(checked)
    for line, floor in zip(drawn[:-1], checked[:-1], strict=True):
        assert {name for name in floor if re.search(rf"(^|· ){name}\b", line)} == floor
