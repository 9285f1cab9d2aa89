"""`<name>.csv`: one row per box, in pixels.

Source: the columns of `xml_to_csv.py` and `generate_tfrecord.py`, scripts of the community for the TensorFlow Object
Detection API (first in github.com/datitran/raccoon_dataset); quoting as in RFC 4180.
"""

import csv
import struct
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Final

from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.files import atomic_writer
from tfrec_stage.tfrecord.example import Feature

COLUMNS: Final = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
_UNNAMED: Final = "object"
"""Class of boxes that have neither a label nor a text."""
_EDGES: Final = COLUMNS[4:]
_MAX_DECIMALS: Final = 10
_float32 = struct.Struct("<f")


def write_boxes_csv(dataset: FinishedDataset) -> None:
    """Write one row per box, in the order of the shards. An image without boxes has no row.

    Edges are in pixels of the stored image, from its left or top. They have as few digits as needed to give exactly the
    number in the shard when divided by the width or height. The class is the name of the box's label in
    `labels.json`, else the box's own text, else its label.

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
    r"""One row, with a line feed at the end.

    Before Python 3.13 the writer quotes only the line breaks that its `lineterminator` contains. With "\r\n" every
    version quotes both kinds.

    >>> _to_line(["a\rb", 1])
    b'"a\rb",1\n'
    """
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(row)
    # The name of a file may be any bytes; those that are not UTF-8 are written unchanged.
    return text.getvalue().removesuffix("\r\n").encode(errors="surrogateescape") + b"\n"


def _rows(features: Mapping[str, Feature], names: Mapping[int, str]) -> Iterator[tuple[Any, ...]]:
    filename, width, height = (_values(features, f"image/{name}")[0] for name in ("filename", "width", "height"))
    image = (filename.decode(errors="surrogateescape"), width, height)
    sizes = (width, height, width, height)
    labels, texts, *sides = (_values(features, f"image/object/bbox/{name}") for name in ("label", "text", *_EDGES))
    for number, edges in enumerate(zip(*sides, strict=True)):
        # Labels and texts are optional, so their lists may be empty.
        label, text = ([*values[number : number + 1], None][0] for values in (labels, texts))
        name = names.get(label) or (text or b"").decode() or (_UNNAMED if label is None else str(label))
        yield *image, name, *map(_to_pixels, edges, sizes)


def _values(features: Mapping[str, Feature], key: str) -> list[Any]:
    return features[key].values


def _to_pixels(edge: float, size: int) -> str:
    """An edge in pixels, with as few decimals as needed to give back the normalised edge.

    >>> _to_pixels(0.10000000149011612, 30)
    '3'
    """
    stored = _float32.pack(edge)  # compare as shards store it: 0.1 in 32 bits is 0.10000000149011612
    for decimals in range(_MAX_DECIMALS):
        text = f"{edge * size:.{decimals}f}"
        if _float32.pack(float(text) / size) == stored:
            return text
    return repr(edge * size)
