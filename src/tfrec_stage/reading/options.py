"""The options of `load_dataset`, checked before TensorFlow is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tfrec_stage.errors import ConfigError
from tfrec_stage.schema.fields import IMAGE_KEY

_SEED_BITS: Final = 63
"""Seeds are 0 to 2**63 - 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Options of `load_dataset`; see there for their meaning.

    Raises:
        ConfigError: an option is out of its range or contradicts another.
    """

    fields: tuple[str, ...]
    decode: bool
    image_size: tuple[int, int] | None
    antialias: bool
    images_root: Path | None
    shuffle: bool
    seed: int | None
    shuffle_buffer: int
    batch: int | None
    drop_remainder: bool
    ragged: bool
    max_objects: int | None
    max_parts: int | None
    cycle_length: int | None
    options: Any

    def __post_init__(self) -> None:
        for name in ("decode", "antialias", "shuffle", "drop_remainder", "ragged"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name}: expected True or False, but got {getattr(self, name)!r}")
        for name in ("shuffle_buffer", "batch", "max_objects", "max_parts", "cycle_length"):
            if not (_is_size(getattr(self, name)) or (name != "shuffle_buffer" and getattr(self, name) is None)):
                raise ConfigError(f"{name}: expected a whole number of at least 1, but got {getattr(self, name)!r}")
        self._check_seed()
        self._check_image_size()
        self._check_batch()

    @property
    def decodes(self) -> bool:
        """Whether elements have decoded images."""
        return self.decode and IMAGE_KEY in self.fields

    @property
    def loads(self) -> bool:
        """Whether images that are not stored are read from their files."""
        return self.images_root is not None and IMAGE_KEY in self.fields

    @property
    def is_deterministic(self) -> bool:
        """Whether the order must be the same each time."""
        return not self.shuffle or self.seed is not None

    def _check_seed(self) -> None:
        if self.seed is None:
            return
        if type(self.seed) is not int or not 0 <= self.seed < 1 << _SEED_BITS:
            raise ConfigError(f"seed: expected a whole number from 0 below 2**{_SEED_BITS}, but got {self.seed!r}")
        if not self.shuffle:
            raise ConfigError("seed: it only affects shuffling; give shuffle=True, or no seed")

    def _check_image_size(self) -> None:
        if self.antialias and self.image_size is None:
            raise ConfigError("antialias: it only applies to resized images; give image_size=(height, width) as well")
        match self.image_size:
            case None:
                pass
            case (height, width) if _is_size(height) and _is_size(width):
                if not self.decodes:
                    raise ConfigError(
                        f"image_size: only decoded images can be resized; give decode=True and {IMAGE_KEY}"
                    )
            case _:
                raise ConfigError(f"image_size: expected (height, width) in pixels, but got {self.image_size!r}")

    def _check_batch(self) -> None:
        if self.batch is not None and self.decodes and self.image_size is None:
            raise ConfigError(
                "batch: images of different sizes cannot be batched; give image_size=(height, width) to resize them, "
                f"decode=False to get JPEGs, fields without {IMAGE_KEY}, or batch the images yourself"
            )
        needing = {"drop_remainder": self.drop_remainder, "ragged=False": not self.ragged}
        for name, is_set in needing.items():
            if is_set and self.batch is None:
                raise ConfigError(f"{name}: it only applies to batches; give batch=SIZE as well")
        for name in ("max_objects", "max_parts"):
            if getattr(self, name) is not None and self.ragged:
                raise ConfigError(f"{name}: ragged lists have no common size; give ragged=False to pad them")


def _is_size(value: object) -> bool:
    return type(value) is int and value >= 1  # a bool is an instance of int too
