"""What keys and fingerprints cover, and what they do not."""

from dataclasses import dataclass, fields
from typing import Any

import pytest

from tfrec_stage.annotations.policy import AnnotationPolicy, DegenerateBoxes, DuplicateBoxes, OutOfRange
from tfrec_stage.build import fingerprint
from tfrec_stage.build.fingerprint import KEY_SIZE, options_as_dict, options_digest, shard_fingerprint
from tfrec_stage.build.options import Compression, EncodeOptions, OutputOptions
from tfrec_stage.images.encode import pixel_codec
from tfrec_stage.images.policy import Verify
from tfrec_stage.schema.options import AreaUnit, Profile

OTHER: dict[str, Any] = {
    "seed": 1,
    "shuffle": False,
    "verify": Verify.structure,
    "jpeg_quality": 90,
    "background": [0, 0, 0],
    "store_images": False,
    "area": AreaUnit.pixels,
    "od_api_keys": True,
    "compression": Compression.gzip,
    "profiles": [Profile.tfds],
    "out_of_range": OutOfRange.clip,
    "degenerate_boxes": DegenerateBoxes.keep,
    "duplicate_boxes": DuplicateBoxes.drop,
}
"""Another value than the default."""
NOT_IN_KEYS = {"seed", "shuffle", "compression"}
"""Options that change no record."""


def names(group: type) -> list[str]:
    """Return options with values other than the default."""
    return [option.name for option in fields(group) if option.name != "format"]


@pytest.mark.parametrize("name", names(EncodeOptions))
def test_options_of_encode_decide_keys(name: str) -> None:
    """Keys cover every option that changes a record, and no other."""
    other = OutputOptions(encode=EncodeOptions(**{name: OTHER[name]}))
    assert (options_digest(other) == options_digest(OutputOptions())) is (name in NOT_IN_KEYS)


@pytest.mark.parametrize("name", names(AnnotationPolicy))
def test_options_of_annotations_decide_keys(name: str) -> None:
    """The same for the annotation policy."""
    policy = AnnotationPolicy(**{name: OTHER[name]})
    assert options_digest(OutputOptions(annotations=policy)) != options_digest(OutputOptions())


@dataclass
class LaterOptions(EncodeOptions):
    """Options of a later version."""

    tint: int = 0
    """An option whose default changes no byte."""


def test_a_new_option_rebuilds_nothing() -> None:
    """An option at its default is in no key, so upgrading to a version that has it rebuilds nothing."""
    assert options_digest(OutputOptions(encode=LaterOptions())) == options_digest(OutputOptions())
    assert options_digest(OutputOptions(encode=LaterOptions(tint=1))) != options_digest(OutputOptions())
    assert options_digest(OutputOptions(encode=LaterOptions(jpeg_quality=90))) == options_digest(
        OutputOptions(encode=EncodeOptions(jpeg_quality=90))
    )


def test_another_format_rebuilds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key covers the version of the bytes."""
    before = options_digest(OutputOptions())
    monkeypatch.setattr(fingerprint, "SHARD_FORMAT", fingerprint.SHARD_FORMAT + 1)
    assert options_digest(OutputOptions()) != before


def test_the_format_is_stated_once() -> None:
    """`index.json` has it as `format_version`, and not among the options."""
    assert "format" not in options_as_dict(OutputOptions())["encode"]


def test_names_of_parts_decide_keys() -> None:
    """Keys cover the keypoint names of each class, but not the order in which classes are listed."""
    output_options = OutputOptions()
    names: list[dict[int, tuple[str, ...]]] = [
        {},
        {1: ("nose",)},
        {2: ("nose",)},
        {1: ("tail",)},
        {1: ("nose", "tail")},
    ]
    assert len({options_digest(output_options, each) for each in names}) == len(names)
    both = {1: ("nose",), 2: ("tail",)}
    assert options_digest(output_options, both) == options_digest(output_options, dict(reversed(both.items())))


def test_what_decides_a_fingerprint() -> None:
    """The keys in their order, the pixel codec and the compressor; 64 hexadecimal digits."""
    first, second = b"a" * KEY_SIZE, b"b" * KEY_SIZE
    made = [
        shard_fingerprint(first + second),
        shard_fingerprint(second + first),
        shard_fingerprint(first),
        shard_fingerprint(first, "pillow 1"),
        shard_fingerprint(first, "pillow 2"),
        shard_fingerprint(first, None, "zlib 1"),
        shard_fingerprint(first, "pillow 1", "zlib 1"),
        shard_fingerprint(first, "pillow 1", "zlib 2"),
    ]
    assert len(set(made)) == len(made)
    assert all(len(bytes.fromhex(each)) == 32 for each in made)


@pytest.mark.parametrize(
    ("turbo", "expected"),
    [("3.1.2", "pillow 13, libjpeg-turbo 3.1.2"), (None, "pillow 13, libjpeg 9.6")],
)
def test_what_encodes_pixels(monkeypatch: pytest.MonkeyPatch, turbo: str | None, expected: str) -> None:
    """Pillow and the libjpeg it was built with, each with its version: all decide the bytes of a JPEG."""
    monkeypatch.setattr("PIL.features.check_feature", lambda name: turbo is not None and name == "libjpeg_turbo")
    monkeypatch.setattr("PIL.features.version_feature", {"libjpeg_turbo": turbo}.get)
    monkeypatch.setattr("PIL.features.version_codec", {"jpg": "9.6"}.get)
    monkeypatch.setattr("PIL.features.version_module", {"pil": "13"}.get)
    pixel_codec.cache_clear()
    try:
        assert pixel_codec() == expected
    finally:
        pixel_codec.cache_clear()
