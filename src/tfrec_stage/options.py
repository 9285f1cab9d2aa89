"""Checks that all groups of options share: each refuses a value with one line that names the option.

An option class calls `check_types` first, so its own checks can rely on the types. Whatever creates options (Hydra,
`create`, an index) only converts values; the option classes check them.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import fields
from enum import Enum, EnumType
from functools import cache
from types import UnionType
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints

from tfrec_stage.errors import ConfigError

LARGEST_SEED: Final = 2**63 - 1
"""Seeds are 0 to this, so that any program can read them back."""

_NOUNS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}
_SHOWN: Final = 80
"""How many characters of a refused value are shown."""


def check_types(options: Any, group: str = "", unset: object = None) -> None:
    """Check every option of a dataclass against its annotated type; a bool is not accepted as a number.

    Args:
        options: an instance of a dataclass.
        group: prefix of its options in messages: `encode` for `encode.seed`.
        unset: a value that means "not given yet", for any option.

    Raises:
        ConfigError: an option has a value of another type.
    """
    kinds = _kinds(cast("Hashable", type(options)))
    for option in fields(options):
        value, kind = getattr(options, option.name), kinds[option.name]
        is_unset = isinstance(unset, str) and isinstance(value, str) and value == unset
        if not is_unset and not _fits(value, kind):
            name = f"{group}.{option.name}" if group else option.name
            raise ConfigError(f"{name}: expected {_describe(kind)}, but got {show(value)}")


def check_within(name: str, value: int, low: int, high: int) -> None:
    """Refuse anything but a whole number from `low` to `high`, both included."""
    if type(value) is not int or not low <= value <= high:
        raise ConfigError(f"{name}: expected {low:,} to {high:,}, but got {show(value)}")


def check_text(name: str, text: str) -> None:
    """Refuse text that cannot be stored as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name}: expected text that UTF-8 can hold, but got {show(text)}") from None


def show(value: object) -> str:
    """Return a refused value for an error message, on one short line."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print numbers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


@cache
def _kinds(options: Hashable) -> dict[str, Any]:
    return get_type_hints(options)


def _fits(value: object, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in {Union, UnionType}:
        return any(_fits(value, choice) for choice in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if kind is float:
        return type(value) in {int, float}
    # A bool is an instance of int as well: `num_shards: true` would pass as 1.
    return type(value) is kind if kind in {bool, int} else isinstance(value, kind)


def _describe(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return " or ".join("null" if choice is type(None) else _describe(choice) for choice in arguments)
    if origin is list:
        return f"a list of {_names(arguments[0]) or _plural(arguments[0])}"
    if origin is dict:
        return "a mapping such as {a: b}" if arguments[1] is Any else f"a mapping of names to {_plural(arguments[1])}"
    return f"one of {_names(kind)}" if _names(kind) else _NOUNS.get(kind, f"{kind.__name__} options")


def _names(kind: Any) -> str:
    """Return the names of an enum's members; empty for other types."""
    return ", ".join(member.name for member in cast("Iterable[Enum]", kind)) if isinstance(kind, EnumType) else ""


def _plural(kind: Any) -> str:
    return {int: "whole numbers", float: "numbers", str: "texts"}.get(kind, "groups of options")
