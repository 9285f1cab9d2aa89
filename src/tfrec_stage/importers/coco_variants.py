"""Kinds of files that COCO's tools and relatives write: which can be imported, and what the others lack.

Source: https://cocodataset.org/#format-data and #format-results; for COCO-Text, https://github.com/andreasveit/coco-text.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tfrec_stage.importers.coco_deviations import show
from tfrec_stage.importers.coco_file import Annotation, Category
from tfrec_stage.importers.interface import show_names

_NEEDED = "needed is an instances or person_keypoints file, an object with `images`, `annotations` and `categories`"


def explain_other(value: Any, sample: Mapping[str, Any]) -> str:
    """Say what a file is that holds no object, and what is needed instead.

    Args:
        value: what it holds.
        sample: the first object in it, where it is a list; else empty.
    """
    if not isinstance(value, list):
        return f"{show(value)}; {_NEEDED}"
    what = "results, as detectors write them" if "image_id" in sample else "entries"
    return f"a list of {len(value):,} {what}; {_NEEDED}"


def explain_object(sections: Collection[str], keys: Collection[str], sample: Mapping[str, Any]) -> str | None:
    """Say what a file is that holds an object and cannot be imported, and what is needed instead; None if it can be.

    Args:
        sections: which of `images`, `annotations` and `categories` it has.
        keys: the keys it has.
        sample: its first annotation; empty if there is none.
    """
    absent = {name for name in ("images", "annotations", "categories") if name not in sections}
    kinds = [
        (not sections, f"an object with the keys {show_names(keys) or 'none'}; {_NEEDED}"),
        ("annotations" in absent, f"a file of images without `annotations`, as for a test set; {_NEEDED}"),
        ("segments_info" in sample, f"a panoptic file, whose annotations have `segments_info`; {_NEEDED}"),
        (_is_caption(sample), f"a captions file, whose annotations have no `category_id`; {_NEEDED}"),
        (
            "images" in absent,
            "a file of annotations without `images`; needed is a list with `id` and `file_name` of each image",
        ),
        (
            "categories" in absent and not is_text(sample),
            "a file of annotations without `categories`; needed is a list with `id` and `name` of each class",
        ),
    ]
    return next((explanation for is_it, explanation in kinds if is_it), None)


def _is_caption(sample: Mapping[str, Any]) -> bool:
    return "caption" in sample and "category_id" not in sample


def is_text(sample: Mapping[str, Any]) -> bool:
    """Return whether an annotation is from COCO-Text, whose files have no categories."""
    return "category_id" not in sample and ("utf8_string" in sample or "legibility" in sample)


def to_usual_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an annotation of COCO-Text under COCO's names; without a `class` it is "text"."""
    return {"category_id": values.get("class") or "text", "segmentation": values.get("mask")} | dict(values)


def list_classes(annotations: Iterable[Annotation]) -> list[Category]:
    """Return the classes that annotations name themselves, for files without `categories`."""
    return [Category(name, str(name)) for name in sorted({str(each.category_id) for each in annotations})]
