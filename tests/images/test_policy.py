"""Options of images are checked when they are created."""

import pytest

from tfrec_stage.errors import ConfigError
from tfrec_stage.images.policy import ImagePolicy, Verify


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"jpeg_quality": 0}, "encode.jpeg_quality"),
        ({"jpeg_quality": 101}, "encode.jpeg_quality"),
        ({"jpeg_quality": True}, "encode.jpeg_quality"),
        ({"jpeg_quality": "95"}, "encode.jpeg_quality"),
        ({"background": [0, 0]}, "encode.background"),
        ({"background": [0, 0, 0, 0]}, "encode.background"),
        ({"background": [0, 0, 256]}, "encode.background"),
        ({"background": [-1, 0, 0]}, "encode.background"),
        ({"background": [0, True, 0]}, "encode.background"),
        ({"background": [0, 0, 0.5]}, "encode.background"),
        ({"verify": "decode"}, "encode.verify"),
    ],
)
def test_out_of_range(options, key):
    """The message has the key, what was expected and what it is."""
    with pytest.raises(ConfigError, match=f"^{key}: expected .* but got "):
        ImagePolicy(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"jpeg_quality": 1},
        {"jpeg_quality": 100},
        {"background": [0, 0, 0]},
        {"background": [255, 0, 255]},
        {"verify": Verify.structure},
    ],
)
def test_within_range(options):
    """The limits of each range are allowed."""
    policy = ImagePolicy(**options)
    assert {name: getattr(policy, name) for name in options} == options


def test_values_equal_their_names():
    """Fingerprints contain the values and the command line takes the names, so both have to be the same."""
    assert [each.value for each in Verify] == [each.name for each in Verify]


def test_defaults():
    """By default images are decoded, the quality is 95 and the background white."""
    policy = ImagePolicy()
    assert (policy.verify, policy.jpeg_quality, policy.background) == (Verify.decode, 95, [255, 255, 255])
