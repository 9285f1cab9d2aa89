"""Names for the numbers in shards: those of `labels.json`, and what the records themselves say about the others."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.exporters.dataset import FinishedDataset
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.records import InvalidRecord
from tfrec_stage.shards.index import ClassCount
from tfrec_stage.shards.statistics import Statistics
from tfrec_stage.text_files import is_utf8

LARGEST: Final = 999_999
"""Consumers list all classes from 0 on; a label beyond this one is no number of a class, and listing takes forever."""

_CLASSES: Final = (
    ("image/class/label", "image/class/text"),
    ("image/object/bbox/label", "image/object/bbox/text"),
)


def complete_labels(dataset: FinishedDataset) -> tuple[Label, ...]:
    """Every class from number 0 to the largest one given or used, without gaps, each with a name of its own.

    A number that `dataset.labels` has no name for gets the text that stands beside it in the records most often, else
    the number itself. Of two classes with one name the later is told apart by its number: `cat (3)`. Records are read
    only if they use a number that `dataset.labels` has no name for. Without any number there are no classes.

    Raises:
        ConfigError: a label is larger than `LARGEST`.
        ShardError: a shard cannot be read.
    """
    given = {label.label: label for label in dataset.labels if label.text}
    used = dataset.statistics.image_labels.keys() | dataset.statistics.object_labels.keys()
    largest = max(used | given.keys(), default=-1)
    if largest > LARGEST:
        raise ConfigError(
            f"encode.profiles: expected labels up to {LARGEST:,}, as all classes are listed, but got {largest}; "
            "number the classes from 0, without gaps"
        )
    texts = _merge_texts(_texts_in_shards(dataset)) if used - given.keys() else {}
    return _told_apart(
        [given.get(number) or Label(number, _most_frequent(texts, number)) for number in range(largest + 1)]
    )


def learn_class_texts(
    statistics: Statistics, labels: Iterable[Label], source: RecordSource, known: Mapping[int, str]
) -> dict[int, str]:
    """Names of the classes that are used and that no label names, by number.

    They are those that `complete_labels` gives, except that they are learnt from the manifest and not from shards: it
    is much smaller.

    Args:
        statistics: counts over all shards.
        labels: the classes that are given.
        source: the manifest; it is read only if a number is used that has no name yet.
        known: names that an earlier build learnt from the same manifest.

    Raises:
        ManifestError: the manifest cannot be read any more.
    """
    unnamed = statistics.class_images.keys() - {label.label for label in labels if label.text}
    if unnamed <= known.keys():
        return {number: known[number] for number in sorted(unnamed)}
    texts = _merge_texts(_texts_in_manifest(source, unnamed))
    return {number: _most_frequent(texts, number) for number in sorted(unnamed)}


def count_classes(statistics: Statistics, labels: Iterable[Label], texts: Mapping[int, str]) -> tuple[ClassCount, ...]:
    """Images and boxes of every class that is given or used, in the order of the numbers.

    Args:
        statistics: counts over all shards.
        labels: the classes that are given.
        texts: names of the others, from `learn_class_texts`.
    """
    given = {label.label: label for label in labels if label.text}
    used = statistics.class_images
    numbers = sorted(used.keys() | given.keys())
    named = _told_apart([given.get(number) or Label(number, texts[number]) for number in numbers])
    return tuple(
        ClassCount(each.label, each.text, used[each.label], statistics.object_labels[each.label]) for each in named
    )


_Texts = tuple[Iterable[tuple[int, str]], Iterable[tuple[int, str]]]
"""Numbers and texts of a record: that of the image, and those of its boxes."""


def _texts_in_manifest(source: RecordSource, numbers: Collection[int]) -> Iterator[_Texts]:
    for _, record in source.scan():
        if isinstance(record, InvalidRecord):
            continue
        boxes = record.object.bbox
        pairs = zip(boxes.label, boxes.text, strict=False)  # a box's text may be absent
        yield (
            [(int(record.class_.label), record.class_.text)] if record.class_.label in numbers else [],
            [(int(label), text) for label, text in pairs if label in numbers],
        )


def _texts_in_shards(dataset: FinishedDataset) -> Iterator[_Texts]:
    for record in dataset.records():
        of_image, of_boxes = (
            _pair(record.features[numbers].values, record.features[names].values) for numbers, names in _CLASSES
        )
        yield of_image, of_boxes


def _pair(numbers: Sequence[Any], names: Sequence[Any]) -> list[tuple[int, str]]:
    return [(number, name.decode()) for number, name in zip(numbers, names, strict=False)]


def _merge_texts(records: Iterable[_Texts]) -> Mapping[int, Counter[str]]:
    """How often each text stands beside each number: those of boxes, or where no box has the number those of images."""
    of_images, of_boxes = defaultdict[int, Counter[str]](Counter), defaultdict[int, Counter[str]](Counter)
    for record in records:
        for texts, found in zip((of_images, of_boxes), record, strict=True):
            for number, text in found:
                if text and is_utf8(text):  # of a record that failed a manifest may have any
                    texts[number][text] += 1
    return of_images | of_boxes


def _most_frequent(texts: Mapping[int, Counter[str]], number: int) -> str:
    """Of equally frequent texts the first by alphabet, for the order of records shall decide nothing."""
    found = texts.get(number, Counter())
    return min(found, key=lambda text: (-found[text], text), default=str(number))


def _told_apart(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Consumers map names to numbers, so that no two classes may share one."""
    taken: dict[str, Label] = {}
    for label in labels:
        text = label.text
        while text in taken:
            text = f"{text} ({label.label})"
        taken[text] = replace(label, text=text)
    return tuple(taken.values())
