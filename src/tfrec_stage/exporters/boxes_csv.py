"""`<name>.csv`: one row a box, in pixels.

The columns are those of the community's `xml_to_csv.py` and `generate_tfrecord.py` for the TensorFlow Object Detection
API, first of the raccoon data set (github.com/datitran/raccoon_dataset); quoting is RFC 4180's.
"""

import csv
import struct
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Final

from tfrec_stage.exporters.dataset import FinishedDataset
from tfrec_stage.files import atomic_writer
from tfrec_stage.tfrecord.example import Feature

COLUMNS: Final = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
_ANY: Final = "object"
"""Class of boxes that have neither label nor text."""
_EDGES: Final = COLUMNS[4:]
_DECIMALS: Final = 10
_float32 = struct.Struct("<f")


def write_boxes_csv(dataset: FinishedDataset) -> None:
    """Write a row for each box, in the order of the shards; an image without boxes has none.

    Pixels are those of the stored image, from its left or top edge, written with as few digits as give the very number
    in the shard when they are divided by the width or height. The class is the name that
    `labels.json` gives to the box's label, else the box's own text, else its label.

    Raises:
        ShardError: a shard cannot be read.
        OutputError: the file cannot be written.
    """
    names = {label.label: label.text for label in dataset.labels if label.text}
    with atomic_writer(dataset.directory / f"{dataset.name}.csv") as file:
        file.write(_to_line(COLUMNS))
        for record in dataset.records():
            file.writelines(map(_to_line, _rows(record.features, names)))


def _to_line(row: Sequence[Any]) -> bytes:
    r"""One row, ended by a line feed.

    What is quoted depends on the line ends that the writer is told, and in Python 3.13 no longer: with both of them
    every version quotes both.

    >>> _to_line(["a\rb", 1])
    b'"a\rb",1\n'
    """
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(row)
    # A file's name may be any bytes: they go through as they are.
    return text.getvalue().removesuffix("\r\n").encode(errors="surrogateescape") + b"\n"


def _rows(features: Mapping[str, Feature], names: Mapping[int, str]) -> Iterator[tuple[Any, ...]]:
    filename, width, height = (_values(features, f"image/{name}")[0] for name in ("filename", "width", "height"))
    image = (filename.decode(errors="surrogateescape"), width, height)
    sizes = (width, height, width, height)
    labels, texts, *sides = (_values(features, f"image/object/bbox/{name}") for name in ("label", "text", *_EDGES))
    for number, edges in enumerate(zip(*sides, strict=True)):
        label, text = ([*values[number : number + 1], None][0] for values in (labels, texts))
        name = names.get(label) or (text or b"").decode() or (_ANY if label is None else str(label))
        yield *image, name, *map(_to_pixels, edges, sizes)


def _values(features: Mapping[str, Feature], key: str) -> list[Any]:
    return features[key].values


def _to_pixels(edge: float, size: int) -> str:
    """An edge in pixels, with as few decimals as give it back.

    >>> _to_pixels(0.10000000149011612, 30)
    '3'
    """
    stored = _float32.pack(edge)
    for decimals in range(_DECIMALS):
        text = f"{edge * size:.{decimals}f}"
        if _float32.pack(float(text) / size) == stored:
            return text
    return repr(edge * size)
