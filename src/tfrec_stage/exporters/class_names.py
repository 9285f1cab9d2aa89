"""Names of classes: those of `labels.json`, and for other numbers the texts that the records have beside them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError
from tfrec_stage.exporters import FinishedDataset
from tfrec_stage.manifest.source import RecordSource
from tfrec_stage.records import InvalidRecord
from tfrec_stage.shards.metadata_files import ClassCount
from tfrec_stage.shards.statistics import Statistics
from tfrec_stage.text_files import is_utf8

MAX_LABEL: Final = 999_999
"""Largest label of an export. Exports list all classes from 0 to the largest label. A larger label is hardly the number
of a class, and listing would take very long."""

_LABEL_AND_TEXT_KEYS: Final = (
    ("image/class/label", "image/class/text"),
    ("image/object/bbox/label", "image/object/bbox/text"),
)


def complete_labels(dataset: FinishedDataset) -> tuple[Label, ...]:
    """Every class from 0 to the largest number given or used, without gaps, each with a name that no other has.

    A number without a name in `dataset.labels` gets the most frequent text beside it in the records, else the number
    itself. If two classes have one name, the later gets its number too: `cat (3)`. Records are read only if they use a
    number without a name in `dataset.labels`. Without any number there are no classes.

    Raises:
        ConfigError: a label is larger than `MAX_LABEL`.
        ShardError: a shard cannot be read.
    """
    given = {label.label: label for label in dataset.labels if label.text}
    used = dataset.statistics.image_labels.keys() | dataset.statistics.object_labels.keys()
    largest = max(used | given.keys(), default=-1)
    if largest > MAX_LABEL:
        raise ConfigError(
            f"encode.profiles: expected labels up to {MAX_LABEL:,}, as all classes are listed, but got {largest}; "
            "number the classes from 0, without gaps"
        )
    texts = _merge_texts(_texts_in_shards(dataset)) if used - given.keys() else {}
    return _with_unique_names(
        [given.get(number) or Label(number, _most_frequent(texts, number)) for number in range(largest + 1)]
    )


def learn_class_texts(
    statistics: Statistics, labels: Iterable[Label], source: RecordSource, known: Mapping[int, str]
) -> dict[int, str]:
    """Names of the classes that are used but not named by a label, by number.

    The names are chosen as in `complete_labels`, but from the texts in the manifest, which is much smaller than the
    shards.

    Args:
        statistics: counts over all shards.
        labels: the classes that are given.
        source: the manifest. It is read only if a used number has no name yet.
        known: names that an earlier build chose from the same manifest.

    Raises:
        ManifestError: the manifest can no longer be read.
    """
    unnamed = statistics.class_images.keys() - {label.label for label in labels if label.text}
    if unnamed <= known.keys():
        return {number: known[number] for number in sorted(unnamed)}
    texts = _merge_texts(_texts_in_manifest(source, unnamed))
    return {number: _most_frequent(texts, number) for number in sorted(unnamed)}


def count_classes(statistics: Statistics, labels: Iterable[Label], texts: Mapping[int, str]) -> tuple[ClassCount, ...]:
    """Numbers of images and boxes of every class that is given or used, in the order of the classes' numbers.

    Args:
        statistics: counts over all shards.
        labels: the classes that are given.
        texts: names of the other classes, from `learn_class_texts`.
    """
    given = {label.label: label for label in labels if label.text}
    used = statistics.class_images
    numbers = sorted(used.keys() | given.keys())
    named = _with_unique_names([given.get(number) or Label(number, texts[number]) for number in numbers])
    return tuple(
        ClassCount(each.label, each.text, used[each.label], statistics.object_labels[each.label]) for each in named
    )


_Texts = tuple[Iterable[tuple[int, str]], Iterable[tuple[int, str]]]
"""Pairs of number and text of one record: first of the image, then of its boxes."""


def _texts_in_manifest(source: RecordSource, numbers: Collection[int]) -> Iterator[_Texts]:
    for _, record in source.scan():
        if isinstance(record, InvalidRecord):
            continue
        boxes = record.object.bbox
        pairs = zip(boxes.label, boxes.text, strict=False)  # texts are optional, so their list may be empty
        yield (
            [(int(record.class_.label), record.class_.text)] if record.class_.label in numbers else [],
            [(int(label), text) for label, text in pairs if label in numbers],
        )


def _texts_in_shards(dataset: FinishedDataset) -> Iterator[_Texts]:
    for record in dataset.records():
        of_image, of_boxes = (
            _pair(record.features[label].values, record.features[text].values) for label, text in _LABEL_AND_TEXT_KEYS
        )
        yield of_image, of_boxes


def _pair(numbers: Sequence[Any], texts: Sequence[Any]) -> list[tuple[int, str]]:
    return [(number, text.decode()) for number, text in zip(numbers, texts, strict=False)]


def _merge_texts(records: Iterable[_Texts]) -> Mapping[int, Counter[str]]:
    """How often each text is beside each number: in boxes, or in images if no box with the number has a text."""
    of_images, of_boxes = defaultdict[int, Counter[str]](Counter), defaultdict[int, Counter[str]](Counter)
    for record in records:
        for texts, found in zip((of_images, of_boxes), record, strict=True):
            for number, text in found:
                # A manifest may have any text in a record that failed; exports are UTF-8.
                if text and is_utf8(text):
                    texts[number][text] += 1
    return of_images | of_boxes


def _most_frequent(texts: Mapping[int, Counter[str]], number: int) -> str:
    """The most frequent text of a number, else the number itself.

    Of equally frequent texts it is the first by alphabet, so that the order of records does not matter.
    """
    found = texts.get(number, Counter())
    return min(found, key=lambda text: (-found[text], text), default=str(number))


def _with_unique_names(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels, with a number after every repeated name: readers of exports map names to numbers."""
    by_name: dict[str, Label] = {}
    for label in labels:
        text = label.text
        while text in by_name:
            text = f"{text} ({label.label})"
        by_name[text] = replace(label, text=text)
    return tuple(by_name.values())
