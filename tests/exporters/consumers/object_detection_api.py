"""TensorFlow Object Detection API (`tf-models-research-object-detection`): its label map and its decoder.

Its protobuf messages are those of protoc 3.19 or older: run it with PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python.

Usage: object_detection_api.py DIRECTORY NUM_KEYPOINTS
"""

import json
import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.python.ops import control_flow_ops

# tf_slim 1.1, its newest version, looks for these where TensorFlow had them in 2.11.
control_flow_ops.case, control_flow_ops.cond = tf.compat.v1.case, tf.compat.v1.cond

from object_detection.core.standard_fields import InputDataFields as Fields  # noqa: E402
from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder  # noqa: E402
from object_detection.utils import label_map_util  # noqa: E402

directory, num_keypoints = Path(sys.argv[1]), int(sys.argv[2])
label_map = str(directory / "label_map.pbtxt")
plain = TfExampleDecoder(num_keypoints=num_keypoints)
by_name = TfExampleDecoder(
    label_map_proto_file=label_map, num_keypoints=num_keypoints, use_keypoint_label_map=num_keypoints > 0
)


def read(raw: tf.Tensor) -> dict:
    """Everything that is compared, of one record."""
    got, again = plain.decode(raw), by_name.decode(raw)
    record = {
        "shape": tf.shape(got[Fields.image]),
        "boxes": got[Fields.groundtruth_boxes],
        "classes": got[Fields.groundtruth_classes],
        "classes_by_name": again[Fields.groundtruth_classes],
        "crowd": got[Fields.groundtruth_is_crowd],
        "group_of": got[Fields.groundtruth_group_of],
        "difficult": got[Fields.groundtruth_difficult],
        "area": got[Fields.groundtruth_area],
        "source_id": got[Fields.source_id],
        "sha256": got[Fields.key],
    }
    if num_keypoints:
        record["visible"] = got[Fields.groundtruth_keypoint_visibilities]
        for key, tensors in {"keypoints": got, "keypoints_by_name": again}.items():
            values = tensors[Fields.groundtruth_keypoints]
            record[key] = tf.where(
                tf.math.is_nan(values), -1.0, values
            )  # what is not labelled is NaN, which is no JSON
    return record


records = tf.data.TFRecordDataset(sorted(map(str, directory.glob("*-?????-of-?????"))))
found = {}
for record in records.map(read).as_numpy_iterator():
    name = record["source_id"].decode()
    found[name] = {key: value.decode() if isinstance(value, bytes) else value.tolist() for key, value in record.items()}
names, categories = (
    label_map_util.get_label_map_dict(label_map),
    label_map_util.create_categories_from_labelmap(label_map),
)
sys.stdout.write(json.dumps({"names": names, "categories": categories, "records": found}))
