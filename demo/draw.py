"""Draw the demo's dataset: coloured shapes in COCO form, the same bytes on every machine.

    python demo/draw.py data/raw

    data/raw/images/train/001000.jpg …            JPEG and PNG, some grayscale, some transparent
    data/raw/annotations/instances_train.json …   classes, boxes, outlines
    data/raw/annotations/keypoints_train.json …   the same objects with four keypoints each

Only integers draw, because the last bit of a float may differ from one processor to the next. Lengths are
in half pixels unless a name says `_px`; directions are steps of 3°, clockwise from up.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

Point = tuple[int, int]
Outline = list[Point]
Colour = tuple[int, int, int]

SPLITS = {"train": range(1000, 1200), "val": range(2000, 2050), "test": range(3000, 3050)}  # image ids
FINE = 2  # steps per pixel: a shape is cut out this much finer and averaged down, which smooths its edges
FULL, TURN = 1024, 120  # the length of a unit vector, the steps in a full turn
# fmt: off
SINE = (0, 54, 107, 160, 213, 265, 316, 367, 416, 465, 512, 558, 602, 644, 685, 724, 761, 796, 828, 859, 887,
        912, 935, 956, 974, 989, 1002, 1011, 1018, 1023, 1024)  # of 0°, 3°, … 90°, in 1024ths
BRIGHT = ((231, 76, 60), (243, 156, 18), (247, 208, 70), (46, 184, 114),
          (52, 152, 219), (142, 84, 214), (236, 100, 165), (38, 198, 196))
SKIES = (((252, 244, 232), (232, 206, 178)), ((226, 242, 250), (160, 200, 224)),
         ((234, 244, 226), (168, 204, 164)), ((244, 244, 246), (190, 196, 206)),
         ((74, 86, 118), (24, 30, 52)), ((98, 74, 110), (36, 26, 52)))
# fmt: on


def direction(step: int) -> Point:
    """The unit vector after a turn by `step`, as in `direction(30) == (1024, 0)`."""
    quarter, rest = divmod(step % TURN, 30)
    sine, cosine = SINE[rest], SINE[30 - rest]
    return ((sine, -cosine), (cosine, sine), (-sine, cosine), (-cosine, -sine))[quarter]


# Each class as the corners of its outline: direction, and distance from the centre in 1024ths of the radius.
CORNERS: dict[str, list[Point]] = {
    "circle": [(step, FULL) for step in range(0, TURN, 3)],
    "square": [(step, FULL) for step in range(15, TURN, 30)],
    "triangle": [(step, FULL) for step in range(0, TURN, 40)],
    "hexagon": [(step, FULL) for step in range(0, TURN, 20)],
    "star": [(step, 470 if step % 24 else FULL) for step in range(0, TURN, 12)],
    "flower": [(step, 870 - 150 * direction(6 * step)[1] // FULL) for step in range(0, TURN, 2)],
}
KINDS = tuple(CORNERS)
CATEGORIES = [{"id": 2 * i + 1, "name": kind, "supercategory": "shape"} for i, kind in enumerate(KINDS)]
POSE = {"keypoints": ["top", "right", "bottom", "left"], "skeleton": [[1, 2], [2, 3], [3, 4], [4, 1]]}


def polygon(kind: str, x: int, y: int, radius: int, turn: int = 0) -> Outline:
    """The outline of a shape around (x, y)."""
    arms = [(radius * reach, direction(turn + step)) for step, reach in CORNERS[kind]]
    return [(x + length * dx // FULL**2, y + length * dy // FULL**2) for length, (dx, dy) in arms]


@dataclass(frozen=True)
class Blob:
    """One annotated object: a shape, or five small ones in its place."""

    kind: str
    x: int
    y: int
    radius: int
    turn: int
    colour: Colour
    is_crowd: bool

    def outlines(self, percent: int = 100) -> list[Outline]:
        """The outline of each shape, shrunk to `percent` of its radius."""
        if not self.is_crowd:
            return [polygon(self.kind, self.x, self.y, self.radius * percent // 100, self.turn)]
        reach, small = self.radius * 2 // 3, self.radius * percent // 300
        arms = [direction(self.turn + step) for step in range(0, TURN, TURN // 5)]
        spots = [(self.x + reach * dx // FULL, self.y + reach * dy // FULL) for dx, dy in arms]
        return [polygon(self.kind, x, y, small, self.turn) for x, y in spots]

    def is_clear_of(self, other: "Blob") -> bool:
        """Whether neither hides the other: the centres are 3/4 of the radii apart, and the colours differ."""
        distance_squared = (self.x - other.x) ** 2 + (self.y - other.y) ** 2
        return self.colour != other.colour and 16 * distance_squared >= 9 * (self.radius + other.radius) ** 2


@dataclass(frozen=True)
class Scene:
    """One image: its entry in the COCO files, its Pillow mode, and what it shows, from back to front."""

    entry: dict[str, Any]
    mode: str
    blobs: list[Blob]


def compose(image_id: int) -> Scene:
    """Choose a scene, by the id alone: empty in every sixteenth image, with a crowd in every twentieth."""
    random = Random(image_id)
    width_px, height_px = random.randrange(96, 257, 4), random.randrange(96, 257, 4)
    count = 0 if image_id % 16 == 9 else random.randrange(1, 5)
    blobs: list[Blob] = []
    for _ in range(count * 8):
        blob = throw(random, width_px * FINE, height_px * FINE, is_crowd=image_id % 20 == 5 and not blobs)
        if len(blobs) < count and all(blob.is_clear_of(other) for other in blobs):
            blobs.append(blob)
    file_name = f"{image_id:06d}.{'png' if image_id % 4 == 3 else 'jpg'}"
    mode = "L" if image_id % 40 in {11, 22} else "RGBA" if image_id % 20 == 19 else "RGB"
    entry = {"id": image_id, "file_name": file_name, "width": width_px, "height": height_px}
    return Scene(entry, mode, blobs)


def throw(random: Random, width: int, height: int, *, is_crowd: bool) -> Blob:
    """Any blob that lies inside the image."""
    radius = random.randrange(min(width, height) // 9, min(width, height) // 3)
    x, y = random.randrange(radius, width - radius), random.randrange(radius, height - radius)
    kind, colour = KINDS[random.randrange(len(KINDS))], BRIGHT[random.randrange(len(BRIGHT))]
    return Blob(kind, x, y, radius, random.randrange(TURN), colour, is_crowd)


def cut_out(*outlines: Outline) -> dict[int, int]:
    """What is inside an odd number of outlines: an integer for each row, in which bit x stands for point x.

    Each side flips all bits to its right, and so a bit ends as 1 when an odd number of sides is left of it.
    """
    rows: defaultdict[int, int] = defaultdict(int)
    for side in (side for outline in outlines for side in pairwise([*outline, outline[0]])):
        (x0, y0), (x1, y1) = sorted(side, key=itemgetter(1))
        run, fall = x1 - x0, 2 * (y1 - y0)
        for y in range(max(y0, 0), y1):
            x = x0 + (2 * (y - y0) + 1) * run // fall
            rows[y] ^= -1 << x if x > 0 else -1
    return rows


def paint(canvas: Image.Image, colour: Colour, percent: int, *outlines: Outline) -> None:
    """Fill the outlines, `percent` opaque. Pillow's own polygons have rough edges and use floats."""
    rows, width, every_bit = cut_out(*outlines), canvas.width * FINE, (1 << canvas.width * FINE) - 1
    top_px, bottom_px = min(rows) // FINE, min(max(rows) // FINE + 1, canvas.height)
    window = [rows.get(y, 0) & every_bit for y in range(top_px * FINE, bottom_px * FINE)]
    packed = b"".join([row.to_bytes(width // 8, "little") for row in window])
    coverage = Image.new("L", (width, len(window)))
    coverage.paste(255 * percent // 100, (0, 0), Image.frombytes("1", coverage.size, packed, "raw", "1;R"))
    canvas.paste(colour, (0, top_px), coverage.reduce(FINE))


def pattern(random: Random, width: int, height: int) -> list[Outline]:
    """Slanted stripes, bubbles, or hills along the lower edge."""
    kind, half, slant = random.randrange(3), random.randrange(24, 56), random.randrange(height) - height // 2
    starts = range(-height // 2, width + height // 2, 2 * half)
    if kind == 0:
        return [[(x, 0), (x + half, 0), (x + half + slant, height), (x + slant, height)] for x in starts]
    places = [(x, random.randrange(height) if kind == 1 else height) for x in starts]
    return [polygon("circle", x, y, random.randrange(half // 2, half * 2)) for x, y in places]


def background(random: Random, width_px: int, height_px: int) -> Image.Image:
    """A gradient from one tone to another, with a faint pattern over it."""
    above, below = SKIES[random.randrange(len(SKIES))]
    canvas = Image.new("RGB", (width_px, height_px), above)
    canvas.paste(below, (0, 0), Image.linear_gradient("L").crop((0, 0, width_px, height_px)))
    paint(canvas, (140, 150, 180), 22, *pattern(random, width_px * FINE, height_px * FINE))
    return canvas


def render(scene: Scene) -> Image.Image:
    """The scene as an image; where it has alpha, nothing is behind the blobs."""
    size_px = scene.entry["width"], scene.entry["height"]
    is_sticker, backdrop = scene.mode == "RGBA", Random(-scene.entry["id"])
    canvas = Image.new("RGBA", size_px) if is_sticker else background(backdrop, *size_px)
    for blob in scene.blobs:
        drop = FINE + blob.radius // 12
        shadow = [[(x + drop // 2, y + drop) for x, y in outline] for outline in blob.outlines()]
        paint(canvas, (0, 0, 0), 28, *shadow)
        paint(canvas, (40, 40, 66), 100, *blob.outlines())
        paint(canvas, blob.colour, 100, *blob.outlines(88))
        paint(canvas, (255, 255, 255), 22, *blob.outlines(55))
    return canvas.convert(scene.mode)


def save(scene: Scene, folder: Path) -> None:
    """Write the image. PNGs only run-length coded (3): a search for matches depends on the processor."""
    path, is_progressive = folder / scene.entry["file_name"], scene.entry["id"] % 8 == 4
    options = {"compress_type": 3} if path.suffix == ".png" else {"quality": 90, "progressive": is_progressive}
    render(scene).save(path, **options)


def annotate(scene: Scene) -> Iterator[dict[str, Any]]:
    """The scene's objects as COCO annotations with keypoints."""
    for number, blob in enumerate(scene.blobs):
        ids = {"id": scene.entry["id"] * 10 + number, "image_id": scene.entry["id"]}
        category_id = CATEGORIES[KINDS.index(blob.kind)]["id"]
        front = [cut_out(*other.outlines()) for other in scene.blobs[number + 1 :]]
        flat = [0] * 12 if blob.is_crowd else extremes(ids["id"], blob.outlines()[0], front)
        pose = {"num_keypoints": sum(v > 0 for v in flat[2::3]), "keypoints": flat}
        region = crowd(blob, scene.entry) if blob.is_crowd else single(blob.outlines()[0])
        yield {**ids, "category_id": category_id, "iscrowd": int(blob.is_crowd), **region, **pose}


def single(outline: Outline) -> dict[str, Any]:
    """The box, the area and the outline, in pixels. Every quotient is by a power of two, and so exact."""
    xs, ys = zip(*outline, strict=True)
    box = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    doubled = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*outline, outline[0]]))
    polygons = [[value / FINE for point in outline for value in point]]
    area = abs(doubled) / (2 * FINE * FINE)
    return {"bbox": [value / FINE for value in box], "area": area, "segmentation": polygons}


def crowd(blob: Blob, entry: dict[str, Any]) -> dict[str, Any]:
    """The box around all shapes, also as COCO's mask: the lengths of runs of 0s, 1s, 0s, … down the columns."""
    xs, ys = zip(*(point for outline in blob.outlines() for point in outline), strict=True)
    x, y, rows, columns = min(xs) // FINE, min(ys) // FINE, entry["height"], entry["width"]
    width, height = -(-max(xs) // FINE) - x, -(-max(ys) // FINE) - y
    counts = [x * rows + y, *[height, rows - height] * width]
    counts[-1] += rows * columns - sum(counts)
    mask = {"size": [rows, columns], "counts": counts}
    return {"bbox": [x, y, width, height], "area": width * height, "segmentation": mask}


def extremes(annotation_id: int, outline: Outline, front: list[dict[int, int]]) -> list[float]:
    """The outermost corners, each as x, y, v: 2 seen, 1 covered by something in front, 0 not annotated."""
    flat: list[float] = []
    for end, (pick, axis) in enumerate(((min, 1), (max, 0), (max, 1), (min, 0))):
        x, y = pick(outline, key=itemgetter(axis))
        is_left_out = (annotation_id * 5 + end) % 13 == 0
        is_covered = any(rows.get(y, 0) >> x & 1 for rows in front)
        flat += [0, 0, 0] if is_left_out else [x / FINE, y / FINE, 1 if is_covered else 2]
    return flat


def draw_split(folder: Path, split: str) -> int:
    """Write the images and the annotation files of one split; gives the number of objects."""
    scenes = [compose(image_id) for image_id in SPLITS[split]]
    (folder / "images" / split).mkdir(parents=True)
    for scene in scenes:
        save(scene, folder / "images" / split)
    images = [scene.entry for scene in scenes]
    posed = [annotation for scene in scenes for annotation in annotate(scene)]
    plain = [{key: value for key, value in one.items() if "keypoints" not in key} for one in posed]
    write_coco(folder / "annotations" / f"instances_{split}.json", images, plain, CATEGORIES)
    write_coco(folder / "annotations" / f"keypoints_{split}.json", images, posed, [c | POSE for c in CATEGORIES])
    return len(posed)


def write_coco(path: Path, images: list[Any], annotations: list[Any], categories: list[Any]) -> None:
    """Write one COCO annotation file."""
    info = {"description": "Synthetic shapes, drawn by demo/draw.py", "version": "1"}
    dataset = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(json.dumps(dataset, separators=(",", ":")).encode() + b"\n")


def draw_dataset(target: Path) -> int:
    """Draw every split beside `target` and rename it into place; gives the number of objects."""
    is_ours = target.is_dir() and {entry.name for entry in target.iterdir()} <= {"images", "annotations"}
    if target.is_symlink() or (target.exists() and not is_ours):
        raise FileExistsError(f"expected an earlier drawing or nothing, but got {target}: move it away first")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".partial", f".{target.name}.", target.parent) as scratch:
        drawing = Path(scratch, "new")
        objects = sum(draw_split(drawing, split) for split in SPLITS)
        if target.exists():
            target.rename(Path(scratch, "old"))
        drawing.rename(target)
    return objects


def main(argv: list[str] | None = None) -> None:
    """Draw into the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Draw the demo's dataset: coloured shapes in COCO form.")
    parser.add_argument("target", type=Path, help="folder to draw into, such as data/raw")
    target = parser.parse_args(argv).target
    try:
        objects = draw_dataset(target)
    except OSError as error:
        sys.exit(f"draw: {error}")
    print(f"drew {sum(map(len, SPLITS.values()))} images with {objects} objects into {target}")


if __name__ == "__main__":
    main()
