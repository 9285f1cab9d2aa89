"""A batch of records as columns: one NumPy array per key, to check or count all records at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.errors import ShardError
from tfrec_stage.schema.fields import FIELDS, Field
from tfrec_stage.tfrecord.example import Feature, Kind

Rows = NDArray[np.bool_]
"""A mask over the records of a batch: one boolean per record."""

# Bytes are objects: NumPy's own bytes type drops trailing zero bytes.
_DTYPES: Final = {Kind.BYTES: np.object_, Kind.FLOAT: np.float32, Kind.INT64: np.int64}

_BBOX, _PARTS = "image/object/bbox/", "image/object/parts/"
_EDGES: Final = tuple(f"{_BBOX}{edge}" for edge in ("xmin", "xmax", "ymin", "ymax"))
_ONE_PER_OBJECT: Final = (
    *(f"{_BBOX}{name}" for name in ("label", "text", "score", "conf")),
    "image/object/area",
    "image/object/id",
    "image/object/is_crowd",
)
"""Lists that have one value per object, or none at all."""


class Ragged(NamedTuple):
    """The lists that the records have under one key, concatenated in the order of the records."""

    values: NDArray[Any]
    """All values."""
    lengths: NDArray[np.int64]
    """Number of values of each record; their sum is the length of `values`."""

    @property
    def owners(self) -> NDArray[np.int64]:
        """Row of the record that each value belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def rows_with(self, matches: NDArray[np.bool_]) -> Rows:
        """Return the records that have at least one matching value.

        Args:
            matches: for each value, whether it matches.
        """
        rows = np.zeros(len(self.lengths), np.bool_)
        if matches.any():
            rows[self.owners[matches]] = True
        return rows

    def of_rows(self, rows: Rows) -> NDArray[Any]:
        """Return the values of the selected records."""
        return self.values if rows.all() else self.values[np.repeat(rows, self.lengths)]

    def row(self, number: int) -> list[Any]:
        """Return the values of one record."""
        start = int(self.lengths[:number].sum())
        return list(self.values[start : start + int(self.lengths[number])].tolist())


@dataclass(frozen=True, slots=True)
class Columns:
    """Records as columns."""

    size: int
    """Number of records."""
    scalars: Mapping[str, NDArray[Any]]
    """By key, one value per record; bytes as objects."""
    lists: Mapping[str, Ragged] = field(repr=False)
    """By key, any number of values per record."""

    def select(self, rows: Rows) -> "Columns":
        """Return only the selected records."""
        scalars = {key: values[rows] for key, values in self.scalars.items()}
        lists = {key: Ragged(column.of_rows(rows), column.lengths[rows]) for key, column in self.lists.items()}
        return Columns(int(np.count_nonzero(rows)), scalars, lists)


def columns_of(records: Sequence[Mapping[str, Feature]], fields: Iterable[Field] = FIELDS) -> Columns:
    """Turn decoded records into columns.

    Raises:
        ShardError: a record does not have the keys, kinds or scalars of the schema.
    """
    scalars, lists = {}, {}
    for key in fields:
        values = [_values(record, key) for record in records]
        flat = _array([value for row in values for value in row], key.kind)
        if key.is_scalar:
            scalars[key.key] = flat
        else:
            lists[key.key] = Ragged(flat, np.fromiter(map(len, values), np.int64, len(values)))
    return Columns(len(records), scalars, lists)


def schema_problems(features: Mapping[str, Feature], fields: Iterable[Field]) -> Iterator[tuple[str, str]]:
    """Iterate over the problems of a record's keys as pairs: kind of finding, message."""
    for field_ in fields:
        key, expected = field_.key, field_.kind.name.lower()
        feature = features.get(key)
        if feature is None:
            yield "key_missing", f"{key}: expected {_describe(field_)}, but the record has no such key"
        elif feature.kind is not field_.kind:
            yield "kind_wrong", f"{key}: expected values of kind {expected}, but got {feature.kind.name.lower()}"
        elif field_.is_scalar and len(feature.values) != 1:
            yield "not_scalar", f"{key}: expected one value of kind {expected}, but got {len(feature.values)}"


def mismatched_rows(columns: Columns) -> Rows:
    """Return the records whose lists do not fit each other in length, or do not fit `image/object/count`."""
    count = columns.scalars["image/object/count"]
    lists, absent = columns.lists, np.zeros(columns.size, np.int64)
    edges, parts = lists[_EDGES[0]].lengths, lists[f"{_PARTS}x"].lengths
    # Objects may have no boxes, but then none of them has one.
    mismatches = [(count < 0) | ((edges != 0) & (edges != count))]
    mismatches += [lists[edge].lengths != edges for edge in _EDGES[1:]]
    for key in _ONE_PER_OBJECT:
        lengths = lists[key].lengths if key in lists else absent
        mismatches.append((lengths != 0) & (lengths != count))
    mismatches += [lists[f"{_PARTS}y"].lengths != parts]
    for name in ("v", "score"):
        lengths = lists[_PARTS + name].lengths
        mismatches.append((lengths != 0) & (lengths != parts))
    # Every object has the same number of parts. `maximum` avoids a division by zero; count < 1 is a mismatch anyway.
    mismatches.append((parts != 0) & ((count < 1) | (parts % np.maximum(count, 1) != 0)))
    return reduce(or_, mismatches)


def _describe(field_: Field) -> str:
    kind = field_.kind.name.lower()
    return f"one value of kind {kind}" if field_.is_scalar else f"a list of kind {kind}"


def _values(record: Mapping[str, Feature], field_: Field) -> Sequence[Any]:
    feature = record.get(field_.key)
    if feature is not None and feature.kind is field_.kind and (not field_.is_scalar or len(feature.values) == 1):
        return feature.values
    problem = next(text for _, text in schema_problems(record, [field_]))
    raise ShardError(f"{problem}; stage=verify lists everything that is wrong")


def _array(values: list[Any], kind: Kind) -> NDArray[Any]:
    array: NDArray[Any] = np.empty(len(values), _DTYPES[kind])
    array[:] = values
    return array
