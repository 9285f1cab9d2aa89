"""Manifests: the interface that files and lists share, and what is special about each."""

import json
import pickle
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from tfrec_stage.errors import ManifestError, OutputError
from tfrec_stage.manifest import open_manifest, write_manifest
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.records import ImageRecord, InvalidRecord

RECORDS = [
    {"filename": "a.jpg", "id": "a", "class": {"label": "1", "text": "köln"}},
    {"filename": "b.jpg", "id": 7, "object": {"bbox": {"xmin": [0.5], "xmax": [1], "ymin": [0], "ymax": [1.0]}}},
    {"filename": "c.jpg", "id": "c", "extra": {"deep": [1, None]}, "error_msg": "was broken once"},
]


def as_lines(path: Path, records: list[dict]) -> RecordSource:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return open_manifest(path)


def as_array(path: Path, records: list[dict]) -> RecordSource:
    path.write_text("\n " + json.dumps(records, indent=2))
    return open_manifest(path)


def as_list(_: Path, records: list[dict]) -> RecordSource:
    return RecordList(records)


@pytest.fixture(params=[as_lines, as_array, as_list], ids=["JSON Lines", "JSON array", "list"])
def make_source(request: pytest.FixtureRequest, tmp_path: Path):
    """A function that makes one of the three kinds of source."""
    return lambda records: request.param(tmp_path / "manifest.json", records)


class TestEverySource:
    """Guarantees of every source."""

    def test_scan_gives_records_in_order(self, make_source) -> None:
        """A scan gives every record in order, with numbers as labels and strings as ids."""
        records = [record for _, record in make_source(RECORDS).scan()]
        assert [record.id for record in records] == ["a", "7", "c"]
        assert records[0].class_.label == 1
        assert records[1].object.size == 1

    def test_read_finds_records_again(self, make_source) -> None:
        """Positions from a scan give the same records again, in any order of positions."""
        source = make_source(RECORDS)
        positions, records = zip(*source.scan(), strict=True)
        assert list(source.read(reversed(positions))) == list(reversed(records))

    def test_original_is_what_was_given(self, make_source) -> None:
        """The original of a record equals the dict that was given, and is a copy of it."""
        source = make_source(RECORDS)
        originals = [source.original(position) for position, _ in source.scan()]
        assert [original.values for original in originals] == RECORDS
        assert [original.record for original in originals] == [record for _, record in source.scan()]
        originals[0].values["class"] = None
        assert [source.original(position).values for position, _ in source.scan()] == RECORDS

    def test_workers_get_the_same_records(self, make_source, tmp_path: Path) -> None:
        """The reader for workers pickles to under 1,000 bytes and gives the same records, positions and names."""
        source = make_source([*RECORDS, *({"filename": f"{number}", "id": f"x{number}"} for number in range(1000))])
        sent = pickle.dumps(source.for_workers(tmp_path / "spool"))
        assert len(sent) < 1000
        positions, records = zip(*source.scan(), strict=True)
        received = pickle.loads(sent)
        assert list(received.read(reversed(positions))) == list(reversed(records))
        assert list(received.scan()) == list(zip(positions, records, strict=True))
        assert [received.where(position) for position in positions] == [source.where(p) for p in positions]

    def test_an_invalid_record_affects_no_other(self, make_source) -> None:
        """A wrong type gives an invalid record with id, file name and message; the other records are valid."""
        source = make_source([RECORDS[0], {"filename": "x.jpg", "id": 9, "class": {"label": "cat"}}, RECORDS[2]])
        records = [record for _, record in source.scan()]
        assert [record.id for record in records] == ["a", "9", "c"]
        message = "Expected a label number, or a string of digits, but got 'cat' at `$.class`"
        assert records[1] == InvalidRecord("9", message, "x.jpg")

    def test_the_first_problems_are_reported(self, make_source) -> None:
        """The error shows the first twenty problems, one per line, and the number of the others."""
        bad = [{"filename": "x", "id": str(number), "clas": {}} for number in range(25)]
        with pytest.raises(ManifestError) as caught:
            list(make_source([RECORDS[0], *bad]).scan())
        lines = str(caught.value).splitlines()
        assert len(lines) == 21
        assert "did you mean `class`?" in lines[0]
        assert lines[-1] == "… and 5 more"


def test_lines_are_numbered_from_one(tmp_path: Path) -> None:
    """A problem in a JSON Lines file names the file and the line number; blank lines count."""
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"filename":"a","id":"a"}\n\n{"filename":"b","id":\n{"filename":"c","id":[]}\n')
    with pytest.raises(ManifestError) as caught:
        list(open_manifest(path).scan())
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}: line 3: expected a JSON object, but")
    assert second == f"{path}: line 4: Expected `int | str`, got `array` at `$.id`"


def test_a_scan_of_other_content_than_the_digest_is_refused(tmp_path: Path) -> None:
    """A manifest that was edited after its digest fails the scan, even if the edit is undone during the scan."""
    path = tmp_path / "m.jsonl"
    source = as_lines(path, RECORDS)
    source.digest()
    content = path.read_bytes()
    scan = as_lines(path, RECORDS[:2]) and source.scan()
    next(scan)
    with pytest.raises(ManifestError, match="the manifest changed while it was read"):
        list(scan)
    path.write_bytes(content)
    assert len(list(source.scan())) == 3


def test_where_counts_lines(tmp_path: Path) -> None:
    """The name of a byte offset is the number of its line."""
    source = as_lines(tmp_path / "m", RECORDS)
    assert [source.where(position) for position, _ in source.scan()] == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize("content", [b"", b"[]\n", b'{"filename": "a", "id": "a", "clas": {}}', b"\xff" * 400])
def test_a_line_that_disappeared_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A position that no longer holds a record raises a ManifestError that says the manifest changed."""
    path = tmp_path / "m.jsonl"
    source = as_lines(path, RECORDS)
    *_, (last, _) = source.scan()
    path.write_bytes(content)
    for read in (lambda: list(source.read([last])), lambda: source.original(last)):
        with pytest.raises(ManifestError, match=r"m\.jsonl: the manifest changed while it was read"):
            read()


def test_a_truncated_spool_is_an_error(tmp_path: Path) -> None:
    """Records before the cut can be read; the one that was cut raises a ManifestError."""
    spooled = RecordList(RECORDS).for_workers(tmp_path / "spool")
    (tmp_path / "spool").write_bytes((tmp_path / "spool").read_bytes()[:-1])
    assert len(list(spooled.read([0, 1]))) == 2
    with pytest.raises(ManifestError, match="changed while it was read"):
        list(spooled.read([2]))


def test_a_spool_is_private(tmp_path: Path) -> None:
    """Only this user may read or write the files that workers unpickle."""
    RecordList(RECORDS).for_workers(tmp_path / "spool")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"spool": 0o600, "spool.offsets": 0o600}


def test_an_array_is_read_once(tmp_path: Path) -> None:
    """After it is opened, a JSON array no longer needs its file, and its digest stays that of the file."""
    path = tmp_path / "m.json"
    source = as_array(path, RECORDS)
    content = path.read_bytes()
    path.unlink()
    assert source.digest() == sha256(content).hexdigest()
    positions, records = zip(*source.scan(), strict=True)
    assert [source.original(position).values for position in positions] == RECORDS
    assert list(source.read(positions)) == list(records)


def test_items_of_an_array_are_named_by_index(tmp_path: Path) -> None:
    """Names of positions and of problems are indices in the array, however many lines an item takes."""
    source = as_array(tmp_path / "m.json", [*RECORDS, {"filename": "d", "id": "d", "clas": 1}])
    with pytest.raises(ManifestError, match=r"m\.json: \$\[3\]: unknown key `\$\.clas`"):
        list(source.scan())
    sent = source.for_workers(tmp_path / "spool")
    with pytest.raises(ManifestError, match=r"m\.json: \$\[3\]: unknown key `\$\.clas`"):
        list(sent.scan())
    valid = as_array(tmp_path / "m.json", RECORDS)
    assert [valid.where(position) for position, _ in valid.scan()] == ["$[0]", "$[1]", "$[2]"]


def test_an_array_is_spooled_into_a_new_private_file(tmp_path: Path) -> None:
    """The lines of an array go into a file of this user alone; an existing file is never overwritten."""
    source = as_array(tmp_path / "m.json", RECORDS)
    source.for_workers(tmp_path / "spool")
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OutputError, match=r"cannot write .*spool: File exists; make room, or take engine=threads"):
        source.for_workers(tmp_path / "spool")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"[1, 2", "JSON array", id="array without an end"),
        pytest.param(b"\xff\xfe", "line 1", id="not UTF-8"),
        pytest.param(b"[{}, 3]", r"\$\[0\].*filename", id="array of other things"),
        pytest.param(b'{"filename": "a"}', "line 1: `\\$` has no `id`", id="no id"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """A file that is not a manifest raises a ManifestError that says what was expected."""
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        list(open_manifest(path).scan())


def test_a_missing_manifest_is_an_error(tmp_path: Path) -> None:
    """A missing file raises a ManifestError that names its path."""
    with pytest.raises(ManifestError, match=r"nowhere\.jsonl, but No such file"):
        open_manifest(tmp_path / "nowhere.jsonl")


def test_written_manifests_are_read_back(tmp_path: Path) -> None:
    """Written records are read back unchanged, and the same records give the same bytes."""
    records = [record for _, record in RecordList(RECORDS).scan()]
    path = tmp_path / "deep" / "m.jsonl"
    assert write_manifest(path, records) == 3
    assert [record for _, record in open_manifest(path).scan()] == records
    assert path.read_bytes().splitlines()[1] == (
        b'{"filename":"b.jpg","id":"7","object":{"bbox":{"xmin":[0.5],"xmax":[1.0],"ymin":[0.0],"ymax":[1.0]}}}'
    )
    assert [entry.name for entry in path.parent.iterdir()] == ["m.jsonl"]


def test_a_failed_write_keeps_the_old_manifest(tmp_path: Path) -> None:
    """If the records end with an error, the previous manifest is unchanged and no other file is left."""

    def broken():
        yield ImageRecord(filename="a", id="a")
        raise RuntimeError

    path = tmp_path / "m.jsonl"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        write_manifest(path, broken())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_python_values_may_stand_for_json() -> None:
    """NumPy numbers and arrays, tuples, paths and bytes are converted, and the dicts are not changed."""
    record = {
        "filename": Path("a.jpg"),
        "id": np.int64(3),
        "class": {"label": np.int32(2), "conf": np.float32(0.5)},
        "object": {"bbox": {"xmin": np.array([0.25]), "xmax": (1,), "ymin": [0], "ymax": [1]}},
        "encoded": b"\xff\xd8",
        "height": 1,
        "width": 1,
        "format": "JPEG",
        "colorspace": "RGB",
        "channels": 3,
    }
    (_, parsed), *_ = RecordList([record]).scan()
    assert (parsed.filename, parsed.id, parsed.class_.label, parsed.class_.conf) == ("a.jpg", "3", 2, 0.5)
    assert parsed.object.bbox.xmin == [0.25]
    assert parsed.encoded == b"\xff\xd8"
    assert isinstance(record["object"]["bbox"]["xmin"], np.ndarray)
