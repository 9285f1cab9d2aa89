"""Classes, and `labels.json`, which says beside a manifest what its numbers mean."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from tfrec_stage.errors import SourceError
from tfrec_stage.files import write_file
from tfrec_stage.text_files import read_utf8


@dataclass(frozen=True, slots=True)
class Label:
    """One class: its contiguous number here, and what the annotations called it."""

    label: int
    """Number in shards and manifests, from 0, without gaps."""
    text: str
    """Name."""
    source_id: int | str | None = None
    """Number or key that the annotations use for it, for example COCO's category id."""
    keypoints: tuple[str, ...] = ()
    """Names of the parts of an object of this class, in the order of `object.parts`."""


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
        return msgspec.json.decode(read_utf8(path), type=tuple[Label, ...])
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise SourceError(f"{path}: expected a list of labels, but: {error}") from error
