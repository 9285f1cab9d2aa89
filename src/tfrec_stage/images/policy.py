"""What is asked of images: the proof that they decode, and how those that need it are re-encoded."""

import enum
from dataclasses import dataclass, field

from tfrec_stage.errors import ConfigError
from tfrec_stage.options import check_types, check_within, show


class Verify(enum.Enum):
    """What proves that a JPEG which is passed through can be decoded."""

    decode = "decode"
    """Its structure is whole and libjpeg decodes it, at an eighth of its size."""
    structure = "structure"
    """Its structure is whole: every segment and scan up to the end marker."""


@dataclass
class ImagePolicy:
    """How images become what shards hold; all fields but `verify` change bytes.

    Raises:
        ConfigError: a field is out of its range.
    """

    verify: Verify = Verify.decode
    """Proof that a JPEG decodes."""
    jpeg_quality: int = 95
    """libjpeg's quality of images that are re-encoded, 1 to 100; their colour is never subsampled. More than 95 is
    no gain: TensorFlow's default DCT is a fast one that errs most at the highest qualities."""
    background: list[int] = field(default_factory=lambda: [255, 255, 255])
    """Red, green and blue, 0 to 255, that transparent pixels are laid over."""

    def __post_init__(self) -> None:
        check_types(self, "encode")
        check_within("encode.jpeg_quality", self.jpeg_quality, 1, 100)
        if len(self.background) != 3 or not all(0 <= level <= 255 for level in self.background):
            raise ConfigError(
                f"encode.background: expected [red, green, blue], each 0 to 255, but got {show(self.background)}"
            )
