"""What pytest-benchmark stored → tables in Markdown, ratios first.

python -m benchmarks.ratios results.json            the tables
python -m benchmarks.ratios before.json after.json  the same, a column of ratios for each file
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

Results = dict[str, Any]


class Row(NamedTuple):
    """One line of a table."""

    name: str
    ratio: float
    """Time over that of `beside`: the median over the rounds of the ratio in each."""
    beside: str
    rest: tuple[str, ...]
    """What stands behind the ratio."""


class Table(NamedTuple):
    """One race, or one group of plain benchmarks."""

    title: str
    columns: tuple[str, ...]
    """Names of what stands behind the ratio."""
    rows: list[Row]
    remark: str = ""


def main(paths: Sequence[str]) -> None:
    """Print the tables of one file, or of several side by side."""
    if not paths:
        sys.exit(__doc__)
    print("\n".join(render([json.loads(Path(path).read_text(encoding="utf-8")) for path in paths])))


def render(files: Sequence[Results]) -> Iterator[str]:
    """Lines of Markdown: when and where, then every table of the last file, with the ratios of the others."""
    for file in files:
        yield describe_run(file)
    earlier = [_ratios(file) for file in files[:-1]]
    for table in tables_of(files[-1]):
        yield f"\n**{table.title}**\n"
        yield from _lines(table, earlier)
        if table.remark:
            yield f"\n{table.remark}"


def describe_run(file: Results) -> str:
    """Date, machine and versions."""
    machine = file["machine_info"]
    cpu = machine.get("cpu", {})
    return (
        f"{file['datetime'][:10]}: {cpu.get('count', '?')} processors ({cpu.get('brand_raw', 'unknown')}), "
        f"{machine['system']}, Python {machine['python_version']}, commit {str(file['commit_info'].get('id'))[:10]}"
    )


def tables_of(file: Results) -> Iterator[Table]:
    """Races first, then groups."""
    benchmarks = file["benchmarks"]
    yield from (_race_table(entry["extra_info"]["race"]) for entry in benchmarks if "race" in entry["extra_info"])
    groups: dict[str, list[Results]] = {}
    for entry in benchmarks:
        if "race" not in entry["extra_info"]:
            groups.setdefault(entry["group"] or "", []).append(entry)
    yield from (_group_table(group, entries) for group, entries in groups.items())


def _race_table(race: Results) -> Table:
    seconds = {row["name"]: row["seconds"] for row in race["rows"]}
    rows = [
        Row(
            row["name"],
            median(own / other for own, other in zip(row["seconds"], seconds[row["beside"]], strict=True)),
            row["beside"],
            (_show_rate(row["images"], median(row["seconds"])), f"{median(row['seconds']):.3f}"),
        )
        for row in race["rows"]
    ]
    remark = f"Not installed: {', '.join(race['absent'])}." if race["absent"] else ""
    return Table(f"{race['title']}; medians of {len(race['rows'][0]['seconds'])}", ("images/s", "s"), rows, remark)


def _group_table(group: str, entries: Sequence[Results]) -> Table:
    first = entries[0]
    has_memory = any("peak_mb" in entry["extra_info"] for entry in entries)
    rows = [
        Row(
            entry["name"].removeprefix("test_"),
            entry["stats"]["median"] / first["stats"]["median"],
            first["name"].removeprefix("test_"),
            (_show_time(entry["stats"]["median"]), *([_show_memory(entry)] if has_memory else [])),
        )
        for entry in entries
    ]
    return Table(group, ("median", "peak MB") if has_memory else ("median",), rows)


def _ratios(file: Results) -> dict[tuple[str, str], float]:
    return {(row.name, row.beside): row.ratio for table in tables_of(file) for row in table.rows}


def _lines(table: Table, earlier: Sequence[dict[tuple[str, str], float]]) -> Iterator[str]:
    before = [f"{number} files ago" for number in range(len(earlier), 0, -1)]
    yield _line(["", *before, "ratio", "to", *table.columns])
    yield _line(["---", *["---:" for _ in before], "---:", "---", *["---:" for _ in table.columns]])
    for row in table.rows:
        then = [_show_ratio(ratios.get((row.name, row.beside))) for ratios in earlier]
        yield _line([row.name, *then, _show_ratio(row.ratio), row.beside.replace("**", ""), *row.rest])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _show_ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _show_memory(entry: Results) -> str:
    return f"{entry['extra_info']['peak_mb']:.0f}" if "peak_mb" in entry["extra_info"] else ""


def _show_rate(images: int, seconds: float) -> str:
    return "" if images == 1 else f"{images / seconds:,.0f}"


def _show_time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-6:.1f} µs"


if __name__ == "__main__":
    main(sys.argv[1:])
