"""A valid record for tests of annotations, any value of which can be changed."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tfrec_stage.records import ImageRecord

MakeRecord = Callable[..., ImageRecord]

VALID = """{
    "filename": "a.jpg", "id": "a", "class": {"label": 1, "text": "bird", "conf": 0.5},
    "object": {
        "count": 2, "area": [0.04, 0.09], "id": ["p", "q"], "is_crowd": [0, 1],
        "bbox": {
            "xmin": [0.1, 0.5], "xmax": [0.3, 0.8], "ymin": [0.2, 0.6], "ymax": [0.4, 0.9],
            "label": [1, 2], "text": ["wren", "finch"], "score": [0.7, 0.8], "conf": [0.9, 1.0]
        },
        "parts": {
            "x": [0.1, 0.2, 0.5, 0.6], "y": [0.3, 0.3, 0.7, 0.8], "v": [2, 1, 2, 1], "score": [0.1, 0.2, 0.3, 0.4]
        }
    }
}"""
"""Two objects with two keypoints each, and no empty list."""


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """(object__bbox__xmin=[…], …) → a valid record with these changes."""
    return _make


def _make(**changes: Any) -> ImageRecord:
    values = json.loads(VALID)
    for path, value in changes.items():
        *parents, name = path.split("__")
        inner = values
        for parent in parents:
            inner = inner[parent]
        inner[name] = value
    return msgspec.convert(values, ImageRecord)
