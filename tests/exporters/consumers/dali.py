"""NVIDIA DALI (`nvidia-dali-cuda120`) on the CPU: its TFRecord reader and its image decoder.

Usage: dali.py SHARD_ID NUM_SHARDS SHARD…
"""

import json
import sys

import numpy as np
from nvidia.dali import fn, pipeline_def
from nvidia.dali import tfrecord as tfrec

shard_id, num_shards, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
EDGES = ("ymin", "xmin", "ymax", "xmax")


@pipeline_def(batch_size=4, num_threads=1, device_id=None)
def read_records() -> tuple:
    """One batch: ids, images, sizes, labels and boxes."""
    features = {
        "image/encoded": tfrec.FixedLenFeature((), tfrec.string, ""),
        "image/id": tfrec.FixedLenFeature((), tfrec.string, ""),
        "image/height": tfrec.FixedLenFeature([1], tfrec.int64, -1),
        "image/width": tfrec.FixedLenFeature([1], tfrec.int64, -1),
        "image/object/bbox/label": tfrec.VarLenFeature(tfrec.int64, -1),
    }
    features |= {f"image/object/bbox/{edge}": tfrec.VarLenFeature(tfrec.float32, -1.0) for edge in EDGES}
    got = fn.readers.tfrecord(
        path=paths,
        index_path=[f"{path}.idx" for path in paths],
        features=features,
        shard_id=shard_id,
        num_shards=num_shards,
        name="Reader",
    )
    images = fn.decoders.image(got["image/encoded"], device="cpu")
    sizes = fn.cat(got["image/height"], got["image/width"])
    boxes = [got[f"image/object/bbox/{edge}"] for edge in EDGES]
    return got["image/id"], images, sizes, got["image/object/bbox/label"], *boxes


pipeline = read_records()
pipeline.build()
meta = pipeline.reader_meta("Reader")
first, last = (meta["epoch_size"] * number // num_shards for number in (shard_id, shard_id + 1))
rows: list[list[np.ndarray]] = []
while len(rows) < last - first:
    batch = pipeline.run()
    rows += [[np.array(column[place]) for column in batch] for place in range(len(batch[0]))]
found = []
for name, image, size, labels, *boxes in rows[: last - first]:
    record = {
        "id": bytes(name).decode(),
        "shape": image.shape,
        "size": size.tolist(),
        "labels": labels.ravel().tolist(),
    }
    found.append(record | {"boxes": np.stack([edge.ravel() for edge in boxes], axis=-1).tolist()})
sys.stdout.write(json.dumps({"epoch_size": meta["epoch_size"], "records": found}))
