"""The tables say what was measured."""

from typing import Any

from benchmarks.ratios import render


def results(copy_s: list[float], build_s: list[float]) -> dict[str, Any]:
    """What pytest-benchmark stores of one race and one group of two."""
    rows = [
        {"name": "copy", "beside": "copy", "images": 100, "seconds": copy_s},
        {"name": "**build**", "beside": "copy", "images": 100, "seconds": build_s},
    ]
    race = {"title": "100 JPEGs", "rows": rows, "absent": ["TFDS"]}
    plain = [
        {"name": "test_ours", "group": "Example", "stats": {"median": 2e-5}, "extra_info": {}},
        {"name": "test_theirs", "group": "Example", "stats": {"median": 5e-3}, "extra_info": {"peak_mb": 40.4}},
    ]
    return {
        "datetime": "2030-01-02T03:04:05",
        "commit_info": {"id": "0123456789abcdef"},
        "machine_info": {"cpu": {"count": 2, "brand_raw": "CPU"}, "system": "Linux", "python_version": "3.11.7"},
        "benchmarks": [{"name": "test_race", "group": None, "extra_info": {"race": race}}, *plain],
    }


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    """In the second round the machine was slow, for both."""
    lines = "\n".join(render([results([1.0, 4.0, 1.0], [2.0, 8.0, 3.0])]))
    assert "2030-01-02: 2 processors (CPU), Linux, Python 3.11.7, commit 0123456789" in lines
    assert "**100 JPEGs; medians of 3**" in lines
    assert "| **build** | 2.00 | copy | 33 | 3.000 |" in lines
    assert "Not installed: TFDS." in lines


def test_plain_benchmarks_are_compared_with_the_first_of_their_group() -> None:
    lines = list(render([results([1.0], [2.0])]))
    assert "| ours | 1.00 | ours | 20.0 µs |  |" in lines
    assert "| theirs | 250.00 | ours | 5.00 ms | 40 |" in lines


def test_an_earlier_file_stands_beside_the_later_one() -> None:
    lines = list(render([results([1.0], [4.0]), results([1.0], [2.0])]))
    assert "| **build** | 4.00 | 2.00 | copy | 50 | 2.000 |" in lines
