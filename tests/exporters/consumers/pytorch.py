"""PyTorch's `tfrecord`: its loader, its script and, if torch is installed, its dataset in a `DataLoader`.

It cannot be imported together with TensorFlow, because both define the messages of tf.train.Example.

Usage: pytorch.py load NUM_WORKERS SHARD…    read each shard as each of these workers in turn; 0: as one reader
       pytorch.py data_loader NUM_WORKERS SHARD    read in worker processes; 0: in this process
       pytorch.py index SHARD…    print what its script writes
"""

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tfrecord

EDGES = ("ymin", "xmin", "ymax", "xmax")
DESCRIPTION = {
    "image/id": "byte",
    "image/height": "int",
    "image/width": "int",
    "image/object/bbox/label": "int",
    **{f"image/object/bbox/{edge}": "float" for edge in EDGES},
}


def plain(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records as JSON values."""
    return [
        {
            "id": bytes(record["image/id"]).decode(),
            "size": [int(record[f"image/{side}"][0]) for side in ("height", "width")],
            "labels": record["image/object/bbox/label"].tolist(),
            "boxes": list(zip(*(record[f"image/object/bbox/{edge}"].tolist() for edge in EDGES), strict=True)),
        }
        for record in records
    ]


def load(num_workers: int, paths: list[str]) -> Iterator[dict[str, Any]]:
    """Records of all shards; each shard is divided between the workers."""
    for path in paths:
        for part in [(number, num_workers) for number in range(num_workers)] or [None]:
            yield from tfrecord.tfrecord_loader(path, f"{path}.idx", DESCRIPTION, part)


def load_in_processes(num_workers: int, path: str) -> Iterable[dict[str, Any]]:
    """Records of one shard, read by torch."""
    from torch.utils.data import DataLoader

    dataset = tfrecord.torch.TFRecordDataset(path, f"{path}.idx", DESCRIPTION)
    return DataLoader(dataset, batch_size=None, num_workers=num_workers)


def index(path: str) -> str:
    """The index that its script writes for a shard."""
    with tempfile.TemporaryDirectory() as folder:
        tfrecord.tools.create_index(path, f"{folder}/idx")
        return Path(folder, "idx").read_text()


job, *arguments = sys.argv[1:]
if job == "index":
    found = list(map(index, arguments))
elif job == "load":
    found = plain(load(int(arguments[0]), arguments[1:]))
else:
    found = plain(load_in_processes(int(arguments[0]), arguments[1]))
sys.stdout.write(json.dumps(found))
