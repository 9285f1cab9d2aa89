"""One key of every record: what it is called, its kind, and where its values come from."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tfrec_stage.images.encode import EncodedImage
from tfrec_stage.records import ImageRecord
from tfrec_stage.tfrecord.example import Kind, Values


class Field(NamedTuple):
    """One key of every record."""

    key: str
    kind: Kind
    is_scalar: bool
    """Exactly one value, else a list of any length."""
    values: Callable[[ImageRecord, EncodedImage], Values]
    meaning: str
    """With unit and range, as the README's table gives it."""


def utf8(value: str) -> list[bytes]:
    """The value of a key that holds one text."""
    return [value.encode()]


def utf8_list(values: Iterable[str]) -> list[bytes]:
    """The values of a key that holds a text for each object."""
    return [value.encode() for value in values]
