"""The versions of what this program writes."""

import pytest

from tfrec_stage.errors import ConfigError
from tfrec_stage.format_versions import check_format


def test_the_format_that_is_made() -> None:
    """It is taken."""
    check_format("encode.format", 3, 3)


@pytest.mark.parametrize("wanted", [2, 4, True, 1.0, "1", None])
def test_another_format(wanted: object) -> None:
    """Every other is refused, what only equals it included, since DVC tells them apart; one line says what to do."""
    made = 1 if wanted in (True, 1.0, "1") else 3
    with pytest.raises(ConfigError) as caught:
        check_format("encode.format", wanted, made)
    assert str(caught.value).startswith(
        f"encode.format: expected {made}, the format that the installed tfrec-stage writes"
    )
    assert "\n" not in str(caught.value)
