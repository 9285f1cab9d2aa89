"""Count the statistics of shards without TensorFlow, and print them as tables."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ShardError
from tfrec_stage.reading.columns import columns_of
from tfrec_stage.shards.directory import find_shards
from tfrec_stage.shards.reader import read_features
from tfrec_stage.stats.dataset_statistics import DatasetStatistics
from tfrec_stage.tfrecord.example import Feature

_BATCH: Final = 256
"""Records per batch."""
_SHAPES: Final = {
    "width_px": "width, px",
    "height_px": "height, px",
    "area_px": "area, px²",
    "aspect_ratio": "width : height",
}
"""Titles of the rows about boxes, by key of the statistics."""
_MISSING_SHOWN: Final = 20
"""How many labels without boxes are listed."""


def count_shards(directory_or_glob: str, labels: Sequence[Label] = ()) -> dict[str, Any]:
    """Return the statistics of a split as plain values; see `DatasetStatistics`.

    Args:
        directory_or_glob: directory of the shards, one shard, or a pattern, as for `find_shards`.
        labels: classes, for names that are not in the records.

    Raises:
        ShardError: there is no shard, or one is damaged.
    """
    statistics = DatasetStatistics(labels)
    for path in find_shards(directory_or_glob):
        for batch in _batches(record.features for record in read_features(path)):
            try:
                columns = columns_of(batch)
            except ShardError as error:
                raise ShardError(f"{path}: {error}") from None
            statistics.add(columns)
    return statistics.as_dict()


def _batches(features: Iterator[dict[str, Feature]]) -> Iterator[list[dict[str, Feature]]]:
    while batch := list(islice(features, _BATCH)):
        yield batch


def print_statistics(name: str, statistics: Mapping[str, Any], stream: TextIO) -> None:
    """Print the statistics of a split as tables; `statistics` is what `count_shards` returns."""
    # A file or a pipe has no width: use a fixed one.
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 100)
    boxes, parts = statistics["boxes"], statistics["parts"]
    console.print(
        f"{name}: {statistics['images']:,} images ({statistics['bytes_of_images'] / 1e6:,.1f} MB), "
        f"{boxes['count']:,} boxes, {parts['count']:,} parts",
        soft_wrap=True,
    )
    for table in _tables(statistics):
        if table.row_count:
            console.print(table)
    missing = statistics["missing_labels"]
    if missing:
        shown = ", ".join(map(str, missing[:_MISSING_SHOWN]))
        console.print(f"labels that no box has: {shown}{', …' if len(missing) > _MISSING_SHOWN else ''}")


def _tables(statistics: Mapping[str, Any]) -> Iterator[Table]:
    for key, what in (("classes", "boxes"), ("image_classes", "images")):
        table = _table(f"classes of {what}", "label", "name", "images", *(["boxes"] if what == "boxes" else []))
        for row in statistics[key]:
            numbers = (f"{row[name]:,}" for name in ("images", "boxes") if name in row)
            table.add_row(str(row["label"]), row["name"], *numbers)
        yield table
    boxes, parts = statistics["boxes"], statistics["parts"]
    spread = _table("sizes", "", "min", "mean", "median", "max")
    for what, sizes in statistics["image_size"].items():
        _add_spread(spread, f"image {what}, px", sizes)
    _add_spread(spread, "boxes an image", boxes["an_image"])
    for key, what in _SHAPES.items():
        _add_spread(spread, f"box {what}", boxes[key])
    yield spread
    counts = _table("counts", "what", "how many")
    facts = {
        "images without objects": statistics["images_without_objects"],
        "images with mismatched lists": statistics["images_with_mismatched_lists"],
        "small boxes (< 32² px)": boxes["small"],
        "medium boxes": boxes["medium"],
        "large boxes (> 96² px)": boxes["large"],
        "boxes without area": boxes["no_area"],
        "reversed boxes": boxes["reversed"],
    }
    if parts["count"]:
        facts |= {f"parts {key.replace('_', ' ')}": value for key, value in parts.items() if key != "count"}
    for what, count in facts.items():
        counts.add_row(what, f"{count:,}")
    yield counts


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in {"name", "", "what"} else "right")
    return table


def _add_spread(table: Table, what: str, spread: Mapping[str, float]) -> None:
    if spread:
        table.add_row(what, *(f"{spread[name]:,.6g}" for name in ("min", "mean", "median", "max")))
