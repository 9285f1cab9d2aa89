"""A batch of records as columns: one array per key, so that a question is asked of all records at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrec_stage.errors import ShardError
from tfrec_stage.schema.fields import FIELDS, Field
from tfrec_stage.tfrecord.example import Feature, Kind

Rows = NDArray[np.bool_]
"""One truth a record."""

_DTYPES: Final = {Kind.BYTES: np.object_, Kind.FLOAT: np.float32, Kind.INT64: np.int64}


class Ragged(NamedTuple):
    """The lists of all records, concatenated."""

    values: NDArray[Any]
    """All values."""
    lengths: NDArray[np.int64]
    """How many are each record's."""

    @property
    def owners(self) -> NDArray[np.int64]:
        """Index of the record that each value belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def rows_with(self, is_so: NDArray[np.bool_]) -> Rows:
        """Find the records with a value for which a condition holds."""
        rows = np.zeros(len(self.lengths), np.bool_)
        if is_so.any():
            rows[self.owners[is_so]] = True
        return rows

    def of_rows(self, rows: Rows) -> NDArray[Any]:
        """Return the values of some records."""
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
    """One value a record; bytes as objects."""
    lists: Mapping[str, Ragged] = field(repr=False)
    """Any number of values a record."""

    def select(self, rows: Rows) -> "Columns":
        """Return some of the records."""
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
        flat = _array([value for of_record in values for value in of_record], key.kind)
        if key.is_scalar:
            scalars[key.key] = flat
        else:
            lists[key.key] = Ragged(flat, np.fromiter(map(len, values), np.int64, len(values)))
    return Columns(len(records), scalars, lists)


def schema_problems(features: Mapping[str, Feature], fields: Iterable[Field]) -> Iterator[tuple[str, str]]:
    """Iterate over kind and text of each problem with a record's keys, found by our own parser."""
    for field_ in fields:
        key, expected = field_.key, field_.kind.name.lower()
        feature = features.get(key)
        if feature is None:
            yield "key_missing", f"{key}: expected {_article(field_)}, but the record has no such key"
        elif feature.kind is not field_.kind:
            yield "kind_wrong", f"{key}: expected values of kind {expected}, but got {feature.kind.name.lower()}"
        elif field_.is_scalar and len(feature.values) != 1:
            yield "not_scalar", f"{key}: expected one value of kind {expected}, but got {len(feature.values)}"


def _article(field_: Field) -> str:
    kind = field_.kind.name.lower()
    return f"one value of kind {kind}" if field_.is_scalar else f"a list of kind {kind}"


def _values(record: Mapping[str, Feature], field_: Field) -> Sequence[Any]:
    feature = record.get(field_.key)
    if feature is not None and feature.kind is field_.kind and (not field_.is_scalar or len(feature.values) == 1):
        return feature.values
    fault = next(text for _, text in schema_problems(record, [field_]))
    raise ShardError(f"{fault}; stage=verify tells everything that is wrong")


def _array(values: list[Any], kind: Kind) -> NDArray[Any]:
    array: NDArray[Any] = np.empty(len(values), _DTYPES[kind])
    array[:] = values
    return array
