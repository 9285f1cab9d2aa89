"""The options that decide which keys a record has."""

from enum import Enum

import pytest

from tfrec_stage.schema.options import AreaUnit, Profile, SchemaOptions


def test_each_profile_is_active_once() -> None:
    """`od_api_keys` is one of the profiles; they keep the order in which they were given."""
    both = SchemaOptions(profiles=[Profile.tfds, Profile.od_api], od_api_keys=True)
    assert both.active_profiles == (Profile.tfds, Profile.od_api)
    assert SchemaOptions(od_api_keys=True).active_profiles == (Profile.od_api,)
    assert SchemaOptions().active_profiles == ()


@pytest.mark.parametrize("options", [AreaUnit, Profile])
def test_values_of_options_equal_their_names(options: type[Enum]) -> None:
    """Fingerprints contain the values and the command line takes the names, so both have to be the same."""
    assert [each.value for each in options] == [each.name for each in options]
