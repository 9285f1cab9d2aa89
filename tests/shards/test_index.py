"""The metadata of a build, and what in a directory is ours."""

import json
from pathlib import Path

import pytest

from tfrec_stage.errors import OutputError
from tfrec_stage.shards.index import (
    ClassCount,
    ShardEntry,
    find_foreign_files,
    refuse_foreign_files,
    shard_entry,
    stated_profiles,
    stated_shards,
    write_classes,
    write_failures,
    write_index,
)
from tfrec_stage.shards.metadata import ShardMetadata

OURS = ["index.json", "stats.json", "classes.json", "failures.jsonl", "a.b-00000-of-00002", "a.b-100000-of-100001"]
FOREIGN = [
    "aXb-00000-of-00002",
    "a.b-0000-of-00002",
    "a.b-00000-of-0002",
    "a.b-00000-of-00002.index",
    "xa.b-00000-of-00002",
    "index.json.bak",
    "old index.json",
    "indexXjson",
    "label_map.pbtxt",
]


def entry(name: str, records: int) -> ShardEntry:
    metadata = ShardMetadata(
        fingerprint="f" * 64,
        records=records,
        size_bytes=7,
        crc32c=0xABC,
        statistics={},
        pixel_codec="p",
        compressor="z",
    )
    return shard_entry(name, metadata)


def test_what_the_index_keeps_of_a_shard() -> None:
    """The checksum in eight digits, and what made it, as far as anything did."""
    assert entry("a", 3) == ShardEntry("a", 3, 7, "00000abc", "f" * 64, ["p", "z"])
    plain = ShardMetadata(fingerprint="f", records=1, size_bytes=2, crc32c=3, statistics={})
    assert shard_entry("a", plain).made_by == []


def test_an_index_can_be_asked(tmp_path: Path) -> None:
    """For the shards, and for the profiles whose files lie beside them; an option of earlier versions counts as one."""
    options = {"encode": {"profiles": ["csv"], "od_api_keys": False}}
    write_index(tmp_path, "a", options, [entry("x", 3), entry("y", 4)])
    index = json.loads((tmp_path / "index.json").read_text())
    assert (index["name"], index["num_shards"], index["records"]) == ("a", 2, 7)
    assert stated_shards(tmp_path) == {"x": (3, 7), "y": (4, 7)}
    assert stated_profiles(tmp_path) == ["csv"]
    options["encode"]["od_api_keys"] = True
    write_index(tmp_path, "a", options, [])
    assert stated_profiles(tmp_path) == ["csv", "od_api"]


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff", b"[]", b"3", b'{"shards": 3, "options": 3}', b'{"shards": [3]}', b"[" * 100_000]
)
def test_an_index_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """It states nothing, and that ends no build."""
    if content is not None:
        (tmp_path / "index.json").write_bytes(content)
    assert (stated_shards(tmp_path), stated_profiles(tmp_path)) == ({}, [])


def test_classes_and_failures_stand_one_a_line(tmp_path: Path) -> None:
    """As JSON, be there none or many; names as people write them."""
    classes = [ClassCount(0, "Köln", 1, 2), ClassCount(1, "b", 3, 4)]
    write_classes(tmp_path, classes)
    lines = (tmp_path / "classes.json").read_text().splitlines()
    assert lines[1] == '  {"label": 0, "name": "Köln", "images": 1, "boxes": 2},'
    assert len(json.loads("".join(lines))) == 2
    write_classes(tmp_path, [])
    assert (tmp_path / "classes.json").read_text() == "[]\n"
    write_failures(tmp_path, [{"id": "a"}, {"id": "b"}])
    assert (tmp_path / "failures.jsonl").read_text() == '{"id":"a"}\n{"id":"b"}\n'
    write_failures(tmp_path, [])
    assert (tmp_path / "failures.jsonl").read_text() == ""


def test_what_is_not_ours(tmp_path: Path) -> None:
    """Everything but shards of the same name and our accounts, by their whole names; folders under any name."""
    for name in [*OURS, *FOREIGN]:
        (tmp_path / name).touch()
    assert find_foreign_files(tmp_path, "a.b") == sorted(FOREIGN)
    assert find_foreign_files(tmp_path, "a.b", [r"label_map\.pbtxt"]) == sorted(FOREIGN[:-1])
    assert find_foreign_files(tmp_path, "a.b", [r"label_map"]) == sorted(FOREIGN)


def test_folders_and_links(tmp_path: Path) -> None:
    """A folder under one of our names is not ours, a link of such a name is: it may go without what it leads to."""
    (tmp_path / "index.json").mkdir()
    (tmp_path / "stats.json").symlink_to(tmp_path / "index.json")
    assert find_foreign_files(tmp_path, "a") == ["index.json"]


@pytest.mark.parametrize(
    ("count", "shown"), [(1, "x0;"), (3, "x0, x1, x2;"), (4, "x0, x1, x2 and 1 more;"), (9, "x0, x1, x2 and 6 more;")]
)
def test_what_is_refused_is_named(tmp_path: Path, count: int, shown: str) -> None:
    """The first three, and how many others."""
    for number in range(count):
        (tmp_path / f"x{number}").touch()
    with pytest.raises(OutputError, match=rf"to hold shards of 'a' alone, .* but it holds {shown} move them away"):
        refuse_foreign_files(tmp_path, "a")


def test_what_may_be_replaced(tmp_path: Path) -> None:
    """Nothing, an empty directory and one of ours; a file in the place may not."""
    refuse_foreign_files(tmp_path / "absent", "a.b")
    refuse_foreign_files(tmp_path, "a.b")
    for name in OURS:
        (tmp_path / name).touch()
    refuse_foreign_files(tmp_path, "a.b")
    with pytest.raises(OutputError, match="to be a directory or absent, but it is a file; name another output_dir"):
        refuse_foreign_files(tmp_path / "index.json", "a.b")
