"""One key of every record: its name, its kind, and where its values come from."""

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
    """Whether it has exactly one value; otherwise it is a list of any length."""
    values: Callable[[ImageRecord, EncodedImage], Values]
    meaning: str
    """Description with unit and range, for the README's table."""


def utf8(value: str) -> list[bytes]:
    """Encode the value of a key that has one text."""
    return [value.encode()]


def utf8_list(values: Iterable[str]) -> list[bytes]:
    """Encode the values of a key that has one text per object."""
    return [value.encode() for value in values]
