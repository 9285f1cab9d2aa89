"""Names for the numbers in shards: those of `labels.json`, and what the records themselves say about the others."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tfrec_stage.errors import ConfigError
from tfrec_stage.handover.dataset import FinishedDataset
from tfrec_stage.labels import Label

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
    texts = _count_texts(dataset) if used - given.keys() else {}
    return _told_apart(
        [given.get(number) or Label(number, _most_frequent(texts, number)) for number in range(largest + 1)]
    )


def _count_texts(dataset: FinishedDataset) -> Mapping[int, Counter[str]]:
    """How often each text stands beside each number: those of boxes, or where no box has the number those of images."""
    of_images, of_boxes = (defaultdict[int, Counter[str]](Counter) for _ in _CLASSES)
    for record in dataset.records():
        for texts, (numbers, names) in zip((of_images, of_boxes), _CLASSES, strict=True):
            found: tuple[Sequence[Any], Sequence[Any]] = record.features[numbers].values, record.features[names].values
            for number, name in zip(*found, strict=False):  # a box's text may be absent
                if name:
                    texts[number][name.decode()] += 1
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
