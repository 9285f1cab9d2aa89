"""Dicts from Python, as `create()` takes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tfrec_stage.manifest.faults import Faults
from tfrec_stage.manifest.plain import to_builtins
from tfrec_stage.manifest.shape import shape_faults
from tfrec_stage.records import ImageRecord


class RecordList:
    """Dicts from Python; positions are indices. They are never changed.

    NumPy numbers and arrays, tuples and paths may stand for numbers, lists and strings.
    """

    def __init__(self, dataset: Iterable[Mapping[str, Any]]) -> None:
        self._dataset: Sequence[Mapping[str, Any]] = list(dataset)

    def scan(self) -> Iterator[tuple[int, ImageRecord]]:
        """See `RecordSource`."""
        faults = Faults("dataset")
        for position in range(len(self._dataset)):
            try:
                yield position, self._convert(position)
            except (msgspec.ValidationError, TypeError) as error:
                faults.add(self.where(position), self._explain(position, error))
        faults.raise_if_any()

    def read(self, positions: Iterable[int]) -> Iterator[ImageRecord]:
        """See `RecordSource`."""
        return (self._convert(position) for position in positions)

    def original(self, position: int) -> dict[str, Any]:
        """See `RecordSource`."""
        return dict(self._dataset[position])

    def digest(self) -> None:
        """See `RecordSource`: Python's values may be anything, so their records are always read."""

    def where(self, position: int) -> str:
        """See `RecordSource`."""
        return f"dataset[{position}]"

    def _convert(self, position: int) -> ImageRecord:
        return msgspec.convert(to_builtins(self._dataset[position]), ImageRecord, builtin_types=(bytes,))

    def _explain(self, position: int, error: Exception) -> list[str]:
        if isinstance(error, TypeError):
            return [str(error)]
        return shape_faults(to_builtins(self._dataset[position])) or [str(error)]
