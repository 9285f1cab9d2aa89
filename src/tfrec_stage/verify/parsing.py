"""Parse payloads into columns with TensorFlow's own parser, in batches; report each record that it cannot parse."""

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


class RawRecord(NamedTuple):
    """A record as stored in its file."""

    location: Location
    payload: bytes


class ParsedBatch(NamedTuple):
    """Records that TensorFlow parses."""

    locations: list[Location]
    """Location of each record, in the order of the rows."""
    columns: Columns
    unparsed: list[RawRecord]
    """Records of the batch that cannot be parsed; they have no row."""

    def select(self, rows: Rows) -> "ParsedBatch":
        """Return only the selected records."""
        locations = [location for location, is_selected in zip(self.locations, rows, strict=True) if is_selected]
        return ParsedBatch(locations, self.columns.select(rows), self.unparsed)


class Parser:
    """Parses records with the full feature spec of the schema."""

    def __init__(self, fields: Sequence[Field], findings: Findings) -> None:
        self._tf = import_tensorflow()
        # TensorFlow's message quotes the record. If that is not UTF-8, raising the error fails with UnicodeDecodeError.
        self._parse_errors = (self._tf.errors.InvalidArgumentError, UnicodeDecodeError)
        self._fields = fields
        self._findings = findings
        self._spec = feature_spec([field.key for field in fields])
        # The wire bytes of each list without values. TensorFlow's parser returns an empty list for a missing one, too.
        self._empty_lists = {
            field.key: encode_entry(key_field(field.key), field.kind, ()) for field in fields if not field.is_scalar
        }

    def parse(self, batch: Sequence[RawRecord]) -> ParsedBatch:
        """Parse a batch. Records that cannot be parsed are reported, and have no row in the result."""
        # Our own parser comes first: some broken Examples make TensorFlow's batch parser abort the process.
        unparsed = [raw for raw in batch if not self._is_example(raw)]
        batch = [raw for raw in batch if raw not in unparsed] if unparsed else batch
        try:
            columns = self._parse(batch)
        except self._parse_errors:
            # The error does not say which record is to blame, so each is parsed alone.
            rejected = [raw for raw in batch if not self._can_parse(raw)]
            batch = [raw for raw in batch if raw not in rejected]
            unparsed = sorted([*unparsed, *rejected], key=lambda raw: (raw.location.file, raw.location.record))
            columns = self._parse(batch)
        self._report_missing_lists(batch, columns)
        return ParsedBatch([raw.location for raw in batch], columns, unparsed)

    def _parse(self, batch: Sequence[RawRecord]) -> Columns:
        payloads = self._tf.constant([raw.payload for raw in batch], "string")
        scalars: dict[str, Any] = {}
        lists: dict[str, Ragged] = {}
        for key, tensor in self._tf.io.parse_example(payloads, self._spec).items():
            if isinstance(tensor, self._tf.RaggedTensor):
                lists[key] = Ragged(tensor.values.numpy(), np.diff(tensor.row_splits.numpy()))
            else:
                scalars[key] = tensor.numpy()
        return Columns(len(batch), scalars, lists)

    def _is_example(self, raw: RawRecord) -> bool:
        try:
            decode_example(raw.payload)
        except ShardError as error:
            self._findings.add("not_an_example", raw.location, str(error))
            return False
        return True

    def _can_parse(self, raw: RawRecord) -> bool:
        try:
            self._parse([raw])
        except self._parse_errors as error:
            self._report_unparsed(raw, str(getattr(error, "message", error)))
            return False
        return True

    def _report_unparsed(self, raw: RawRecord, tensorflow_message: str) -> None:
        # Our own messages name the key and what was expected; TensorFlow's is the fallback.
        problems = list(schema_problems(decode_example(raw.payload), self._fields))
        for kind, text in problems or [("not_an_example", f"TensorFlow says: {tensorflow_message}")]:
            self._findings.add(kind, raw.location, text)

    def _report_missing_lists(self, batch: Sequence[RawRecord], columns: Columns) -> None:
        """Report lists that are missing, which TensorFlow returns as empty.

        Decoding every record again would be slow. A list that is there without values has known wire bytes, which are
        searched from the end, where most lists are. Only records without these bytes are decoded.
        """
        suspects: set[int] = set()
        for key, entry in self._empty_lists.items():
            if key in columns.lists:
                empty = np.flatnonzero(columns.lists[key].lengths == 0).tolist()
                suspects.update(row for row in empty if batch[row].payload.rfind(entry) < 0)
        for row in sorted(suspects):
            for kind, text in schema_problems(decode_example(batch[row].payload), self._fields):
                self._findings.add(kind, batch[row].location, text)


def import_tensorflow() -> Any:
    """Import TensorFlow. The first import hides GPUs and discards messages about drivers."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silenced_stderr():
        tensorflow = import_module("tensorflow")
        tensorflow.config.set_visible_devices([], "GPU")
        tensorflow.constant(0)  # initialises the devices while their messages are still discarded
    return tensorflow


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Discard what native code writes to standard error. Exceptions are raised as usual."""
    sys.stderr.flush()
    # Native code writes to file descriptor 2 itself, so replacing `sys.stderr` would not be enough.
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
