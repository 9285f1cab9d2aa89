"""Print what `dvc repro` built, where it is, and what to look at next."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

SHARDS = Path("data/shards")
SPLITS = ("train", "val", "test")

NEXT = """
Look next at
  [bold]data/shards/train/index.json[/]                what each shard holds: records, bytes, checksum
  [bold]dvc metrics show[/]                            images, boxes and failures of each split
  [bold]dvc plots show[/]                              boxes of each class by name, as a page
  [bold]dvc repro[/]                                   nothing has changed: nothing runs
  [bold]dvc exp run -S splits.train.num_shards=5[/]    only train is built again
  [bold]python -m tfrec_stage --help[/]                every option
The commands are in .venv/bin: [bold]source .venv/bin/activate[/]"""


def main() -> None:
    """Print one row per split, then the hints."""
    table = Table("split", "images", "objects", "parts", "failed", "shards", "MB", "where")
    for split in SPLITS:
        table.add_row(*_row(SHARDS / split))
    console = Console(width=100)
    console.print(table)
    console.print(NEXT)


def _row(directory: Path) -> list[str]:
    index, stats = (json.loads((directory / name).read_text()) for name in ("index.json", "stats.json"))
    size_mb = sum(shard["size_bytes"] for shard in index["shards"]) / 1e6
    counts = [stats["images"], stats["boxes"], stats["parts"], stats["failed"], index["num_shards"]]
    return [index["name"], *map(str, counts), f"{size_mb:.1f}", str(directory)]


if __name__ == "__main__":
    main()
