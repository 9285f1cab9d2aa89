"""The demo's dataset has the same bytes on every machine, and is valid COCO."""

import hashlib
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "demo" / "draw.py"
COUNTS = {"train": 200, "val": 50, "test": 50}
KINDS = ["circle", "square", "triangle", "hexagon", "star", "flower"]

# After an intended change of the drawing, replace it by the digest that the failing test prints.
# Pillow 11, 12 and 13 give this digest, with zlib and zlib-ng. If a later version does not, pin Pillow.
GOLDEN_SHA256 = "b6df8556cd7974eef98a76d973d475a32431ea1b4428653048bf214b183c17b4"


def load_script():
    spec = importlib.util.spec_from_file_location("draw", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw = load_script()


def contents(folder):
    """Return the bytes of every file below a folder by its relative path, with forward slashes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def digest(folder):
    sums = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents(folder).items())
    return hashlib.sha256("".join(sums).encode()).hexdigest()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    target = tmp_path_factory.mktemp("demo") / "data" / "raw"
    draw.main([str(target)])
    return target


@pytest.fixture(params=COUNTS)
def split(request):
    return request.param


def coco(raw, kind, split):
    """Read an annotation file; it must have images, crowds and single objects, so that no loop over them is empty."""
    file = json.loads((raw / "annotations" / f"{kind}_{split}.json").read_bytes())
    assert file["images"]
    assert any(annotation["iscrowd"] for annotation in file["annotations"])
    assert not all(annotation["iscrowd"] for annotation in file["annotations"])
    return file


def triples(annotation):
    flat = annotation["keypoints"]
    return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))


class TestBytes:
    def test_a_second_drawing_is_the_same(self, raw, tmp_path):
        """Two runs in two folders give the same files with the same bytes."""
        draw.draw_dataset(tmp_path / "again")
        assert contents(tmp_path / "again") == contents(raw)

    def test_every_machine_draws_the_same(self, raw):
        """The drawing has the digest of its last intended change."""
        assert digest(raw) == GOLDEN_SHA256

    def test_no_image_carries_metadata(self, raw):
        """No image has EXIF data, text or a time."""
        coding = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression"}
        paths = list(raw.glob("images/*/*"))
        assert len(paths) == sum(COUNTS.values())
        for path in paths:
            with Image.open(path) as image:
                assert image.info.keys() <= coding

    def test_the_set_is_small(self, raw):
        """All files together have at most 4 MB."""
        assert sum(map(len, contents(raw).values())) <= 4_000_000


class TestImages:
    def test_each_split_has_its_images(self, raw, split):
        """A split has the documented number of images, and its annotations list exactly these."""
        names = {path.name for path in (raw / "images" / split).iterdir()}
        listed = [image["file_name"] for image in coco(raw, "instances", split)["images"]]
        assert len(listed) == COUNTS[split]
        assert set(listed) == names

    def test_each_split_mixes_formats_and_modes(self, raw, split):
        """Each split has colour and grayscale images in both formats, and PNGs with alpha."""
        kinds = Counter()
        for path in (raw / "images" / split).iterdir():
            with Image.open(path) as image:
                kinds[image.format, image.mode] += 1
        assert set(kinds) == {("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA")}

    def test_images_are_as_large_as_annotated(self, raw, split):
        """Width and height in the annotation file are those of the image: 96 to 256 pixels."""
        for entry in coco(raw, "instances", split)["images"]:
            with Image.open(raw / "images" / split / entry["file_name"]) as image:
                assert image.size == (entry["width"], entry["height"])
                assert 96 <= min(image.size) <= max(image.size) <= 256

    def test_some_alpha_is_transparent(self, raw):
        """An image with alpha has opaque and transparent pixels."""
        with Image.open(raw / "images" / "train" / "001019.png") as image:
            assert image.getchannel("A").getextrema() == (0, 255)


class TestAnnotations:
    def test_ids_are_unique(self, raw):
        """No two images and no two annotations share an id, in any split."""
        files = [coco(raw, "instances", split) for split in COUNTS]
        for table in ("images", "annotations"):
            ids = [entry["id"] for file in files for entry in file[table]]
            assert len(ids) == len(set(ids))

    def test_objects_per_image(self, raw, split):
        """An image has up to four objects, some have none, and some have a crowd."""
        file = coco(raw, "instances", split)
        counts = Counter(annotation["image_id"] for annotation in file["annotations"])
        per_image = [counts[image["id"]] for image in file["images"]]
        assert sum(per_image) == len(file["annotations"])
        assert set(per_image) == {0, 1, 2, 3, 4}
        assert 1 <= sum(annotation["iscrowd"] for annotation in file["annotations"]) <= 10

    def test_every_class_occurs(self, raw, split):
        """The categories have ids with gaps, and each class occurs in each split."""
        file = coco(raw, "instances", split)
        names = {category["id"]: category["name"] for category in file["categories"]}
        assert names == dict(zip((1, 3, 5, 7, 9, 11), KINDS, strict=True))
        assert {annotation["category_id"] for annotation in file["annotations"]} == set(names)

    def test_boxes_lie_inside(self, raw, split):
        """A box is inside its image, and the area is positive and no larger than the box."""
        file = coco(raw, "instances", split)
        sizes = {image["id"]: (image["width"], image["height"]) for image in file["images"]}
        for annotation in file["annotations"]:
            x, y, width, height = annotation["bbox"]
            right, bottom = sizes[annotation["image_id"]]
            assert 0 <= x < x + width <= right
            assert 0 <= y < y + height <= bottom
            assert 0 < annotation["area"] <= width * height

    def test_polygons_fill_their_boxes(self, raw, split):
        """The polygon of a single object spans exactly its box."""
        for annotation in coco(raw, "instances", split)["annotations"]:
            if not annotation["iscrowd"]:
                (flat,) = annotation["segmentation"]
                xs, ys = flat[::2], flat[1::2]
                assert annotation["bbox"] == [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]

    def test_crowd_masks_fill_their_images(self, raw, split):
        """The run lengths of a crowd cover the image once, and their 1s cover its box."""
        file = coco(raw, "instances", split)
        sizes = {image["id"]: [image["height"], image["width"]] for image in file["images"]}
        for annotation in file["annotations"]:
            if annotation["iscrowd"]:
                mask = annotation["segmentation"]
                rows, columns = mask["size"]
                assert mask["size"] == sizes[annotation["image_id"]]
                assert min(mask["counts"]) >= 0
                assert sum(mask["counts"]) == rows * columns
                assert sum(mask["counts"][1::2]) == annotation["area"]
                x, y, _, _ = annotation["bbox"]
                assert mask["counts"][0] == x * rows + y

    def test_blobs_are_where_the_boxes_are(self, raw):
        """Opaque pixels of an image with alpha are inside the boxes, or in the shadow beside them."""
        image_id, shadow_px = 1119, 10
        boxes = [one["bbox"] for one in coco(raw, "instances", "train")["annotations"] if one["image_id"] == image_id]
        with Image.open(raw / "images" / "train" / f"{image_id:06d}.png") as image:
            left, top, right, bottom = image.getchannel("A").getbbox()
        assert abs(left - min(box[0] for box in boxes)) < 1
        assert abs(top - min(box[1] for box in boxes)) < 1
        assert 0 <= right - max(box[0] + box[2] for box in boxes) < shadow_px
        assert 0 <= bottom - max(box[1] + box[3] for box in boxes) < shadow_px


class TestKeypoints:
    def test_the_same_objects_with_keypoints(self, raw, split):
        """The keypoints file repeats the instances file, and adds the keypoints and their names."""
        plain, posed = coco(raw, "instances", split), coco(raw, "keypoints", split)
        assert posed["images"] == plain["images"]
        for bare, full in zip(plain["annotations"], posed["annotations"], strict=True):
            assert full == bare | {key: full[key] for key in ("num_keypoints", "keypoints")}
        for category in posed["categories"]:
            assert category["keypoints"] == ["top", "right", "bottom", "left"]
            assert category["skeleton"] == [[1, 2], [2, 3], [3, 4], [4, 1]]

    def test_keypoints_are_the_ends_of_the_object(self, raw, split):
        """An annotated keypoint is on its side of the box; others, and all keypoints of a crowd, are three zeros."""
        for annotation in coco(raw, "keypoints", split)["annotations"]:
            x, y, width, height = annotation["bbox"]
            ends = {0: (1, y), 1: (0, x + width), 2: (1, y + height), 3: (0, x)}
            for number, point in enumerate(triples(annotation)):
                axis, side = ends[number]
                assert point == (0, 0, 0) if point[2] == 0 else point[axis] == side
            labelled = sum(v > 0 for _, _, v in triples(annotation))
            assert annotation["num_keypoints"] == labelled <= 4 * (1 - annotation["iscrowd"])

    def test_every_visibility_occurs(self, raw, split):
        """Keypoints are visible, occluded or not annotated; most are visible."""
        counts = Counter(v for one in coco(raw, "keypoints", split)["annotations"] for _, _, v in triples(one))
        assert set(counts) == {0, 1, 2}
        assert counts[2] > counts[0] + counts[1]


class TestTarget:
    def test_an_earlier_drawing_is_replaced(self, tmp_path, monkeypatch):
        """Files of an earlier drawing are removed, and nothing is left beside the target."""
        monkeypatch.setattr(draw, "SPLITS", {"val": range(2000, 2002)})
        stale = tmp_path / "raw" / "images" / "stale.jpg"
        stale.parent.mkdir(parents=True)
        stale.touch()
        draw.draw_dataset(tmp_path / "raw")
        assert [path.name for path in tmp_path.iterdir()] == ["raw"]
        assert [name for name in contents(tmp_path / "raw") if "images" in name] == [
            "images/val/002000.jpg",
            "images/val/002001.jpg",
        ]

    def test_another_folder_is_refused(self, tmp_path):
        """A folder with any other content is unchanged, and the message names it."""
        (tmp_path / "thesis.tex").write_text("x")
        with pytest.raises(SystemExit, match=re.escape(f"but got {tmp_path}")):
            draw.main([str(tmp_path)])
        assert contents(tmp_path) == {"thesis.tex": b"x"}

    def test_a_file_is_refused(self, tmp_path):
        """A target that is a file is refused and unchanged."""
        target = tmp_path / "raw"
        target.write_text("x")
        with pytest.raises(FileExistsError, match=re.escape(f"but got {tmp_path}")):
            draw.draw_dataset(target)
        assert target.read_text() == "x"

    def test_a_link_is_refused(self, tmp_path):
        """A target that is a symbolic link is refused, even if it leads to an empty folder."""
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "raw").symlink_to("elsewhere")
        with pytest.raises(FileExistsError, match=re.escape(f"but got {tmp_path}")):
            draw.draw_dataset(tmp_path / "raw")
        assert (tmp_path / "raw").is_symlink()

    def test_an_interrupted_drawing_leaves_nothing(self, tmp_path, monkeypatch):
        """After Ctrl-C the target is unchanged, and nothing is left beside it."""
        (tmp_path / "raw" / "images").mkdir(parents=True)
        (tmp_path / "raw" / "images" / "kept.jpg").touch()

        def interrupt(scene):
            raise KeyboardInterrupt

        monkeypatch.setattr(draw, "render", interrupt)
        with pytest.raises(KeyboardInterrupt):
            draw.draw_dataset(tmp_path / "raw")
        assert contents(tmp_path) == {"raw/images/kept.jpg": b""}

    def test_one_line_reports_the_drawing(self, tmp_path, monkeypatch, capsys):
        """The script prints the numbers of images and objects, and the folder."""
        monkeypatch.setattr(draw, "SPLITS", {"val": range(2000, 2001), "test": range(3000, 3001)})
        draw.main([str(tmp_path / "raw")])
        objects = sum(len(draw.compose(image_id).blobs) for image_id in (2000, 3000))
        assert capsys.readouterr().out == f"drew 2 images with {objects} objects into {tmp_path / 'raw'}\n"
