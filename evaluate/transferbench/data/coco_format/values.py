"""What one key of an entry may hold, and what is wrong when it holds something else."""

import json
import math
from collections.abc import Mapping
from typing import Any

SHOWN = 60
"""Characters that are shown of a value."""
FLAGS = {0: False, 1: True, "0": False, "1": True}
"""What a flag is written as; a table's export has text."""


class EntryError(ValueError):
    """What is wrong with an entry, said as the end of a sentence about it."""


def shown(value: Any) -> str:
    """A value as it stands in a JSON file: text in quotes, cut where it is long."""
    text = json.dumps(value, default=list)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def required(entry: Mapping[str, Any], key: str) -> Any:
    """What is under a key.

    Raises:
        EntryError: when nothing is, or null.
    """
    value = entry.get(key)
    if value is None:
        raise EntryError(f"has no {key}")
    return value


def text(entry: Mapping[str, Any], key: str) -> str:
    """A name.

    Raises:
        EntryError: when it is no text, or none that can be written.
    """
    value = required(entry, key)
    if not isinstance(value, str) or not value.encode(errors="ignore").decode() == value:
        raise EntryError(f"has the {key} {shown(value)}; expected text")
    return value


def identifier(entry: Mapping[str, Any], key: str) -> int | str:
    """An id that equals others whether it is written as a number or as text: `7`, `7.0` and `"7"` are one.

    Raises:
        EntryError: when it is neither.
    """
    value = required(entry, key)
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        is_number = value.isascii() and value.lstrip("-").isdigit() and len(value) < SHOWN
        return int(value) if is_number and str(int(value)) == value else value
    raise EntryError(f"has the {key} {shown(value)}; expected a whole number or text")


def side(entry: Mapping[str, Any], key: str) -> int:
    """A height or width in pixels.

    Raises:
        EntryError: when it is no whole number above 0.
    """
    value = identifier(entry, key)
    if isinstance(value, str) or value < 1:
        raise EntryError(f"has the {key} {shown(entry[key])}; expected whole pixels, at least 1")
    return value


def real(value: Any, key: str) -> float:
    """A finite number.

    Raises:
        EntryError: when it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise EntryError(f"has {shown(value)} in its {key}; expected finite numbers")
    return number


def flag(entry: Mapping[str, Any], key: str) -> bool:
    """Whether an entry is marked; not where the key is missing.

    Raises:
        EntryError: when it is neither 0 nor 1.
    """
    value = entry.get(key)
    try:
        return False if value is None else FLAGS[value]
    except (KeyError, TypeError):
        raise EntryError(f"has {key} {shown(value)}; expected 0 or 1") from None
