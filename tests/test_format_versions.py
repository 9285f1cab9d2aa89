"""Only the format versions that this program writes are accepted."""

import pytest

from tfrec_stage.errors import ConfigError
from tfrec_stage.format_versions import check_format


def test_the_format_that_is_written() -> None:
    """The current version is accepted."""
    check_format("encode.format", 3, 3)


@pytest.mark.parametrize("wanted", [2, 4, True, 1.0, "1", None])
def test_another_format(wanted: object) -> None:
    """Any other value is refused in one line, also an equal one of another type: DVC tells them apart."""
    written = 1 if wanted in (True, 1.0, "1") else 3
    with pytest.raises(ConfigError) as caught:
        check_format("encode.format", wanted, written)
    assert str(caught.value).startswith(
        f"encode.format: expected {written}, the format that the installed tfrec-stage writes"
    )
    assert "\n" not in str(caught.value)
