"""What is known of a data set beside its images: its classes (`labels.json`) and its description (`about`)."""

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


@dataclass
class About:
    """A data set in words, for the files of profiles that describe it; what is empty is left out of them."""

    name: str = ""
    """Name of the whole data set; without it the description has that of the split."""
    description: str = ""
    """What is in it."""
    license: str = ""
    """Licence, best as an address from https://spdx.org/licenses."""
    url: str = ""
    """Address of its page."""
    citation: str = ""
    """How to cite it, best as BibTeX."""
    creator: str = ""
    """The organisation that made it."""
    published: str = ""
    """When it was published: a date such as 2025-01-31."""
    version: str = "1.0.0"
    """Three numbers with dots between."""

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
