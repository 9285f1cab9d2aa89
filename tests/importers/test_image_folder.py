import re
from types import GeneratorType

import pytest

from tfrec_stage.errors import SourceError
from tfrec_stage.importers import find_importer, image_folder
from tfrec_stage.records import ImageClass


@pytest.fixture
def birds(draw, tmp_path):
    for name in ("finch/b.png", "finch/a.jpg", "owls/snowy/a.png", "owls/barn/a.png"):
        draw(f"train/{name}")
    return tmp_path / "train"


def test_a_folder_is_a_class(birds, tmp_path, sort_out):
    """Each folder with images is a class; nested ones are named by their path."""
    dataset = image_folder.read((), birds, tmp_path)
    records, problems = sort_out(dataset.records)
    assert [label.text for label in dataset.labels] == ["finch", "owls/barn", "owls/snowy"]
    assert [(each.filename, each.id, each.class_) for each in records] == [
        ("train/finch/a.jpg", "finch/a.jpg", ImageClass(label=0, text="finch")),
        ("train/finch/b.png", "finch/b.png", ImageClass(label=0, text="finch")),
        ("train/owls/barn/a.png", "owls/barn/a.png", ImageClass(label=1, text="owls/barn")),
        ("train/owls/snowy/a.png", "owls/snowy/a.png", ImageClass(label=2, text="owls/snowy")),
    ]
    assert not problems


def test_stated_names_decide_the_numbers(birds, tmp_path, sort_out):
    """Classes in `names` are numbered in that order, and images in any other folder are problems."""
    dataset = image_folder.read((), birds, tmp_path, names=["owls/barn", "finch"])
    records, problems = sort_out(dataset.records)
    assert [each.class_.label for each in records] == [1, 1, 0]
    assert [str(each) for each in problems] == [
        f"{birds}/owls/snowy/a.png: expected a folder named after one of 'owls/barn', 'finch', but got 'owls/snowy'"
    ]


def test_an_image_without_a_class_is_a_problem(birds, draw, tmp_path, sort_out):
    """An image directly in the top folder is a problem, as it has no class."""
    draw("train/stray.png")
    records, problems = sort_out(image_folder.read((), birds, tmp_path).records)
    assert len(records) == 4
    assert [str(each) for each in problems] == [
        f"{birds}/stray.png: expected an image in the folder of its class, which is one of 'finch', 'owls/barn', "
        f"'owls/snowy', but it lies directly in {birds}; move it into one of them"
    ]


@pytest.mark.parametrize("names", [None, ["finch"]])
def test_images_without_any_class_folder_are_refused_once(draw, tmp_path, names):
    """A folder with only images is refused by one error that shows the expected layout."""
    for name in "abc":
        draw(f"train/{name}.png")
    top = tmp_path / "train"
    message = (
        f"{top}: expected a folder for each class in it, such as {top}/cat/a.png, but all 3 images lie directly in it; "
        "move each into a folder named after its class, or name the folder above in `importer.images` if 'train' is a "
        "class itself"
    )
    with pytest.raises(SourceError, match=f"^{re.escape(message)}$"):
        image_folder.read((), top, tmp_path, names=names)


@pytest.mark.parametrize("names", [None, ["finch"]])
def test_a_folder_without_images_is_refused(tmp_path, names):
    """A folder without images is refused."""
    (tmp_path / "train" / "finch").mkdir(parents=True)
    top = tmp_path / "train"
    message = f"{top}: expected a folder for each class in it, such as {top}/cat, with images, but got no image"
    with pytest.raises(SourceError, match=f"^{re.escape(message)}$"):
        image_folder.read((), top, tmp_path, names=names)


def test_a_class_that_is_not_utf8_is_a_problem(birds, draw, tmp_path, sort_out):
    """An image in a folder whose name is not UTF-8 is a problem; other images become records."""
    draw("train/b\udcff/a.png")
    dataset = image_folder.read((), birds, tmp_path)
    records, problems = sort_out(dataset.records)
    assert (len(dataset.labels), len(records), len(problems)) == (3, 4, 1)
    assert str(problems[0]).encode()


def test_top_folders_can_be_named(birds, tmp_path, sort_out):
    """`annotations` may name the folders that the class folders are in."""
    records, _ = sort_out(image_folder.read((birds / "owls",), birds, tmp_path).records)
    assert [(each.filename, each.class_.text) for each in records] == [
        ("train/owls/barn/a.png", "barn"),
        ("train/owls/snowy/a.png", "snowy"),
    ]


def test_a_relative_folder_gives_the_same_names(birds, tmp_path, monkeypatch, sort_out):
    """A relative folder gives the same file names as an absolute one."""
    monkeypatch.chdir(tmp_path)
    relative = image_folder.read((), birds.relative_to(tmp_path), tmp_path)
    assert sort_out(relative.records) == sort_out(image_folder.read((), birds, tmp_path).records)


def test_records_are_pinned_and_streamed(birds, tmp_path):
    """Sizes and hashes are read when records are requested."""
    records = find_importer("image_folder")((), birds, tmp_path).records
    assert isinstance(records, GeneratorType)
    first = next(records)
    assert (first.width, first.height, len(first.sha256)) == (20, 10, 64)


def test_a_missing_folder_is_refused(tmp_path):
    """A missing folder is an error that names it."""
    with pytest.raises(SourceError, match="nowhere: expected a folder, but: No such file or directory"):
        image_folder.read((), tmp_path / "nowhere", tmp_path)
