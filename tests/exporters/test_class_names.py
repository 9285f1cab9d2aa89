"""Names of classes, from labels and from the texts in records."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import MakeDataset
from tests.exporters.splits import box, build_split
from tfrec_stage import create
from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.exporters.class_names import complete_labels, count_classes, learn_class_texts
from tfrec_stage.manifest.record_list import RecordList
from tfrec_stage.shards.metadata_files import ClassCount
from tfrec_stage.shards.statistics import Statistics


def names(dataset: FinishedDataset) -> list[str]:
    """Names of all classes, in the order of their numbers, which have no gaps."""
    labels = complete_labels(dataset)
    assert [label.label for label in labels] == list(range(len(labels)))
    return [label.text for label in labels]


def test_complete_labels_are_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that name every used number are returned unchanged, keypoints included, and no record is read."""
    labels = (Label(0, "cat", 17, ("nose", "tail")), Label(1, "dog", 18), Label(2, "owl"))
    dataset = build_split(tmp_path, [box(1, "hound")]).finished(labels)
    monkeypatch.setattr(FinishedDataset, "records", lambda _: pytest.fail("a record was read"))
    assert complete_labels(dataset) == labels


def test_names_come_from_boxes_and_images(tmp_path: Path) -> None:
    """Without labels, texts of boxes and images are the names; gaps and numbers without a text get the number."""
    dataset = build_split(tmp_path, [box(0, "cat"), box(4), {"class": {"label": 2, "text": "owl"}}]).finished()
    assert names(dataset) == ["cat", "1", "owl", "3", "4"]


def test_the_most_frequent_text_wins(tmp_path: Path) -> None:
    """The most frequent text beside a number is its name; of equally frequent ones, the first by alphabet."""
    dataset = build_split(
        tmp_path, [box(0, "b"), box(0, "a"), box(0, "b"), box(1, "d"), box(1, "c"), box(0, "")]
    ).finished()
    assert names(dataset) == ["b", "c"]


def test_labels_are_completed(tmp_path: Path) -> None:
    """A number without a label gets its name from the records; a given label keeps its name."""
    dataset = build_split(tmp_path, [box(0, "tiger"), box(1, "dog")]).finished((Label(0, "cat"),))
    assert names(dataset) == ["cat", "dog"]


def test_no_two_classes_share_a_name(tmp_path: Path) -> None:
    """The later of two classes with one name gets its number added, until the name is unique."""
    dataset = build_split(tmp_path, [box(3, "cat")]).finished(
        (Label(0, "cat (3)"), Label(1, "cat"), Label(2, "cat (1)"))
    )
    assert names(dataset) == ["cat (3)", "cat", "cat (1)", "cat (3) (3)"]


def test_without_numbers_there_are_no_classes(tmp_path: Path) -> None:
    """Images without a class and boxes without a label give no classes."""
    assert names(build_split(tmp_path, [{}, box()]).finished()) == []


def test_create_takes_names(tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporters get the `labels` of `create` as classes, numbered from 0."""
    seen: list[FinishedDataset] = []
    monkeypatch.setattr("tfrec_stage.build.build.write_exports", lambda dataset, _: seen.append(dataset))
    create(make_dataset(3), "train", tmp_path / "out", 1, 1, labels=["cat", "dog", "owl"])
    assert seen[0].labels == (Label(0, "cat"), Label(1, "dog"), Label(2, "owl"))


@pytest.mark.parametrize("labels", ["cat", ["cat", "cat"], ["cat", 1], [""], [Label(0, "cat")]])
def test_labels_are_names(tmp_path: Path, make_dataset: MakeDataset, labels: object) -> None:
    """A single name, a repeated or empty name, or another type is a ConfigError, and nothing is written."""
    with pytest.raises(ConfigError, match=r"^labels: expected a list of names, each once, but got "):
        create(make_dataset(1), "train", tmp_path / "out", 1, 1, labels=labels)
    assert not (tmp_path / "out").exists()


def test_counted_classes_have_the_names_of_the_manifest() -> None:
    """The most frequent text in the manifest is the name, boxes before images; no shard is read."""
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
        ClassCount(6, "cat (6)", 1, 1),  # unique, since plots identify classes by name
    )


def test_the_manifest_is_not_read_if_every_class_is_given() -> None:
    """If labels name every used number, the manifest is not read."""
    statistics = Statistics(class_images=Counter({0: 1}))
    assert learn_class_texts(statistics, (Label(0, "cat"),), None, {}) == {}
    assert count_classes(statistics, (Label(0, "cat"),), {}) == (ClassCount(0, "cat", 1, 0),)


def test_the_manifest_is_not_read_for_known_names() -> None:
    """Names of an earlier build are used again and unused ones dropped; the manifest is read if one is missing."""
    statistics = Statistics(class_images=Counter({0: 1, 3: 1}))
    assert learn_class_texts(statistics, (), None, {0: "cat", 3: "owl", 7: "fox"}) == {0: "cat", 3: "owl"}
    records = RecordList([{"filename": "0", "id": 0, "class": {"label": 3, "text": "ow"}}])
    assert learn_class_texts(statistics, (), records, {0: "cat"}) == {0: "0", 3: "ow"}


def test_a_text_that_is_not_utf8_is_not_a_name(tmp_path: Path, make_dataset: MakeDataset) -> None:
    """A text that is not UTF-8 makes its record fail, and is never the name of a class, with a store either."""
    dataset = make_dataset(6)
    for record in dataset[1:]:
        record["class"] = {"label": 1, "text": "\udce9"}
    dataset[0]["class"] = {"label": 1}
    failed = create(dataset, "train", tmp_path / "out", 1, 1, store_dir=tmp_path / "store")
    assert len(failed) == 5
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert [(each["label"], each["name"]) for each in classes if each["images"]] == [(0, "0"), (1, "1")]
