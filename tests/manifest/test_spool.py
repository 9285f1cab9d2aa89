"""Records of this process's memory, written to a file for worker processes."""

import pickle
from pathlib import Path

import pytest

from tfrec_stage.errors import ManifestError, OutputError
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.manifest.spool import SpooledRecords, spool_records

SOURCE = RecordList({"filename": f"{number}.jpg", "id": number, "extra": "\udce9"} for number in range(3))


@pytest.fixture
def spooled(tmp_path: Path) -> SpooledRecords:
    """Three records in a spool."""
    return spool_records(tmp_path / "spool", SOURCE, "dataset")


def test_records_are_read_by_index(spooled: SpooledRecords) -> None:
    """Records are read in any order, any number of times, under the names that they have in their source."""
    records = [record for _, record in SOURCE.scan()]
    assert list(spooled.scan()) == list(enumerate(records))
    assert list(spooled.read([2, 0, 2])) == [records[2], records[0], records[2]]
    assert spooled.where(1) == "dataset[1]"


@pytest.mark.parametrize("name", ["spool", "spool.offsets"])
def test_existing_files_are_not_overwritten(tmp_path: Path, name: str) -> None:
    """A file that exists already raises an OutputError that says what to do, and keeps its content."""
    (tmp_path / name).write_text("mine")
    message = r"cannot write .*spool: File exists; make room, or take engine=threads"
    with pytest.raises(OutputError, match=message):
        spool_records(tmp_path / "spool", SOURCE, "dataset")
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("position", [3, 4, 1000])
def test_a_position_past_the_end_is_an_error(spooled: SpooledRecords, position: int) -> None:
    """A position past the last record raises a ManifestError."""
    with pytest.raises(ManifestError, match="spool: the manifest changed while it was read"):
        list(spooled.read([position]))


@pytest.mark.parametrize("name", ["spool", "spool.offsets"])
@pytest.mark.parametrize("keep", [0, 4, 12, 20])
def test_a_truncated_file_is_an_error(tmp_path: Path, spooled: SpooledRecords, name: str, keep: int) -> None:
    """A record that is no longer complete raises a ManifestError, whichever file was truncated."""
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
    with pytest.raises(ManifestError, match="spool: the manifest changed while it was read"):
        list(spooled.read([2]))


def test_other_bytes_are_an_error(tmp_path: Path, spooled: SpooledRecords) -> None:
    """A file that does not hold pickles raises a ManifestError."""
    (tmp_path / "spool").write_bytes(b"\xff" * (tmp_path / "spool").stat().st_size)
    with pytest.raises(ManifestError, match="spool: the manifest changed while it was read"):
        list(pickle.loads(pickle.dumps(spooled)).read([0]))
