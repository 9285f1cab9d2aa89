"""Numbers for class names."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final

from tfrec_stage.dataset_info import Label
from tfrec_stage.errors import ConfigError

_BACKGROUND: Final = frozenset({"background", "__background__"})


def number_labels(found: Iterable[str], names: list[str] | None = None) -> dict[str, Label]:
    """Give each class name its label, in the order of the numbers.

    Args:
        found: the names in the annotations; they are numbered in alphabetical order.
        names: all names there are, in their own order, which then holds instead: splits whose annotations do not have
            every class agree on the numbers in no other way.

    Raises:
        ConfigError: `names` has one name twice.

    >>> number_labels({"dog", "cat"})["dog"]
    Label(label=1, text='dog', source_id='dog', keypoints=())
    """
    twice = [name for name, count in Counter(names or ()).items() if count > 1]
    if twice:
        raise ConfigError(f"names: expected each name once, but got {twice} more often")
    ordered = sorted(set(found)) if names is None else names
    return {name: Label(number, name, source_id=name) for number, name in enumerate(ordered)}


def list_odd_names(labels: Collection[Label]) -> Iterator[str]:
    """Yield what looks wrong with the names of classes and is taken as it is, a sentence each."""
    for name, count in Counter(label.text for label in labels).items():
        if count > 1:
            keys = [_key_of(label) for label in labels if label.text == name]
            yield f"{count} categories have the name {name!r}, and become {count} classes: ids {show_names(keys)}"
    for label in labels:
        if not label.text:
            yield f"category {_key_of(label)!r} has no name"
        if label.label == 0 and label.text.lower() in _BACKGROUND:
            shown = (
                repr(label.text) if label.source_id in {label.text, None} else f"{label.source_id!r} ({label.text!r})"
            )
            yield f"category {shown} becomes class 0; take it out of the categories unless it is meant"


def _key_of(label: Label) -> int | str:
    return label.label if label.source_id is None else label.source_id


def show_names(names: Collection[str | int]) -> str:
    """List names for a message, the first ten of them.

    >>> show_names(["cat", "dog"])
    "'cat', 'dog'"
    """
    shown = ", ".join(repr(name) for name in islice(names, 10))
    return shown if len(names) <= 10 else f"{shown}, … ({len(names):,} in all)"
