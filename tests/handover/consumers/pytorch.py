"""PyTorch's `tfrecord` inside a `DataLoader` with worker processes.

Usage: pytorch.py NUM_WORKERS SHARD
"""

import json
import sys

from tfrecord.torch.dataset import TFRecordDataset
from torch.utils.data import DataLoader

num_workers, path = int(sys.argv[1]), sys.argv[2]
description = {"image/id": "byte", "image/object/bbox/xmin": "float", "image/object/bbox/label": "int"}
dataset = TFRecordDataset(path, f"{path}.idx", description)
found = [
    {
        "id": bytes(record["image/id"]).decode(),
        "xmin": record["image/object/bbox/xmin"].tolist(),
        "labels": record["image/object/bbox/label"].tolist(),
    }
    for record in DataLoader(dataset, batch_size=None, num_workers=num_workers)
]
sys.stdout.write(json.dumps(found))
