"""Names for the numbers in shards."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import MakeDataset
from tests.exporters.splits import box, build_split
from tfrec_stage import create
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.exporters.class_names import complete_labels, count_classes, learn_class_texts
from tfrec_stage.exporters.dataset import FinishedDataset
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.shards.index import ClassCount
from tfrec_stage.shards.statistics import Statistics


def names(dataset: FinishedDataset) -> list[str]:
    """Names of all classes; their numbers are their places."""
    labels = complete_labels(dataset)
    assert [label.label for label in labels] == list(range(len(labels)))
    return [label.text for label in labels]


def test_given_labels_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that name every number used are given back, keypoints included, without reading a record."""
    labels = (Label(0, "cat", 17, ("nose", "tail")), Label(1, "dog", 18), Label(2, "owl"))
    dataset = build_split(tmp_path, [box(1, "hound")]).finished(labels)
    monkeypatch.setattr(FinishedDataset, "records", lambda _: pytest.fail("a record was read"))
    assert complete_labels(dataset) == labels


def test_names_are_learnt_from_boxes_and_images(tmp_path: Path) -> None:
    """Without labels the texts of boxes and images tell the names; gaps and numbers without text get the number."""
    dataset = build_split(tmp_path, [box(0, "cat"), box(4), {"class": {"label": 2, "text": "owl"}}]).finished()
    assert names(dataset) == ["cat", "1", "owl", "3", "4"]


def test_the_most_frequent_text_wins(tmp_path: Path) -> None:
    """Of several texts of one number the most frequent is its name, of two as frequent the first by alphabet."""
    dataset = build_split(
        tmp_path, [box(0, "b"), box(0, "a"), box(0, "b"), box(1, "d"), box(1, "c"), box(0, "")]
    ).finished()
    assert names(dataset) == ["b", "c"]


def test_labels_are_completed(tmp_path: Path) -> None:
    """A number beyond the given labels is learnt from the records; what is given is not overruled."""
    dataset = build_split(tmp_path, [box(0, "tiger"), box(1, "dog")]).finished((Label(0, "cat"),))
    assert names(dataset) == ["cat", "dog"]


def test_no_two_classes_share_a_name(tmp_path: Path) -> None:
    """The later of two classes with one name is told apart by its number, whatever other names there are."""
    dataset = build_split(tmp_path, [box(3, "cat")]).finished(
        (Label(0, "cat (3)"), Label(1, "cat"), Label(2, "cat (1)"))
    )
    assert names(dataset) == ["cat (3)", "cat", "cat (1)", "cat (3) (3)"]


def test_without_numbers_there_are_no_classes(tmp_path: Path) -> None:
    """Images without class and boxes without label have no classes."""
    assert names(build_split(tmp_path, [{}, box()]).finished()) == []


def test_create_takes_names(tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """`labels` of `create` are the names by their numbers, and reach what hands over."""
    seen: list[FinishedDataset] = []
    monkeypatch.setattr("tfrec_stage.build.build.write_exports", lambda dataset, _: seen.append(dataset))
    create(make_dataset(3), "train", tmp_path / "out", 1, 1, labels=["cat", "dog", "owl"])
    assert seen[0].labels == (Label(0, "cat"), Label(1, "dog"), Label(2, "owl"))


@pytest.mark.parametrize("labels", ["cat", ["cat", "cat"], ["cat", 1], [""], [Label(0, "cat")]])
def test_labels_are_names(tmp_path: Path, make_dataset: MakeDataset, labels: object) -> None:
    """A name alone, a name twice, an empty one and what is no name are told, and nothing is written."""
    with pytest.raises(ConfigError, match=r"^labels: expected a list of names, each once, but got "):
        create(make_dataset(1), "train", tmp_path / "out", 1, 1, labels=labels)
    assert not (tmp_path / "out").exists()


def test_counted_classes_have_the_names_of_the_manifest() -> None:
    """What the manifest says most often beside a number is its name, boxes before images; shards are not read."""
    records = [
        {
            "filename": "0",
            "id": 0,
            "class": {"label": 3, "text": "ow"},
            "object": {"bbox": {"label": [3], "text": ["owl"]}},
        },
        {
            "filename": "1",
            "id": 1,
            "class": {"label": 3, "text": "ow"},
            "object": {"bbox": {"label": [5, 6], "text": []}},
        },
        {"filename": "2", "id": 2, "class": {"label": 0, "text": "kitten"}},
    ]
    statistics = Statistics(class_images=Counter({3: 2, 0: 1, 5: 1, 6: 1}), object_labels=Counter({3: 1, 5: 1, 6: 1}))
    labels = (Label(0, "cat"), Label(6, "cat"))
    texts = learn_class_texts(statistics, labels, RecordList(records), {})
    assert texts == {3: "owl", 5: "5"}
    assert count_classes(statistics, labels, texts) == (
        ClassCount(0, "cat", 1, 0),
        ClassCount(3, "owl", 2, 1),
        ClassCount(5, "5", 1, 1),
        ClassCount(6, "cat (6)", 1, 1),  # names tell classes apart in a plot
    )


def test_the_manifest_is_not_read_where_every_class_is_given() -> None:
    """Labels that name every number used are enough."""
    statistics = Statistics(class_images=Counter({0: 1}))
    assert learn_class_texts(statistics, (Label(0, "cat"),), None, {}) == {}
    assert count_classes(statistics, (Label(0, "cat"),), {}) == (ClassCount(0, "cat", 1, 0),)


def test_the_manifest_is_not_read_for_names_that_are_known() -> None:
    """An earlier build learnt them from the same manifest; it is read where one is missing, and others are dropped."""
    statistics = Statistics(class_images=Counter({0: 1, 3: 1}))
    assert learn_class_texts(statistics, (), None, {0: "cat", 3: "owl", 7: "fox"}) == {0: "cat", 3: "owl"}
    records = RecordList([{"filename": "0", "id": 0, "class": {"label": 3, "text": "ow"}}])
    assert learn_class_texts(statistics, (), records, {0: "cat"}) == {0: "0", 3: "ow"}


def test_a_text_that_is_not_utf8_names_no_class(tmp_path: Path, make_dataset: MakeDataset) -> None:
    """Its record fails, and the class is called as the others of it are, in the store as well."""
    dataset = make_dataset(6)
    for record in dataset[1:]:
        record["class"] = {"label": 1, "text": "\udce9"}
    dataset[0]["class"] = {"label": 1}
    failed = create(dataset, "train", tmp_path / "out", 1, 1, store_dir=tmp_path / "store")
    assert len(failed) == 5
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert [(each["label"], each["name"]) for each in classes if each["images"]] == [(0, "0"), (1, "1")]
