"""All errors that this package raises on purpose, as a tree.

    TfrecStageError            base; the text is for the user: expected, got, where, what to do
    ├── ConfigError            an option or a file of options is wrong
    ├── ManifestError          the manifest as a whole is wrong; nothing is written
    ├── SourceError            an importer cannot read its annotation files
    ├── OutputError            the output directory cannot be written or must not be replaced
    ├── TooManyFailuresError   more images failed than allowed; the previous output is unchanged
    ├── EngineError            a worker process died twice over the same task
    ├── ShardError             a shard is damaged or does not match its index
    └── RecordError            one image record cannot be encoded; caught and kept as a failure

A `RecordError` never leaves a build: it becomes a failure with its `reason` and message.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final


class TfrecStageError(Exception):
    """Base of all errors of this package; its text is for the user and needs no traceback."""


class ConfigError(TfrecStageError):
    """An option is unknown, out of its range or contradicts another."""


class ManifestError(TfrecStageError):
    """A manifest is missing or not JSON, has malformed records, or two records with the same id."""


class SourceError(TfrecStageError):
    """Annotation files are missing or not in the format that the importer expects."""


class OutputError(TfrecStageError):
    """The output directory cannot be written, or holds files that a build must not replace."""


class TooManyFailuresError(TfrecStageError):
    """More images failed than allowed; the build did not replace the output directory.

    Attributes:
        failures_path: JSON Lines file of all records that failed, each with `error_msg` and `reason`.
        by_reason: number of failures by reason.
        examples: the first failures of each reason, as `id: message`.
    """

    def __init__(
        self, message: str, failures_path: Path, by_reason: Mapping[str, int], examples: Mapping[str, Sequence[str]]
    ) -> None:
        super().__init__(message)
        self.failures_path = failures_path
        self.by_reason = by_reason
        self.examples = examples


class EngineError(TfrecStageError):
    """A task killed its worker process twice; the text names the shard."""


class ShardError(TfrecStageError):
    """A TFRecord file or its index is damaged; the text names the file and the byte offset."""


class RecordError(TfrecStageError):
    """One image record cannot be encoded.

    Attributes:
        reason: one of `REASONS`; stable, for programs. The text is for people and may change.
    """

    def __init__(self, reason: str, message: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"expected one of {sorted(REASONS)}, but got reason {reason!r}")
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["RecordError"], tuple[str, str]]:
        """Pickle both arguments: worker processes send failures back."""
        return type(self), (self.reason, str(self))


REASONS: Final = frozenset(
    {
        "image_missing",  # no such file
        "image_unreadable",  # permission, a directory, a pipe, a device, an I/O error
        "image_empty",  # zero bytes
        "image_changed",  # the file does not have the sha256 that the record pins
        "image_unknown_format",  # the content is not an image that Pillow recognises
        "image_unsupported",  # a variant of a known format that cannot be decoded (12 bit, lossless, …)
        "image_too_large",  # beyond Pillow's pixel limit
        "image_corrupt",  # truncated, damaged or otherwise undecodable
        "record_invalid",  # a value of the wrong type, or one that cannot be stored
        "annotation_invalid",  # boxes, parts, labels or sizes contradict each other or the image
    }
)
