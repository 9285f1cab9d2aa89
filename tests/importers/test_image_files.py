import os
from pathlib import Path

import pytest

from tfrec_stage.errors import SourceError
from tfrec_stage.importers.image_files import ImageFolder, find_files


@pytest.mark.parametrize(
    ("images", "root", "name", "filename"),
    [
        ("raw/images/train", "raw/images", "a.jpg", "train/a.jpg"),
        ("raw/images", "raw/images", "train/a.jpg", "train/a.jpg"),
        ("raw/images/train", "raw", "../val/./a.jpg", "images/val/a.jpg"),
        ("raw/../raw/images", "./raw", "ä b.jpg", "images/ä b.jpg"),
    ],
)
def test_names_are_relative_to_the_root(images, root, name, filename):
    """A name in annotations becomes relative to images_root, with forward slashes."""
    assert ImageFolder(Path(images), Path(root)).filename(name) == filename


@pytest.mark.parametrize(
    ("images", "root", "filename"),
    [("raw/images", "raw", "images/a%20b.jpg"), ("raw", "./raw", "a%20b.jpg"), ("raw/../raw/x", "raw", "x/a%20b.jpg")],
)
def test_an_existing_file_is_not_interpreted(images, root, filename):
    """The name of an existing file is not interpreted in another way."""
    folder = ImageFolder(Path(images), Path(root))
    assert folder.filename_of_existing("a%20b.jpg") == filename
    assert not folder.notes.counts


@pytest.mark.parametrize("name", ["../../../a.jpg", "/etc/a.jpg"])
def test_a_name_outside_the_root_is_refused(name):
    """A name that leads out of images_root is an error."""
    with pytest.raises(ValueError, match="leads out of it"):
        ImageFolder(Path("raw/images/train"), Path("raw/images")).filename(name)


def test_an_absolute_name_inside_the_root_is_made_relative(tmp_path):
    """An absolute name inside images_root becomes relative to it."""
    folder = ImageFolder(tmp_path / "train", tmp_path)
    assert folder.filename(str(tmp_path / "val" / "a.jpg")) == "val/a.jpg"


def test_images_outside_of_the_root_are_refused():
    """A folder of images outside images_root is refused."""
    with pytest.raises(SourceError, match="expected `images` inside `images_root`, but got elsewhere and raw"):
        ImageFolder(Path("elsewhere"), Path("raw"))


def test_images_are_found_in_order(draw, tmp_path):
    """Images are found in nested folders by suffix, in upper or lower case, and sorted; other files are skipped."""
    for name in ("b/z.png", "b/a.jpg", "c.JPG", "a/deep/x.webp"):
        draw(name)
    (tmp_path / "b" / "notes.txt").touch()
    assert list(find_files(tmp_path)) == ["c.JPG", "a/deep/x.webp", "b/a.jpg", "b/z.png"]


def test_linked_folders_are_searched(draw, tmp_path):
    """Linked folders are searched."""
    draw("disk/a.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "disk")
    assert list(find_files(tmp_path / "data")) == ["train/a.jpg"]


@pytest.mark.parametrize(
    ("name", "found", "how"),
    [
        (r"sub\a.jpg", "train/sub/a.jpg", "\\ as /"),
        (r"..\val\b.jpg", "val/b.jpg", "\\ as /"),
        ("sub/a%20b.jpg", "train/sub/a b.jpg", "percent-decoded"),
        ("%C3%A4.jpg", "train/ä.jpg", "percent-decoded"),
        (r"sub\a%20b.jpg", "train/sub/a b.jpg", "\\ as /, percent-decoded"),
        ("sub%5Ca.jpg", "train/sub/a.jpg", "percent-decoded, \\ as /"),
        ("/home/x/data/train/sub/a.jpg", "train/sub/a.jpg", "end of an absolute path"),
        (r"C:\data\sub\a.jpg", "train/sub/a.jpg", "\\ as /, end of an absolute path"),
        ("D:/data/c.jpg", "train/c.jpg", "end of an absolute path"),
        (r"\\server\share\c.jpg", "train/c.jpg", "\\ as /, end of an absolute path"),
        ("http://images.example.org/v1/sub/a.jpg?size=full#top", "train/sub/a.jpg", "end of a URL"),
        ("https://example.org/sub/a%20b.jpg", "train/sub/a b.jpg", "end of a URL, percent-decoded"),
        ("file:///C:/data/c.jpg", "train/c.jpg", "end of a URL"),
        ("/home/x/../y/./c.jpg", "train/c.jpg", "end of an absolute path"),
    ],
)
def test_a_name_is_interpreted_if_that_finds_a_file(draw, tmp_path, name, found, how):
    """Names from Windows, URLs and other machines are found under `images` and counted by interpretation."""
    for image in ("train/sub/a.jpg", "train/sub/a b.jpg", "train/ä.jpg", "train/c.jpg", "val/b.jpg"):
        draw(image)
    folder = ImageFolder(tmp_path / "train", tmp_path)
    assert folder.locate(name) == tmp_path / found
    assert folder.filename(name) == found
    assert folder.notes.counts == {f"file names read another way ({how})": 1}


def test_percent_encoding_may_hold_any_bytes(draw, tmp_path):
    """Percent-encoded bytes may be any file name, in UTF-8 or not."""
    name = os.fsdecode(b"\xe4.jpg")
    draw(name)
    assert ImageFolder(tmp_path, tmp_path).filename("%E4.jpg") == name


@pytest.mark.parametrize("name", [r"a\b.jpg", "a%20b.jpg", "%61.jpg"])
def test_the_name_as_written_takes_precedence(draw, tmp_path, name):
    """A file with exactly that name is used, whatever other interpretations there are."""
    for image in ("a/b.jpg", "a b.jpg", "a.jpg", name):
        draw(image)
    folder = ImageFolder(tmp_path, tmp_path)
    assert folder.filename(name) == name
    assert not folder.notes.counts


def test_an_existing_absolute_name_takes_precedence(draw, tmp_path):
    """An absolute name inside images_root that leads to a file means that file, not another with the same end."""
    draw("train/old/a.jpg")
    draw("train/a.jpg")
    folder = ImageFolder(tmp_path / "train", tmp_path)
    assert folder.filename(str(tmp_path / "train" / "old" / "a.jpg")) == "train/old/a.jpg"
    assert folder.filename(str(tmp_path / "train" / "new" / "a.jpg")) == "train/a.jpg"


def test_several_files_are_a_problem(draw, tmp_path):
    """Interpretations that lead to several files are a problem that names them."""
    draw("train/x/a.jpg")
    draw("train/a.jpg")
    with pytest.raises(ValueError, match=r"expected one image file for '/data/x/a.jpg', but got 'train/x/a.jpg', 't"):
        ImageFolder(tmp_path / "train", tmp_path).filename("/data/x/a.jpg")


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        (r"x\a.jpg", "there is no 'x\\\\\\\\a.jpg', and none of 'x/a.jpg' exists in"),
        ("/data/x/a.jpg", "leads out of it, and none of 'data/x/a.jpg', 'x/a.jpg', 'a.jpg' exists in"),
        ("http://e.org/x/a.jpg", "none of 'x/a.jpg', 'a.jpg' exists in"),
        ("/data", "leads out of it, and none of 'data' exists in"),
    ],
)
def test_the_message_names_what_was_tried(draw, tmp_path, name, tried):
    """If no interpretation leads to a file, the message names all of them; a folder is not a file."""
    (tmp_path / "train" / "data").mkdir(parents=True)
    with pytest.raises(ValueError, match=tried):
        ImageFolder(tmp_path / "train", tmp_path).filename(name)


@pytest.mark.parametrize("name", [r"..\..\secret.jpg", "%2e%2e/%2e%2e/secret.jpg", "/x/../../../secret.jpg"])
def test_no_interpretation_leads_out_of_the_root(draw, tmp_path, name):
    """No interpretation leads to a file outside images_root."""
    draw("secret.jpg")
    draw("root/train/a.jpg")
    with pytest.raises(ValueError, match="expected an image"):
        ImageFolder(tmp_path / "root" / "train", tmp_path / "root").filename(name)


@pytest.mark.parametrize("name", ["a.jpg", "sub/a.jpg", "100%.jpg", "a\0b.jpg", "a:b.jpg", ""])
def test_a_missing_file_with_one_interpretation_is_left_to_the_build(tmp_path, name):
    """A missing file whose name has no other interpretation is left for the build to report."""
    folder = ImageFolder(tmp_path / "train", tmp_path)
    assert folder.filename(name) == f"train/{name}".rstrip("/")
    assert not folder.notes.counts
