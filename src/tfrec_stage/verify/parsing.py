"""Parse payloads into columns with TensorFlow's own parser, in batches; report records that it refuses one by one."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from tfrec_stage.errors import ShardError
from tfrec_stage.reading.columns import Columns, Ragged, Rows, schema_problems
from tfrec_stage.reading.fields import feature_spec
from tfrec_stage.schema.fields import Field
from tfrec_stage.tfrecord.example import decode_example, encode_entry, key_field
from tfrec_stage.verify.findings import Findings, Location


def import_tensorflow() -> Any:
    """Import TensorFlow; if this is the first import, without GPUs and without its messages about drivers."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silenced_stderr():
        tensorflow = import_module("tensorflow")
        tensorflow.config.set_visible_devices([], "GPU")
        tensorflow.constant(0)  # begins with the devices, and speaks of them
    return tensorflow


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard what native code writes to standard error; an exception carries its own message."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Raw(NamedTuple):
    """A record as stored in its file."""

    place: Location
    payload: bytes


class Parsed(NamedTuple):
    """Records that TensorFlow parses."""

    places: list[Location]
    columns: Columns
    refused: list[Raw]
    """Those that it does not parse."""

    def select(self, rows: Rows) -> "Parsed":
        """Return some of the records."""
        places = [place for place, is_wanted in zip(self.places, rows, strict=True) if is_wanted]
        return Parsed(places, self.columns.select(rows), self.refused)


class Parser:
    """Parses records with the full feature spec of the schema."""

    def __init__(self, fields: Sequence[Field], log: Findings) -> None:
        self._tf = import_tensorflow()
        # Its message quotes the record, which may not be valid text.
        self._errors = (self._tf.errors.InvalidArgumentError, UnicodeDecodeError)
        self._fields = fields
        self._log = log
        self._spec = feature_spec([field.key for field in fields])
        # The wire bytes of a list without values. TensorFlow's parser does not tell a missing list from an empty one.
        self._empty_lists = {
            field.key: encode_entry(key_field(field.key), field.kind, ()) for field in fields if not field.is_scalar
        }

    def parse(self, batch: Sequence[Raw]) -> Parsed:
        """Return the columns of the records that can be parsed; the others are reported.

        Our own parser comes first: some broken Examples make TensorFlow's batch parser abort the process.
        """
        refused = [raw for raw in batch if not self._is_example(raw)]
        batch = [raw for raw in batch if raw not in refused] if refused else batch
        try:
            columns = self._parse(batch)
        except self._errors:
            unparsed = [raw for raw in batch if not self._can_parse(raw)]
            batch = [raw for raw in batch if raw not in unparsed]
            refused = sorted([*refused, *unparsed], key=lambda raw: (raw.place.file, raw.place.record))
            columns = self._parse(batch)
        self._refuse_absent_lists(batch, columns)
        return Parsed([raw.place for raw in batch], columns, refused)

    def _parse(self, batch: Sequence[Raw]) -> Columns:
        tensors = self._tf.io.parse_example(self._tf.constant([raw.payload for raw in batch], "string"), self._spec)
        scalars: dict[str, Any] = {}
        lists: dict[str, Ragged] = {}
        for key, tensor in tensors.items():
            if isinstance(tensor, self._tf.RaggedTensor):
                lists[key] = Ragged(tensor.values.numpy(), np.diff(tensor.row_splits.numpy()))
            else:
                scalars[key] = tensor.numpy()
        return Columns(len(batch), scalars, lists)

    def _is_example(self, raw: Raw) -> bool:
        try:
            decode_example(raw.payload)
        except ShardError as error:
            self._log.add("not_an_example", raw.place, str(error))
            return False
        return True

    def _can_parse(self, raw: Raw) -> bool:
        try:
            self._parse([raw])
        except self._errors as error:
            self._log_faults(raw, str(getattr(error, "message", error)))
            return False
        return True

    def _log_faults(self, raw: Raw, said_by_tensorflow: str) -> None:
        found = list(schema_problems(decode_example(raw.payload), self._fields))
        for kind, text in found or [("not_an_example", f"TensorFlow says: {said_by_tensorflow}")]:
            self._log.add(kind, raw.place, text)

    def _refuse_absent_lists(self, batch: Sequence[Raw], columns: Columns) -> None:
        """Find missing lists. Lists are near the end, so a search from there is fast; misses are searched again."""
        suspects: set[int] = set()
        for key, entry in self._empty_lists.items():
            if key in columns.lists:
                empty = np.flatnonzero(columns.lists[key].lengths == 0).tolist()
                suspects.update(row for row in empty if batch[row].payload.rfind(entry) < 0)
        for row in sorted(suspects):
            for kind, text in schema_problems(decode_example(batch[row].payload), self._fields):
                self._log.add(kind, batch[row].place, text)
