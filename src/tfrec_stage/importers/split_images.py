"""Divide images into splits by hash.

The split depends only on the image's own key: a new image never moves another one to a different split.
"""

import hashlib
import math
import re
from dataclasses import dataclass, field

from tfrec_stage.errors import ConfigError
from tfrec_stage.options import LARGEST_SEED, check_types, check_within
from tfrec_stage.records import ImageRecord


@dataclass(frozen=True)
class SplitOptions:
    """How images are divided into splits.

    >>> SplitOptions({"train": 0.5, "val": 0.5}).split_of(ImageRecord(filename="a.jpg", id="a"))
    'train'
    """

    fractions: dict[str, float] = field(default_factory=dict)
    """Share of each split, in (0, 1], with a sum of 1; empty: every image belongs to every split."""
    group_by: str | None = None
    """Regular expression that is searched in `filename` and gives the key of an image: its first group that matched,
    else the whole match. Images with the same key stay together, as the frames of one video should. None: the key is
    the id."""
    seed: int = 0
    """Another seed gives another division."""

    def __post_init__(self) -> None:
        check_types(self)
        check_within("seed", self.seed, 0, LARGEST_SEED)
        _check_fractions(self.fractions)
        try:
            re.compile(self.group_by or "")
        except re.error as error:
            raise ConfigError(f"group_by: expected a regular expression, but got {self.group_by!r}: {error}") from None

    def belongs_to(self, split: str, record: ImageRecord) -> bool:
        """Return whether the record belongs to the split.

        Raises:
            ConfigError: there is no such split, or `group_by` does not match.
        """
        if not self.fractions:
            return True
        if split not in self.fractions:
            raise ConfigError(f"split: expected one of {', '.join(sorted(self.fractions))}, but got {split!r}")
        return self.split_of(record) == split

    def split_of(self, record: ImageRecord) -> str:
        """Return the name of the record's split.

        The splits, in the order of their names, divide [0, 2^64) into half-open intervals as long as their fractions;
        the hash of the key falls into one of them.

        Raises:
            ConfigError: there are no fractions, or `group_by` does not match.
        """
        point, end = self._hash64(record), 0.0
        names = sorted(self.fractions)
        for name in names[:-1]:  # the last one takes the rest, which rounding may make a little longer or shorter
            end += self.fractions[name]
            if point < int(end * 2**64):
                return name
        return names[-1]

    def _hash64(self, record: ImageRecord) -> int:
        # `person` makes this hash independent of the one that places records into shards. With the same hash, all
        # records of a split would fall into the same few shards.
        data = f"{self.seed}\0{self._key(record)}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=b"split").digest(), "big")

    def _key(self, record: ImageRecord) -> str:
        if self.group_by is None:
            return str(record.id)
        match = re.search(self.group_by, record.filename)
        if match is None:  # a fallback would silently spread a group over train and test
            raise ConfigError(
                f"group_by: expected {self.group_by!r} to match every file name, but got {record.filename!r}"
            )
        return next((group for group in match.groups() if group is not None), match[0])


def _check_fractions(fractions: dict[str, float]) -> None:
    outside = {name: share for name, share in fractions.items() if not 0 < share <= 1}
    if outside:
        raise ConfigError(f"fractions: expected shares in (0, 1], but got {outside}")
    total = math.fsum(fractions.values())
    if fractions and not math.isclose(total, 1, abs_tol=1e-6):
        raise ConfigError(f"fractions: expected a sum of 1, but got {total:g}: some images would be in no split")
