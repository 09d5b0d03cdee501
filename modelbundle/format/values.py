"""Checks of the values in a bundle's JSON. Each raises :class:`FormatError`, which names the place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from modelbundle.errors import FormatError

MOST = 1e300  # of a number, so that sums and widths of ranges stay finite
MOST_DEPTH = 24
TITLE, WORDS, NAME = 300, 5000, 1000  # characters of a title, of a sentence or a description, and of a name
MOST_FACTS, FACT_DEPTH = 1000, 6  # of an object that its author fills freely
INT64 = 1 << 63
CONTROLS = frozenset(map(chr, (*range(9), 11, 12, *range(14, 32), *range(127, 160), 0x2028, 0x2029)))


def loads(where: str, raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``; raises :class:`FormatError` for other JSON.

    All its numbers are finite, its texts can be encoded, and it is nested :data:`MOST_DEPTH` times at most.
    """
    try:
        data = json.loads(raw.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
        if isinstance(data, dict):
            _walk(data)
    except (ValueError, RecursionError):
        raise FormatError(where, "not valid JSON of finite numbers and valid Unicode, or nested too deep") from None
    if not isinstance(data, dict):
        raise FormatError(where, "not a JSON object")
    return data


def _refuse(_: str) -> float:
    raise ValueError("not a finite number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


def _whole(digits: str) -> float:
    _finite(digits)
    return int(digits)


def _walk(data: Any, depth: int = 0) -> None:
    if depth > MOST_DEPTH:
        raise ValueError("nested too deep")
    if isinstance(data, str):
        data.encode()  # a lone surrogate has no encoding
    elif isinstance(data, dict):
        for name, value in data.items():
            name.encode()
            _walk(value, depth + 1)
    elif isinstance(data, list):
        for value in data:
            if not isinstance(value, (int, float)):
                _walk(value, depth + 1)


def is_number(value: object, low: float = -MOST, high: float = MOST) -> bool:
    """Whether ``value`` is a number, not a truth value, from ``low`` to ``high``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def is_count(value: object) -> bool:
    """Whether ``value`` is a whole number that every reader of JSON keeps."""
    return type(value) is int and 0 <= value < 1 << 53


def is_label(value: object) -> bool:
    """Whether ``value`` can be a class: a number of 64 bits, a truth value or a text."""
    if isinstance(value, int):
        return -INT64 <= value < INT64
    return is_number(value) or (isinstance(value, str) and len(value) <= NAME)


def text(where: str, name: str, value: object, most: int = WORDS) -> str:
    """``value`` as a text for people: of at most ``most`` characters, without control characters but tab and end of line."""
    if not isinstance(value, str):
        raise FormatError(where, f"{name} must be a string")
    if len(value) > most or not CONTROLS.isdisjoint(value):
        raise FormatError(where, f"{name} must have at most {most:,} characters, and no control characters")
    return value


def number(where: str, name: str, value: object, low: float = -MOST, high: float = MOST) -> float:
    """``value`` as a number from ``low`` to ``high``."""
    if not is_number(value, low, high):
        raise FormatError(where, f"{name} must be a number from {low:g} to {high:g}")
    assert isinstance(value, (int, float))
    return value


def optional(where: str, name: str, value: object, low: float = -MOST, high: float = MOST) -> float | None:
    """:func:`number`, or None."""
    return None if value is None else number(where, name, value, low, high)


def flag(where: str, name: str, value: object) -> bool:
    """``value`` as true or false."""
    if not isinstance(value, bool):
        raise FormatError(where, f"{name} must be true or false")
    return value


def facts(where: str, name: str, value: object, depth: int = 0) -> Mapping[str, Any]:
    """``value`` as an object that its author fills freely: with texts, numbers, truth values, null, and lists and objects of
    these."""
    if not isinstance(value, dict):
        raise FormatError(where, f"{name} must be an object")
    for key, entry in value.items():
        text(where, f"a name in {name}", key, TITLE)
        _fact(where, f"{name}.{key}" if len(key) < 50 else name, entry, depth + 1)
    return value


def _fact(where: str, name: str, value: object, depth: int) -> None:
    if depth > FACT_DEPTH or (isinstance(value, (dict, list)) and len(value) > MOST_FACTS):
        raise FormatError(where, f"{name} has too many entries, or is nested too deep")
    if isinstance(value, str):
        text(where, name, value)
    elif isinstance(value, dict):
        facts(where, name, value, depth)
    elif isinstance(value, list):
        for entry in value:
            _fact(where, name, entry, depth + 1)
    elif value is not None and not isinstance(value, bool):
        number(where, name, value)


def distinct(where: str, name: str, entries: Iterable[object]) -> None:
    """Check that no two of ``entries`` are equal."""
    listed = list(entries)
    if len(set(listed)) != len(listed):
        raise FormatError(where, f"{name} must be distinct")
