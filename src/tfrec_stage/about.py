"""What only the owner of a data set can tell of it: its name, its licence, who made it."""

import re
from dataclasses import dataclass
from datetime import date

from tfrec_stage.errors import ConfigError
from tfrec_stage.option_checks import check_text, check_types


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
