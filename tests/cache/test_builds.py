"""Which builds a shard cache knows, and which shards they need."""

import fcntl
import os
from pathlib import Path

import msgspec
import pytest

from tests.disk import names
from tfrec_stage.cache.builds import (
    begin_wip,
    is_running,
    needed_shards,
    output_key,
    output_path,
    read_build,
    relative_output,
    remove_unneeded,
    wip_output,
)
from tfrec_stage.cache.shard_cache import CachedBuild

FIRST, SECOND, THIRD = (letter * 64 for letter in "abc")


@pytest.mark.parametrize("name", ["out", "a/b c", "../beside/out", "out % 20", "Größe", os.fsdecode(b"\xff"), "a\nb"])
def test_an_output_is_found_again(tmp_path: Path, name: str) -> None:
    """An output directory is found from its relative path, which is one line of plain text, also after a move."""
    for folder in (tmp_path / "here", tmp_path / "moved"):
        relative = relative_output(folder / "store", folder / name)
        assert output_path(folder / "store", relative) == Path(os.path.normpath(folder / name))
        assert relative.isascii()
        assert relative.isprintable()
    assert relative == relative_output(tmp_path / "here" / "store", tmp_path / "here" / name)


def test_each_output_has_its_own_key(tmp_path: Path) -> None:
    """File names begin with the key: equal for the same directory, however it is written."""
    outputs = ["out", "Out", "out/a", "o", "out %"]
    assert len({output_key(relative_output(tmp_path, tmp_path / each)) for each in outputs}) == len(outputs)
    assert output_key(relative_output(tmp_path, tmp_path / "a" / ".." / "out")) == output_key("out")
    assert output_key("out") == "762069bc07a6e1b5"


@pytest.fixture
def builds(tmp_path: Path) -> Path:
    """The folder of a cache of three shards; a finished and an unfinished build name one each."""
    for folder in ("builds", "shards"):
        (tmp_path / folder).mkdir()
    for fingerprint in (FIRST, SECOND, THIRD):
        for suffix in ("", ".jsonl"):
            (tmp_path / "shards" / f"{fingerprint}{suffix}").touch()
    (tmp_path / "builds" / "x.json").write_bytes(msgspec.json.encode(CachedBuild([FIRST])))
    (tmp_path / "builds" / "x.0.wip").write_bytes(begin_wip("a/out") + f"{SECOND}\n".encode())
    return tmp_path / "builds"


def test_what_builds_name_is_needed(builds: Path) -> None:
    """Finished and unfinished builds name shards; damaged files and files of other kinds name none."""
    (builds / "x.images").write_text(f"{THIRD}\n")
    (builds / "y.json").write_text("{")
    (builds / "y.0.wip").write_bytes(b"\xff\n")
    assert needed_shards(builds.iterdir()) & {FIRST, SECOND, THIRD} == {FIRST, SECOND}
    assert read_build(builds / "y.json") is read_build(builds / "absent.json") is None
    assert [wip_output(builds / name) for name in ("x.0.wip", "y.0.wip", "x.images")] == ["a/out", None, None]


def test_what_nobody_needs_is_removed(builds: Path) -> None:
    """Shards with their sidecars and half-written files are removed; foreign files are not."""
    shards = builds.parent / "shards"
    for name in (f".{FIRST}.partial", f".{FIRST}.jsonl.0123.partial", f"{FIRST}.txt", f"x{THIRD}", "NOTES.md"):
        (shards / name).touch()
    for name in (".x.json.0123.partial", "y.partial", ".z"):
        (builds / name).touch()
    kept = [f"{fingerprint}{suffix}" for fingerprint in (FIRST, SECOND) for suffix in ("", ".jsonl")]
    remove_unneeded(builds.parent)
    assert names(shards) == sorted([*kept, f"{FIRST}.txt", f"x{THIRD}", "NOTES.md"])
    assert names(builds) == [".z", "x.0.wip", "x.json", "y.partial"]


def test_whether_a_build_runs(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build runs as long as it holds its lock; if locks cannot be checked, it is assumed to run."""
    wip = builds / "x.0.wip"
    assert not is_running(wip)
    with wip.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert is_running(wip)
    assert not is_running(wip)
    assert is_running(builds / "absent.wip")

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert is_running(wip)
