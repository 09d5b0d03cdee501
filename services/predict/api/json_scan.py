"""Scans JSON without decoding it: how much memory its content would take, how many objects it has, and which keys it repeats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import numpy as np

from modelbundle.schema import MAX_TEXT
from modelbundle.validation.problems import MOST_PROBLEMS, Problem, escape

BLOCK = 1 << 20  # bytes that are looked at together
LONGEST_KEY = 64  # characters of a key in a pointer
REPEATED = "occurs more than once in this object"
_STRING = rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'  # a string that is not closed ends with the text
_MARK = re.compile(_STRING + rb"|[{\[,:]", re.DOTALL)
_TOKEN = re.compile(_STRING + rb"(?:\s*+:)?|[{}\[\],]", re.DOTALL)
_ASTRAL = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")
# The bytes that CPython takes for each: an object with its first key, an array, a value in either, a further key, a string.
_BYTES = {b"{": 200, b"[": 104, b",": 41, b":": 56, b'"': 28}  # a string has two marks


def weigh(body: bytes, most_objects: float, most_bytes: int) -> tuple[int, int]:
    """The objects in ``body``, and the bytes that its content takes when it is decoded; neither is less than the truth.

    Where a limit is exceeded, this stops there. Marks inside strings count only until they would exceed a limit.
    """
    width = _width(body)
    objects, size = occurrences(body, b"{"), width * len(body)
    size += sum(occurrences(body, mark) * each for mark, each in _BYTES.items())
    if objects <= most_objects and size <= most_bytes:
        return objects, size
    objects = size = 0
    costs = {mark[0]: each for mark, each in _BYTES.items()}
    for token in _MARK.finditer(body):
        begin, end = token.span()
        mark = body[begin]
        size += costs[mark]
        if mark == 0x22:
            size += costs[mark] + width * (end - begin)
        elif mark == 0x7B:
            objects += 1
        if objects > most_objects or size > most_bytes:
            break
    return objects, size


def _width(body: bytes) -> int:
    """The most bytes that one byte of a string becomes: CPython gives every character of a string the same width."""
    if body.isascii() and (b"\\" not in body or b"\\u" not in body):  # one byte is found much faster than two
        return 1
    return 4 if _ASTRAL.search(body) else 2


def occurrences(body: bytes, mark: bytes) -> int:
    """How often the one byte ``mark`` is in ``body``; ``bytes.count`` is slow where it is dense."""
    if len(body) < 4096:
        return body.count(mark)
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == mark[0]))


def quotation_marks(body: bytes) -> int:
    """The quotation marks in valid JSON that begin or end a string."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return occurrences(body, b'"')


def most_keys(body: bytes) -> int | None:
    """A number that the keys in valid JSON do not exceed; None where that cannot be told at a glance.

    A key is a string, so a quotation mark is before its colon: at once where no colon of the body follows white space. Colons
    inside strings may count too.
    """
    count = 0
    for begin in range(0, len(body), BLOCK):
        block = np.frombuffer(body, np.uint8)[begin : begin + BLOCK + 1]  # the last byte is the next block's first
        before = block[:-1][block[1:] == ord(":")]
        if (before <= ord(" ")).any():
            return None
        count += int(np.count_nonzero(before == ord('"')))
    return count


def repeated_keys(body: bytes) -> list[Problem]:
    """The keys that an object in JSON, or in the beginning of it, has more than once.

    Stops at the hundredth time (:data:`MOST_PROBLEMS`) that a key is met again.
    """
    found: dict[str, Problem] = {}
    with suppress(ValueError, IndexError):  # this is not JSON; the parser says where
        for pointer in islice(_met_again(body), MOST_PROBLEMS):
            found[pointer] = Problem(pointer, REPEATED)
    return list(found.values())


class _Container:
    """An object or array that has begun: its keys (None for an array), and the key or position of the value that comes."""

    __slots__ = ("key", "keys", "pointer", "position")

    def __init__(self, pointer: str, keys: set[bytes] | None) -> None:
        self.pointer = pointer
        self.keys = keys
        self.key = b""
        self.position = 0

    def inner(self) -> str:
        """The pointer of that value; of this container where it would be too long."""
        if len(self.pointer) > MAX_TEXT:
            return self.pointer
        key = self.key.decode("utf-8", "surrogatepass")[:LONGEST_KEY]
        return f"{self.pointer}/{self.position if self.keys is None else escape(key)}"


def _met_again(body: bytes) -> Iterator[str]:
    above: list[_Container] = []
    here = _Container("", None)
    for token in _TOKEN.finditer(body):
        text = token[0]
        if text.endswith(b":"):
            key = text[1 : text.rindex(b'"')]
            if b"\\" in key:
                key = json.loads(text[:-1]).encode("utf-8", "surrogatepass")
            here.key = key
            if here.keys is None:
                raise ValueError("not JSON")
            if key in here.keys:
                yield here.inner()
            here.keys.add(key)
        elif text in (b"{", b"["):
            above.append(here)
            here = _Container(here.inner() if len(above) > 1 else "", set() if text == b"{" else None)
        elif text in (b"}", b"]"):
            here = above.pop()
        elif text == b",":
            here.position += 1
