"""Where class names are found when data.yaml has none."""

import pytest

from tfrec_stage.errors import SourceError
from tfrec_stage.importers import yolo


@pytest.fixture
def read_names(draw, tmp_path, monkeypatch):
    """Write a data set with label files in set/labels/train; return its class names and notes."""

    def read(files, *annotations, **options):
        monkeypatch.chdir(tmp_path)
        draw("set/images/train/a.png")
        for name, content in {"set/labels/train/a.txt": "0 0.5 0.5 0.5 0.5", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else content.encode(errors="surrogateescape")
            (tmp_path / name).write_bytes(data)
        images = tmp_path / "set" / "images" / "train"
        paths = [(tmp_path / name).relative_to(tmp_path) for name in annotations]
        dataset = yolo.read(tuple(paths), images.relative_to(tmp_path), tmp_path, **options)
        assert [type(each).__name__ for each in dataset.records] == ["ImageRecord"]
        return [label.text for label in dataset.labels], dataset.notes

    return read


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"set/labels/train/classes.txt": "cat\ndog\n"}, "set/labels/train/classes.txt"),  # LabelImg
        ({"set/labels/classes.txt": "\ufeffcat\r\ndog\r\n\r\n"}, "set/labels/classes.txt"),
        ({"set/classes.txt": "cat\ndog"}, "set/classes.txt"),  # Label Studio
        ({"set/classes.txt": "cat\r\ndog\r\n".encode("utf-16")}, "set/classes.txt"),  # Windows
        ({"set/obj.names": "cat\ndog\n"}, "set/obj.names"),  # CVAT, darknet
        ({"set/obj.data": "classes = 2\nnames = set/kinds.list\n", "set/kinds.list": "cat\ndog"}, "set/kinds.list"),
        ({"set/obj.data": "names = set\\kinds.list".encode("utf-16"), "set/kinds.list": "cat\ndog"}, "set/kinds.list"),
        ({"set/obj.data": "names=data/kinds.list", "set/kinds.list": "cat\ndog"}, "set/kinds.list"),  # moved
        # A list that continues another, as LabelImg leaves behind
        ({"set/classes.txt": "cat", "set/labels/train/classes.txt": "cat\ndog"}, "set/labels/train/classes.txt"),
        ({"set/classes.txt": "cat\ndog", "set/other.data": "names = nowhere.names"}, "set/classes.txt"),
    ],
)
def test_a_list_near_the_label_files_has_the_class_names(read_names, files, place):
    """classes.txt, *.names and the list that a *.data names are found up to two folders above the label files."""
    names, notes = read_names(files)
    assert names == ["cat", "dog"]
    assert notes.counts == {f"classes, as {place} names them": 2}


def test_three_folders_above_is_not_searched(read_names, tmp_path):
    """A list three folders above the label files is not used."""
    with pytest.raises(
        SourceError, match=r"or in classes\.txt or \*\.names beside the label files or .*, but got none"
    ):
        read_names({"classes.txt": "cat"})


@pytest.mark.parametrize("name", ["elsewhere/classes.txt", "elsewhere/my.names", "elsewhere/my.data"])
def test_a_list_can_be_named(read_names, name):
    """A list in `annotations` takes precedence over one beside the label files."""
    files = {name: "names = elsewhere/real.names" if name.endswith("data") else "cat\ndog"}
    files |= {"elsewhere/real.names": "cat\ndog", "set/classes.txt": "bird"}
    assert read_names(files, name)[0] == ["cat", "dog"]


def test_data_yaml_and_the_option_take_precedence(read_names):
    """Lists are only searched if neither data.yaml nor the option has names."""
    files = {"set/classes.txt": "bird", "set/data.yaml": "names: [cat]", "set/nc.yaml": "nc: 1"}
    names, notes = read_names(files, "set/data.yaml")
    assert (names, notes.counts) == (["cat"], {})
    assert read_names(files, names=["dog"])[0] == ["dog"]
    assert read_names(files, "set/nc.yaml")[0] == ["bird"]


def test_a_missing_data_yaml_is_warned_of(read_names):
    """A missing data.yaml is a warning if another list has the class names."""
    names, notes = read_names({"set/classes.txt": "cat"}, "set/data.yaml")
    assert names == ["cat"]
    assert notes.warnings == ["there is no set/data.yaml; class names are taken from elsewhere"]


def test_lists_that_disagree_are_refused(read_names):
    """Lists that disagree are refused by a message that names both and what to do."""
    message = (
        "expected one list of class names, but set/classes.txt has 'cat', 'dog' and set/obj.names has 'dog'; "
        "name the right one in `importer.annotations`, or give `importer.options.names`"
    )
    with pytest.raises(SourceError, match=f"^{message}$"):
        read_names({"set/classes.txt": "cat\ndog", "set/obj.names": "dog"})


@pytest.mark.parametrize(
    ("files", "annotations", "message"),
    [
        ({"set/classes.txt": "cat\n\ndog"}, [], r"^set/classes\.txt:2: expected a class name in each line, but got an"),
        ({"set/classes.txt": "c\udcfft"}, [], r"^set/classes\.txt: expected class names, one per line, but: 'utf-8'"),
        ({"set/classes.txt": ""}, [], "but got none$"),
        ({"set/a.yaml": "names: [cat\n"}, ["set/a.yaml"], r"^set/a\.yaml: expected data.yaml with `names`, but: .*$"),
        ({}, ["no.names"], r"^no\.names: expected class names, one per line, but: .*No such file"),
        ({}, ["no.data"], r"^no\.data: expected a file with a line `names = FILE`, but there is none$"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(read_names, files, annotations, message):
    """A list that cannot be read is an error, not a problem of one image."""
    with pytest.raises(SourceError, match=message):
        read_names(files, *annotations)
