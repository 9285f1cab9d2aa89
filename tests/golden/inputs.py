"""Inputs of the golden digests: records and options for shards, annotations in each format for manifests.

The images in images/ are committed, since another version of Pillow could write other files. They have 16 x 12 pixels.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

IMAGES: Final = Path(__file__).parent / "images"
PASSED_THROUGH: Final = ("ycbcr.jpg", "plain.jpg", "progressive.jpg")
"""Images that are stored as they are."""
REENCODED: Final = (
    "gray.jpg",
    "cmyk.jpg",
    "turned.jpg",
    "rgb.png",
    "gray16.png",
    "palette.png",
    "rgba.png",
    "lossless.webp",
    "bitmap.bmp",
    "animation.gif",
)
"""Images that are re-encoded."""


def _record(name: str, **more: Any) -> dict[str, Any]:
    return {"filename": name, "id": name, **more}


def _boxes(**more: Any) -> dict[str, Any]:
    box = {"xmin": [0.125, 0.5], "xmax": [0.5, 1.0], "ymin": [0.0, 0.25], "ymax": [0.75, 0.9], "label": [0, 2]}
    return {"bbox": {**box, "text": ["cat", "dögs"], "score": [0.5, 1.0], "conf": [1.0, 0.25]}, **more}


PARTS: Final = {
    "x": [0.25, 0.3, 0.75, 0.0],
    "y": [0.5, 0.1, 0.5, 0.0],
    "v": [2, 1, 2, 0],
    "score": [1.0, 0.5, 0.0, 0.1],
}
ANNOTATED: Final = [
    _record("ycbcr.jpg", **{"class": {"label": 1, "text": "cat", "conf": 0.5}}, extra="two words"),
    _record("plain.jpg", object=_boxes(area=[0.25, 0.1], id=["7", "b"], is_crowd=[0, 1])),
    _record(
        "progressive.jpg", object=_boxes(parts=PARTS), extra={"b": [1, None], "a": {"ü": 1.5}}, width=16, height=12
    ),
    _record("trailing.jpg", **{"class": {"label": "3"}}, extra=[1, "two", {"three": 3}]),
]
"""Records with classes, boxes, keypoints, areas, and each kind of value in `extra`."""
INVALID: Final = [
    _record("ycbcr.jpg", object={"bbox": {"xmin": [-0.25], "xmax": [0.5], "ymin": [0.5], "ymax": [1.5]}}),
    _record(
        "plain.jpg", object={"bbox": {"xmin": [0.5, 0.1], "xmax": [0.5, 0.9], "ymin": [0.1] * 2, "ymax": [0.9] * 2}}
    ),
    _record("progressive.jpg", object={"bbox": {"xmin": [0.0], "xmax": [1.0001], "ymin": [0.0], "ymax": [1.0]}}),
]
"""Records with boxes outside the image, without area, and outside by a rounding error."""
FAILING: Final = [_record(name) for name in ("ycbcr.jpg", "truncated.jpg", "plain.jpg", "text.jpg", "absent.jpg")]
"""Records with damaged and missing images among good ones."""
MANY: Final = [_record(PASSED_THROUGH[number % 3]) | {"id": f"image {number}"} for number in range(24)]
"""More records than images, to show order and placement."""


@dataclass(frozen=True)
class Build:
    """One build of records."""

    records: list[dict[str, Any]]
    """Image records."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `create`."""
    num_shards: int = 2
    """Number of shards."""


BUILDS: Final[Mapping[str, Build]] = {
    "annotated": Build(ANNOTATED),
    "area in pixels": Build(ANNOTATED, {"area": "pixels"}),
    "profiles": Build(
        ANNOTATED, {"profiles": ["od_api", "tfds", "dali", "csv", "croissant"], "labels": ["a", "b", "c"]}
    ),
    "od_api_keys": Build(ANNOTATED, {"od_api_keys": True}),
    "without images": Build(ANNOTATED, {"store_images": False}),
    "gzip": Build(ANNOTATED, {"compression": "gzip"}),
    "gzip without images": Build(ANNOTATED, {"compression": "gzip", "store_images": False}),
    "verify structure": Build(ANNOTATED, {"verify": "structure"}),
    "clip and drop": Build(INVALID, {"out_of_range": "clip", "degenerate_boxes": "drop"}),
    "clip and keep": Build(INVALID, {"out_of_range": "clip", "degenerate_boxes": "keep"}),
    "nothing mended": Build(INVALID),
    "failures": Build(FAILING, {"shuffle": False}),
    "order": Build(MANY, num_shards=3),
    "another seed": Build(MANY, {"seed": 7}, num_shards=3),
    "manifest's order": Build(MANY, {"shuffle": False}, num_shards=5),
    **{f"encoded anew: {name}": Build([_record(name, object=_boxes())], num_shards=1) for name in REENCODED},
    "raw frame": Build([_record("turned.jpg", width=16, height=12)], num_shards=1),
    "background": Build([_record("rgba.png")], {"background": [10, 20, 200]}, num_shards=1),
    "quality": Build([_record("rgb.png")], {"jpeg_quality": 40}, num_shards=1),
    "gzip of new JPEGs": Build([_record("rgb.png"), _record("gray.jpg")], {"compression": "gzip"}, num_shards=1),
}
"""All builds by name, each with all other options at their defaults. The names are keys of digests.json."""


@dataclass(frozen=True)
class Import:
    """One import of annotations."""

    importer: str
    """Name of the importer."""
    write: Callable[[Path], list[Path]]
    """Writes the annotations into a folder, and returns the paths to import."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the importer."""
    images: str = "images"
    """Folder of the images, relative."""


def _write_coco(root: Path) -> list[Path]:
    images = [
        {"id": number, "file_name": name, "width": 16, "height": 12} for number, name in enumerate(PASSED_THROUGH)
    ]
    keypoints = [4.0, 3.0, 2, 8.0, 6.0, 1, 0.0, 0.0, 0]
    annotation = {"image_id": 0, "category_id": 18, "iscrowd": 0}
    annotations = [
        {**annotation, "id": 1, "bbox": [1.0, 2.0, 8.0, 4.5], "area": 20.25, "segmentation": [[1, 2, 9, 2, 9, 6.5]]},
        {**annotation, "id": 2, "bbox": [0, 0, 16, 12], "area": 192, "iscrowd": 1, "category_id": 3},
        {**annotation, "id": 3, "image_id": 2, "bbox": [2, 2, 4, 4], "keypoints": keypoints, "num_keypoints": 2},
    ]
    categories = [
        {"id": 18, "name": "dog", "keypoints": ["nose", "tail", "paw"], "skeleton": [[1, 2]]},
        {"id": 3, "name": "car"},
    ]
    return [
        _write(root / "coco.json", json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    ]


def _write_csv(root: Path) -> list[Path]:
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax", "ycbcr.jpg,16,12,dog,1,2,9,6.5"]
    rows += ["ycbcr.jpg,16,12,car,0,0,16,12", "plain.jpg,16,12,dog,2,2,6,6", "progressive.jpg,16,12,,,,,"]
    return [_write(root / "boxes.csv", "\n".join(rows) + "\n")]


def _write_open_images(root: Path) -> list[Path]:
    rows = [
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    ]
    rows += ["ycbcr,xclick,/m/0bt9lr,1,0.125,0.5,0.25,0.75,0,1,0,0,0", "plain,xclick,/m/0k4j,1,0,1,0,1,0,0,1,0,0"]
    return [_write(root / "open.csv", "\n".join(rows) + "\n")]


def _write_voc(root: Path) -> list[Path]:
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>7</ymax></bndbox>"
    dog = f"<object><name>dog</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>{box}</object>"
    for name in PASSED_THROUGH:
        size = "<size><width>16</width><height>12</height><depth>3</depth></size>"
        _write(root / f"{Path(name).stem}.xml", f"<annotation><filename>{name}</filename>{size}{dog}</annotation>\n")
    return [root]


def _write_yolo(root: Path) -> list[Path]:
    _write(root / "labels" / "ycbcr.txt", "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.5 0.5\n")
    _write(root / "labels" / "plain.txt", "")
    return [_write(root / "data.yaml", "names: [dog, car]\n"), root / "labels"]


def _write_classes(root: Path) -> list[Path]:
    for folder, name in {"cat": "ycbcr.jpg", "dog/puppy": "plain.jpg"}.items():
        (root / "classes" / folder).mkdir(parents=True)
        shutil.copy(IMAGES / name, root / "classes" / folder)
    return []


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


IMPORTS: Final[Mapping[str, Import]] = {
    "coco": Import("coco", _write_coco),
    "csv": Import("csv", _write_csv),
    "csv of OpenImages": Import("csv", _write_open_images),
    "voc": Import("voc", _write_voc),
    "yolo": Import("yolo", _write_yolo),
    "image_folder": Import("image_folder", _write_classes, images="annotations/classes"),
}
"""All imports by name. Datumaro has none: its manifests depend on its version as well."""
