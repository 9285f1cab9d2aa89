"""The profile `dali`: an index beside each shard, read by NVIDIA's DALI and PyTorch's `tfrecord`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exporters.consumers import consume, needs
from tests.exporters.splits import Split, box, build_split
from tests.exporters.truth import TrueImage, build_coco, build_voc, read_coco, read_voc
from tfrec_stage.dataset_info import read_labels
from tfrec_stage.errors import ShardError
from tfrec_stage.exporters.dali_index import index_path, write_record_indices
from tfrec_stage.tfrecord.framing import encode_frame, frame_spans

SharedData = Callable[[str], Path]


def spans(path: Path) -> list[tuple[int, ...]]:
    """Offset and size of every record, from an index."""
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()]


def lookup(directory: Path) -> tuple[dict[str, int], list[Path]]:
    """Labels by their names, and the shards."""
    labels = read_labels(directory.with_name("labels.json"))
    return {label.text: label.label for label in labels}, Split(directory).shards()


def build_real(name: str, root: Path, directory: Path) -> tuple[Path, dict[str, TrueImage]]:
    """Directory of a real dataset's shards with indices, and its annotations."""
    if name == "tiny_coco":
        return build_coco(root, directory, profiles=["dali"]), read_coco(root, "train")
    return build_voc(root, directory, profiles=["dali"]), read_voc(root)


class TestIndex:
    """The text of the file."""

    def test_each_line_is_one_record(self, tmp_path: Path) -> None:
        """There is one line per record with the offset and size of its frame; frames have no gaps between them."""
        split = build_split(tmp_path, [box(number) for number in range(5)], profiles=["dali"])
        for shard in split.shards():
            index = spans(index_path(shard))
            raw = shard.read_bytes()
            assert [offset for offset, _ in index] == [0, *(offset + size for offset, size in index[:-1])]
            assert sum(index[-1]) == len(raw)
            for offset, size in index:
                assert b"".join(encode_frame(raw[offset + 12 : offset + size - 4])) == raw[offset : offset + size]
        assert sum(len(spans(index_path(shard))) for shard in split.shards()) == 5

    def test_a_shard_without_records(self, tmp_path: Path) -> None:
        """An empty shard has an empty index."""
        split = build_split(tmp_path, [box(0)], num_shards=2, profiles=["dali"])
        assert sorted(index_path(shard).stat().st_size > 0 for shard in split.shards()) == [False, True]

    @pytest.mark.parametrize("kept", [5, 14, -1])
    def test_a_truncated_shard(self, tmp_path: Path, kept: int) -> None:
        """A file that ends within a frame raises a ShardError with its name and the byte, and gets no index."""
        split = build_split(tmp_path, [box(0)], num_shards=1)
        (shard,) = split.shards()
        raw = shard.read_bytes()
        shard.unlink()
        shard.write_bytes(raw[:kept])
        with pytest.raises(ShardError, match=rf"{shard}: expected \d+ bytes of .* at byte 0, but the file ends"):
            write_record_indices(split.finished_unread())
        assert not index_path(shard).exists()

    def test_a_damaged_length(self, tmp_path: Path) -> None:
        """A length with a wrong checksum raises a ShardError; it is not used to seek."""
        path = tmp_path / "shard"
        first, second = (b"".join(encode_frame(payload)) for payload in (b"one", b"two"))
        path.write_bytes(first + b"\x04" + second[1:])
        with path.open("rb") as stream, pytest.raises(ShardError, match=f"record at byte {len(first)} does not have"):
            list(frame_spans(stream, "shard"))


class TestDali:
    """`nvidia-dali-cuda120`."""

    def test_its_script_writes_the_same(self, tmp_path: Path) -> None:
        """DALI's own `tfrecord2idx` writes the same bytes."""
        needs("nvidia.dali")
        (shard,) = build_split(tmp_path, [box(number) for number in range(20)], 1, profiles=["dali"]).shards()
        script = Path(sys.executable).with_name("tfrecord2idx")
        subprocess.run([sys.executable, script, shard, tmp_path / "idx"], check=True, capture_output=True, timeout=120)
        assert index_path(shard).read_bytes() == (tmp_path / "idx").read_bytes()

    @pytest.mark.parametrize("name", ["tiny_coco", "raccoon_voc"])
    @pytest.mark.parametrize("num_readers", [1, 2])
    def test_it_reads_every_record(self, shared_data: SharedData, tmp_path: Path, name: str, num_readers: int) -> None:
        """DALI's readers together give each record once, with the boxes and labels of the annotations."""
        needs("nvidia.dali")
        directory, truth = build_real(name, shared_data(name), tmp_path)
        labels, shards = lookup(directory)
        read = [consume("dali", str(reader), str(num_readers), *shards) for reader in range(num_readers)]
        assert {part["epoch_size"] for part in read} == {len(truth)}
        records = [record for part in read for record in part["records"]]
        assert sorted(record["id"] for record in records) == sorted(truth)
        for record in records:
            true = truth[record["id"]]
            assert (record["shape"], record["size"]) == ([true.height, true.width, 3], [true.height, true.width])
            true.check_boxes(record["boxes"])
            assert record["labels"] == [labels[each.name] for each in true.objects]


class TestPyTorch:
    """PyTorch's `tfrecord`."""

    @pytest.mark.parametrize("name", ["tiny_coco", "raccoon_voc"])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_it_reads_every_record(self, shared_data: SharedData, tmp_path: Path, name: str, workers: int) -> None:
        """With the index, one reader or two workers give each record once, as annotated."""
        needs("tfrecord")
        directory, truth = build_real(name, shared_data(name), tmp_path)
        labels, shards = lookup(directory)
        read = consume("pytorch", "load", str(workers), *shards)
        assert sorted(record["id"] for record in read) == sorted(truth)
        for record in read:
            true = truth[record["id"]]
            assert record["size"] == [true.height, true.width]
            true.check_boxes(record["boxes"])
            assert record["labels"] == [labels[each.name] for each in true.objects]

    def test_its_script_writes_the_same(self, tmp_path: Path) -> None:
        """Its own `tfrecord2idx` writes the same bytes, even for a shard without records."""
        needs("tfrecord")
        shards = build_split(tmp_path, [box(number) for number in range(3)], 4, profiles=["dali"]).shards()
        assert consume("pytorch", "index", *shards) == [index_path(shard).read_text() for shard in shards]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_data_loader_reads_every_record(self, tmp_path: Path, workers: int) -> None:
        """A `DataLoader` over its dataset gives each record once, with any number of worker processes."""
        needs("tfrecord", "torch")
        records = [box(number, xmin=number / 10) for number in range(6)]
        (shard,) = build_split(tmp_path, records, 1, profiles=["dali"]).shards()
        read = sorted(consume("pytorch", "data_loader", str(workers), shard), key=lambda record: record["id"])
        assert [record["id"] for record in read] == list("012345")
        assert [record["labels"] for record in read] == [[number] for number in range(6)]
        assert [record["boxes"][0][1] for record in read] == pytest.approx([number / 10 for number in range(6)])
