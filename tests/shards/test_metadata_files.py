"""Metadata files beside the shards: what is written, and what is read back from the index."""

import json
from pathlib import Path

import pytest

from tfrec_stage.shards.metadata import ShardMetadata
from tfrec_stage.shards.metadata_files import (
    ClassCount,
    ShardEntry,
    indexed_profiles,
    indexed_shards,
    shard_entry,
    write_classes,
    write_failures,
    write_index,
)


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


def test_the_entry_of_a_shard() -> None:
    """An entry has the checksum in eight digits and the libraries, if any had a part in the bytes."""
    assert entry("a", 3) == ShardEntry("a", 3, 7, "00000abc", "f" * 64, ["p", "z"])
    plain = ShardMetadata(fingerprint="f", records=1, size_bytes=2, crc32c=3, statistics={})
    assert shard_entry("a", plain).libraries == []


def test_an_index_is_read_back(tmp_path: Path) -> None:
    """The index gives the shards and the profiles; an option of earlier versions counts as a profile."""
    options = {"encode": {"profiles": ["csv"], "od_api_keys": False}}
    write_index(tmp_path, "a", options, [entry("x", 3), entry("y", 4)])
    index = json.loads((tmp_path / "index.json").read_text())
    assert (index["name"], index["num_shards"], index["records"]) == ("a", 2, 7)
    assert indexed_shards(tmp_path) == {"x": (3, 7), "y": (4, 7)}
    assert indexed_profiles(tmp_path) == ["csv"]
    options["encode"]["od_api_keys"] = True
    write_index(tmp_path, "a", options, [])
    assert indexed_profiles(tmp_path) == ["csv", "od_api"]


def test_keys_of_an_index(tmp_path: Path) -> None:
    """Names and order of the keys in `index.json` are part of the file format."""
    write_index(tmp_path, "a", {}, [entry("x", 3)])
    index = json.loads((tmp_path / "index.json").read_text())
    assert list(index) == ["format_version", "name", "num_shards", "records", "options", "shards"]
    assert list(index["shards"][0]) == ["name", "records", "size_bytes", "crc32c", "fingerprint", "made_by"]


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff", b"[]", b"3", b'{"shards": 3, "options": 3}', b'{"shards": [3]}', b"[" * 100_000]
)
def test_an_unreadable_index(tmp_path: Path, content: bytes | None) -> None:
    """An index that is absent or damaged gives no shards and no profiles, and no error."""
    if content is not None:
        (tmp_path / "index.json").write_bytes(content)
    assert (indexed_shards(tmp_path), indexed_profiles(tmp_path)) == ({}, [])


def test_one_class_and_one_failure_per_line(tmp_path: Path) -> None:
    """Classes and failures are JSON with one per line, also if there are none; text is not escaped."""
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
