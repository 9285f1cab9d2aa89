"""The keys that a reader may ask for."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from tfrec_stage.errors import ConfigError
from tfrec_stage.schema.fields import FIELDS, OD_API_FIELDS, TFDS_FIELDS, Field

KNOWN: Final[Mapping[str, Field]] = {field.key: field for field in (*FIELDS, *OD_API_FIELDS, *TFDS_FIELDS)}
"""Every key that a record can have."""
EVERYWHERE: Final = tuple(field.key for field in FIELDS)
"""The keys that every record has."""


def check_fields(fields: Iterable[str], known: Collection[str] = KNOWN) -> tuple[str, ...]:
    """The keys asked for, each once.

    Args:
        fields: keys, for example `["image/encoded", "image/class/label"]`.
        known: keys that may be asked for.

    Raises:
        ConfigError: a key is unknown, or there is none; the text names the nearest known one.
    """
    if isinstance(fields, str):
        raise ConfigError(f"fields: expected a list of keys, but got the text {fields!r}; write [{fields!r}]")
    keys = tuple(dict.fromkeys(fields))
    if not keys:
        raise ConfigError("fields: expected at least one key, but got none; leave fields out to get all")
    for key in keys:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"fields: expected keys of the schema, but got {key!r}: {hint}")
    return keys
