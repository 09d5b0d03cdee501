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
BYTES = 16  # of an id
_RANDOM_BYTES = 9  # that are drawn for an id
_VERSION, _VARIANT = (bytes(byte & 0x0F | digit << 4 for byte in range(256)) for digit in (7, 8))  # their first digit
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
    content = bytearray(os.urandom(number * BYTES))
    for place, byte in enumerate((time.time_ns() // 1_000_000).to_bytes(6)):  # all ids together, a byte at a time
        content[place::BYTES] = bytes((byte,)) * number
    content[6::BYTES] = content[6::BYTES].translate(_VERSION)
    content[8::BYTES] = content[8::BYTES].translate(_VARIANT)
    return content.hex(" ", BYTES).split()


def _draw(number: int) -> list[str]:
    return os.urandom(number * _RANDOM_BYTES).hex(" ", _RANDOM_BYTES).split()
