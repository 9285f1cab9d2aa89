"""A small split in one call, for the tests of exporters."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import encode_noise
from tfrec_stage import create
from tfrec_stage.dataset_info import Label
from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.schema.options import SchemaOptions
from tfrec_stage.shards.metadata_files import ShardEntry
from tfrec_stage.shards.statistics import Statistics

Record = dict[str, Any]


@dataclass
class Split:
    """A split of 40 by 30 pixel images that has been built."""

    directory: Path
    """Directory of its shards and of the files beside them."""

    def shards(self) -> list[Path]:
        """Its shards, in order."""
        return sorted(self.directory.glob("train-?????-of-?????"))

    def finished(self, labels: tuple[Label, ...] = ()) -> FinishedDataset:
        """What an exporter is given, with labels counted."""
        dataset = self.finished_unread(labels)
        for record in dataset.records():
            dataset.statistics.object_labels.update(record.features["image/object/bbox/label"].values)
            if record.features["image/class/text"].values != [b""]:
                dataset.statistics.image_labels.update(record.features["image/class/label"].values)
        return dataset

    def finished_unread(self, labels: tuple[Label, ...] = ()) -> FinishedDataset:
        """The same without counts; no shard is opened."""
        entries = tuple(ShardEntry(path.name, 0, path.stat().st_size, "", "") for path in self.shards())
        return FinishedDataset(self.directory, "train", entries, SchemaOptions(), labels, Statistics())


def build_split(directory: Path, records: Iterable[Record], num_shards: int = 2, **options: Any) -> Split:
    """Build records below a directory, each with its own image; `options` are those of `create`."""
    filled = []
    for number, record in enumerate(records):
        (directory / f"{number}.jpg").write_bytes(encode_noise(number))
        filled.append({"id": str(number), "filename": f"{number}.jpg"} | record)
    options = {"images_root": directory, "num_threads": 2} | options
    assert create(filled, "train", directory / "out", num_shards, **options) == []
    return Split(directory / "out")


def box(label: int | None = None, text: str | None = None, **edges: float) -> Record:
    """A record with one box."""
    sides = {"xmin": 0.25, "xmax": 0.75, "ymin": 0.2, "ymax": 0.6} | edges
    named = {"label": label, "text": text}
    lists = {name: [value] for name, value in (sides | named).items() if value is not None}
    return {"object": {"bbox": lists}}
