"""`label_map.pbtxt`: ids and names of classes, for the TensorFlow Object Detection API.

Source: research/object_detection/protos/string_int_label_map.proto in github.com/tensorflow/models, in protobuf's text
format (https://protobuf.dev/reference/protobuf/textformat-spec/).
"""

from typing import Final

from tfrec_stage.dataset_info import Label
from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.exporters.class_names import complete_labels
from tfrec_stage.files import write_file
from tfrec_stage.schema.od_api import FIRST_ID

LABEL_MAP_NAME: Final = "label_map.pbtxt"
_UNNAMED: Final = Label(0, "object")
"""The only class if boxes have no labels; `image/object/class/label` is then 1."""
# Control characters and DEL as three octal digits, which stay unambiguous before a digit.
_ESCAPES: Final = str.maketrans(
    {chr(code): f"\\{code:03o}" for code in (*range(32), 127)} | {"\n": "\\n", '"': '\\"', "\\": "\\\\"}
)


def write_label_map(dataset: FinishedDataset) -> None:
    """Write one item per class, in the order of ids. Ids are labels + 1, because the API reserves 0 for the background.

    The id of a keypoint is its index among the parts of an object, from 0, because the API uses it as an index.

    Raises:
        ConfigError: labels are too large to list all classes.
        OutputError: the file cannot be written.
    """
    items = map(_to_item, complete_labels(dataset) or (_UNNAMED,))
    write_file(dataset.directory / LABEL_MAP_NAME, "".join(items).encode())


def _to_item(label: Label) -> str:
    name = _quote(label.text)
    keypoints = (
        f"  keypoints {{\n    id: {index}\n    label: {_quote(text)}\n  }}\n"
        for index, text in enumerate(label.keypoints)
    )
    fields = f"  id: {label.label + FIRST_ID}\n  name: {name}\n  display_name: {name}\n"
    return f"item {{\n{fields}{''.join(keypoints)}}}\n"


def _quote(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
