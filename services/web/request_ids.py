"""Ids of requests and predictions: 32 hex digits that sort by the time at which they were made.

They are UUIDs of version 7 (RFC 9562, section 5.7) without dashes: 48 bits of Unix time in milliseconds, then 72 random bits and
the eight that say so. A database appends such keys to its indexes; random ones are written all over them.

Random digits are drawn from the system for many ids at once: each draw lets go of the interpreter, and waits to have it back.
"""

from __future__ import annotations

import os
import time
from collections import deque

RANDOM = 15  # of an id's last digits all are random
_DIGITS = 18  # that are drawn for an id
_AT_ONCE = 256
_drawn: deque[str] = deque()
os.register_at_fork(after_in_child=_drawn.clear)  # nobody gets the same twice


def fresh() -> str:
    """A new id."""
    try:
        digits = _drawn.popleft()
    except IndexError:
        _drawn.extend(_draw(_AT_ONCE))
        digits = _draw(1)[0]
    return f"{time.time_ns() // 1_000_000:012x}7{digits[:3]}8{digits[3:]}"


def several(number: int) -> list[str]:
    """``number`` new ids."""
    moment = f"{time.time_ns() // 1_000_000:012x}7"
    text = os.urandom(number * _DIGITS // 2).hex()
    return [f"{moment}{text[i : i + 3]}8{text[i + 3 : i + _DIGITS]}" for i in range(0, len(text), _DIGITS)]


def _draw(number: int) -> list[str]:
    digits = os.urandom(number * _DIGITS // 2).hex()
    return [digits[i : i + _DIGITS] for i in range(0, len(digits), _DIGITS)]
