"""Model Garden (`tf-models-official`): its decoders, and the parser of its RetinaNet.

Usage: model_garden.py DIRECTORY LABELS_CSV
"""

import json
import sys
from pathlib import Path

import tensorflow as tf
from official.vision.dataloaders.retinanet_input import Parser
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder
from official.vision.dataloaders.tf_example_label_map_decoder import TfExampleDecoderLabelMap

SIDE = 128
"""Side of the square that the parser resizes images to, in pixels."""

directory, labels = map(Path, sys.argv[1:])
decoder, by_name = TfExampleDecoder(), TfExampleDecoderLabelMap(label_map=str(labels))
parser = Parser(
    output_size=[SIDE, SIDE], min_level=3, max_level=5, num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=4.0
)
train, evaluate = parser.parse_fn(is_training=True), parser.parse_fn(is_training=False)


def read(raw: tf.Tensor) -> dict:
    """All values of one record that the test compares."""
    got = decoder.decode(raw)
    image, target = train(dict(got))
    labels = tf.concat([tf.reshape(part, [-1]) for part in target["cls_targets"].values()], 0)
    return {
        "source_id": got["source_id"],
        "shape": tf.shape(got["image"]),
        "size": [got["height"], got["width"]],
        "boxes": got["groundtruth_boxes"],
        "classes": got["groundtruth_classes"],
        "classes_by_name": by_name.decode(raw)["groundtruth_classes"],
        "crowd": got["groundtruth_is_crowd"],
        "area": got["groundtruth_area"],
        "parsed": tf.shape(image),
        "trained": tf.unique(labels).y,
    }


def read_to_evaluate(raw: tf.Tensor) -> tf.Tensor:
    """The id of a record in the evaluation."""
    _, target = evaluate(decoder.decode(raw))
    return target["groundtruths"]["source_id"]


records = tf.data.TFRecordDataset(sorted(map(str, directory.glob("*-?????-of-?????"))))
found = {}
for record in records.map(read).as_numpy_iterator():
    name = record.pop("source_id").decode()
    found[name] = {key: value.tolist() for key, value in record.items()}
source_ids = []
if all(map(str.isdigit, found)):
    source_ids = [int(number) for number in records.map(read_to_evaluate).as_numpy_iterator()]
sys.stdout.write(json.dumps({"records": found, "source_ids": source_ids}))
