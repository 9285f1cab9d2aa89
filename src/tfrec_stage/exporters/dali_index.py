"""`<shard>.idx`: where each record of a shard begins, for readers that seek.

One line per record: the offset of its frame and the size of the frame, both in bytes.

Source: `tfrecord2idx` of NVIDIA DALI (tools/tfrecord2idx in github.com/NVIDIA/DALI) and of PyTorch's `tfrecord`, which
write the same bytes.
"""

from pathlib import Path

from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.files import write_file
from tfrec_stage.shards.reader import open_shard
from tfrec_stage.tfrecord.framing import frame_spans


def write_record_indices(dataset: FinishedDataset) -> None:
    """Write an index beside each shard. Only the headers of records are read, not the records.

    Raises:
        ShardError: a shard cannot be read, or ends within a record.
        OutputError: an index cannot be written.
    """
    for shard in dataset.shards:
        path = dataset.directory / shard.name
        write_file(index_path(path), _index_of(path))


def index_path(shard: Path) -> Path:
    """Path of the index of a shard.

    >>> index_path(Path("out/train-00000-of-00010")).name
    'train-00000-of-00010.idx'
    """
    return shard.with_name(f"{shard.name}.idx")


def _index_of(path: Path) -> bytes:
    with open_shard(path) as stream:
        return b"".join(b"%d %d\n" % span for span in frame_spans(stream, str(path)))
