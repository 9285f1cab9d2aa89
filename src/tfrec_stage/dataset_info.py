"""What is known about a dataset besides its images: its classes (`labels.json`) and its description (`about`)."""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec

from tfrec_stage.errors import ConfigError, SourceError
from tfrec_stage.files import write_file
from tfrec_stage.options import check_text, check_types
from tfrec_stage.text_files import read_utf8


@dataclass(frozen=True, slots=True)
class Label:
    """One class: its number in shards, and what the annotations call it."""

    label: int
    """Number in manifests and shards, from 0, without gaps."""
    text: str
    """Name."""
    source_id: int | str | None = None
    """The annotations' own number or key, for example COCO's category id."""
    keypoints: tuple[str, ...] = ()
    """Names of the keypoints of an object of this class, in the order of `object.parts`."""


def write_labels(path: Path, labels: tuple[Label, ...]) -> None:
    """Write labels as a JSON list of `{label, text, source_id, keypoints}`; the same labels give the same bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, msgspec.json.format(msgspec.json.encode(labels), indent=2) + b"\n")


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read labels that `write_labels` wrote.

    Raises:
        SourceError: the file is missing or is not a list of labels.
    """
    try:
        return msgspec.json.decode(read_utf8(path), type=tuple[Label, ...])
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise SourceError(f"{path}: expected a list of labels, but: {error}") from error


@dataclass
class About:
    """Description of a dataset, for the files of profiles that contain one; empty fields are omitted."""

    name: str = ""
    """Name of the whole dataset; if empty, the name of the split is used."""
    description: str = ""
    """What the dataset contains."""
    license: str = ""
    """Licence, preferably a URL from https://spdx.org/licenses."""
    url: str = ""
    """URL of its home page."""
    citation: str = ""
    """How to cite it, preferably as BibTeX."""
    creator: str = ""
    """The organisation that created it."""
    published: str = ""
    """Date of publication, for example 2025-01-31."""
    version: str = "1.0.0"
    """Version: three numbers separated by dots."""

    def __post_init__(self) -> None:
        check_types(self, "about")
        for name, text in vars(self).items():
            check_text(f"about.{name}", text)
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise ConfigError(f"about.version: expected three numbers such as 1.0.0, but got {self.version!r}")
        if self.published and not _is_date(self.published):
            raise ConfigError(f"about.published: expected a date such as 2025-01-31, but got {self.published!r}")


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
