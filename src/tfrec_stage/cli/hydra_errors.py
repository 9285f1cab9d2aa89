"""Errors of Hydra and OmegaConf, explained in one line: the key, what is wrong with it, and what to do."""

import re
from dataclasses import fields, is_dataclass
from difflib import get_close_matches

from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException


def explain(error: Exception, schema: type) -> str:
    """Return one line for an error of Hydra or OmegaConf.

    Args:
        error: what was raised.
        schema: dataclass of all options, for suggestions.
    """
    cause, text = _innermost(error), str(error)
    if (unknown := re.search(r"Could not override '([^']+)'", text)) and "not in" in str(cause):
        return unknown_option(unknown[1], schema)
    if missing := re.search(r"Could not find '(.+)/(.+)'\s+Available options in '.+':\s+((?:\t.+\s)+)", text):
        return f"{missing[1]}: expected one of {', '.join(missing[3].split())}, but got {missing[2]!r}"
    if isinstance(cause, InterpolationKeyError) and (key := re.search(r"key '(splits\..+)' not found", str(cause))):
        return f"params.yaml has no {key[1]}; add it there, or give num_shards=N"
    return _one_line(cause if isinstance(cause, OmegaConfBaseException) else error)


def unknown_option(key: str, schema: type) -> str:
    """Return one line for an option that does not exist, with the nearest one that does."""
    near = get_close_matches(key, _known_keys(schema, ""), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "python -m tfrec_stage --cfg job shows all"
    return f"unknown option {key!r}: {hint}"


def _one_line(error: BaseException) -> str:
    # OmegaConf appends lines with the key and links; the key alone is useful, in front.
    message = " ".join(re.split(r"\s+full_key:|\s+See https?:", str(error))[0].split())
    message = message.replace(
        "Invalid value assigned: str is not a ListConfig, list or tuple.", "expected a list: [a, b]"
    )
    key = getattr(error, "full_key", None)
    return f"{key}: {message}" if key and not message.startswith(key) else message


def _known_keys(schema: type, path: str) -> list[str]:
    keys = []
    for option in fields(schema):
        keys.append(f"{path}{option.name}")
        if isinstance(option.type, type) and is_dataclass(option.type):
            keys += _known_keys(option.type, f"{path}{option.name}.")
    return keys


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
