"""Numbers for class names, and `labels.json`, which says beside a manifest what its numbers mean."""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

import msgspec

from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.files import write_file
from tfrec_stage.importers.values import Label


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


def show_names(names: Collection[str | int]) -> str:
    """List names for a message, the first ten of them.

    >>> show_names(["cat", "dog"])
    "'cat', 'dog'"
    """
    shown = ", ".join(repr(name) for name in islice(names, 10))
    return shown if len(names) <= 10 else f"{shown}, … ({len(names):,} in all)"


def write_labels(path: Path, labels: tuple[Label, ...]) -> None:
    """Write the labels as a JSON list of `{label, text, source_id, keypoints}`, an entry a label.

    The same labels give the same bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, msgspec.json.format(msgspec.json.encode(labels), indent=2) + b"\n")


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read what `write_labels` wrote.

    Raises:
        SourceError: the file is missing or is no list of labels.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Label, ...])
    except (OSError, msgspec.MsgspecError) as error:
        raise SourceError(f"{path}: expected a list of labels, but: {error}") from error
