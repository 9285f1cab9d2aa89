"""Records of this process's memory, laid into a file for worker processes."""

import pickle
from pathlib import Path

import pytest

from tfrec_stage.errors import ManifestError, OutputError
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.manifest.spool import SpooledRecords, write_spool

SOURCE = RecordList({"filename": f"{number}.jpg", "id": number, "extra": "\udce9"} for number in range(3))


@pytest.fixture
def spooled(tmp_path: Path) -> SpooledRecords:
    """Three records in a file, their places in another."""
    return write_spool(tmp_path / "spool", SOURCE, "dataset")


def test_records_come_back_by_number(spooled: SpooledRecords) -> None:
    """In any order, as often as they are asked for; they are called as in their source."""
    records = [record for _, record in SOURCE.scan()]
    assert list(spooled.scan()) == list(enumerate(records))
    assert list(spooled.read([2, 0, 2])) == [records[2], records[0], records[2]]
    assert spooled.where(1) == "dataset[1]"


@pytest.mark.parametrize("name", ["spool", "spool.offsets"])
def test_a_file_in_the_way(tmp_path: Path, name: str) -> None:
    """It is never written into, for somebody else might read it: one line, with what to do."""
    (tmp_path / name).write_text("mine")
    message = r"cannot write .*spool: File exists; make room, or take engine=threads"
    with pytest.raises(OutputError, match=message):
        write_spool(tmp_path / "spool", SOURCE, "dataset")
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("position", [3, 4, 1000])
def test_a_record_that_was_never_there(spooled: SpooledRecords, position: int) -> None:
    """No record is made up past the last."""
    with pytest.raises(ManifestError, match="spool: the manifest changed while it was read"):
        list(spooled.read([position]))


@pytest.mark.parametrize("name", ["spool", "spool.offsets"])
@pytest.mark.parametrize("keep", [0, 4, 12, 20])
def test_a_spool_that_was_cut(tmp_path: Path, spooled: SpooledRecords, name: str, keep: int) -> None:
    """A record that is not whole any more is told in one line."""
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
    with pytest.raises(ManifestError, match="spool: the manifest changed while it was read"):
        list(spooled.read([2]))


def test_what_is_no_pickle(tmp_path: Path, spooled: SpooledRecords) -> None:
    """A file with other bytes is told in one line, too."""
    (tmp_path / "spool").write_bytes(b"\xff" * (tmp_path / "spool").stat().st_size)
    with pytest.raises(ManifestError, match="spool: the manifest changed while it was read"):
        list(pickle.loads(pickle.dumps(spooled)).read([0]))
