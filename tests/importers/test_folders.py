from pathlib import Path

import pytest

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.folders import ImageFolder, walk_files


@pytest.mark.parametrize(
    ("images", "root", "name", "filename"),
    [
        ("raw/images/train", "raw/images", "a.jpg", "train/a.jpg"),
        ("raw/images", "raw/images", "train/a.jpg", "train/a.jpg"),
        ("raw/images/train", "raw", "../val/./a.jpg", "images/val/a.jpg"),
        ("raw/../raw/images", "./raw", "ä b.jpg", "images/ä b.jpg"),
    ],
)
def test_names_start_from_the_root(images, root, name, filename):
    """A name of the annotations becomes one that starts from images_root, with forward slashes."""
    assert ImageFolder(Path(images), Path(root)).filename(name) == filename


@pytest.mark.parametrize("name", ["../../../a.jpg", "/etc/a.jpg"])
def test_a_name_out_of_the_root_is_refused(name):
    """A name that leads out of images_root is an error."""
    with pytest.raises(ValueError, match="leads out of it"):
        ImageFolder(Path("raw/images/train"), Path("raw/images")).filename(name)


def test_an_absolute_name_inside_the_root_is_made_relative(tmp_path):
    """Absolute names are accepted as long as they are inside images_root."""
    folder = ImageFolder(tmp_path / "train", tmp_path)
    assert folder.filename(str(tmp_path / "val" / "a.jpg")) == "val/a.jpg"


def test_images_outside_of_the_root_are_refused():
    """The folder of images has to be inside images_root."""
    with pytest.raises(SourceError, match="expected `images` inside `images_root`, but got elsewhere and raw"):
        ImageFolder(Path("elsewhere"), Path("raw"))


def test_images_are_found_in_order(draw, tmp_path):
    """Images are found in nested folders, by suffix in any case, sorted; other files are passed over."""
    for name in ("b/z.png", "b/a.jpg", "c.JPG", "a/deep/x.webp"):
        draw(name)
    (tmp_path / "b" / "notes.txt").touch()
    assert list(walk_files(tmp_path)) == ["c.JPG", "a/deep/x.webp", "b/a.jpg", "b/z.png"]


def test_linked_folders_are_walked(draw, tmp_path):
    """A data set may be linked together from several disks."""
    draw("disk/a.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "disk")
    assert list(walk_files(tmp_path / "data")) == ["train/a.jpg"]
