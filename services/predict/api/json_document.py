"""From bytes to a JSON document, strictly.

msgspec reads it in microseconds but keeps the last of two equal keys. Every key and every string takes two quotation marks, so
where the number of marks in the body is twice that of the keys and strings that came out, no key was dropped. Where it is not
(a repeated key, or an escaped mark in a string), the standard library reads the body again and looks at every pair.
"""

from __future__ import annotations

import json
from collections import Counter as Tally
from itertools import chain
from typing import Any

import msgspec

from modelbundle.validation.validator import Problem, escape
from services.web.problem import Refused

_DEEPEST = 32


def parse(body: bytes) -> Any:
    """The document in ``body``; raises :class:`Refused` with 400 and says at which byte it stops being JSON."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.ValidationError:  # a number beyond float64: valid JSON, for the schema to refuse by name
        return _strictly(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, _why(body, error)) from None
    if body.count(b'"') != 2 * _strings(document):
        return _strictly(body)
    return document


def _strings(document: Any) -> int:
    """Keys and string values in a flat document: a record, columns, or a list of records."""
    if type(document) is dict:
        count = len(document)
        for value in document.values():
            if type(value) is str:
                count += 1
            elif type(value) is list:
                count += _strings(value)
        return count
    if type(document) is list:
        if {*map(type, document)} == {dict}:
            values = chain.from_iterable(map(dict.values, document))
            return sum(map(len, document)) + [*map(type, values)].count(str)
        count = 0
        for value in document:
            if type(value) is dict:
                count += len(value) + [*map(type, value.values())].count(str)
            elif type(value) is str:
                count += 1
        return count
    return 1 if type(document) is str else 0


class _Repeated(dict[str, Any]):
    """An object that names a key twice; ``key`` is that key."""

    key = ""


def _strictly(body: bytes) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(found)
        if len(plain) == len(found):
            return plain
        marked = _Repeated(plain)
        marked.key = Tally(name for name, _ in found).most_common(1)[0][0]
        return marked

    def constant(_: str) -> float:
        raise ValueError("not JSON")

    try:
        document = json.loads(body, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, _why(body, error)) from None
    problems: list[Problem] = []
    _walk(document, "", problems, 0)
    if problems:
        raise Refused(
            400, "An object names the same key twice.", [{"pointer": p.pointer, "detail": p.detail} for p in problems]
        )
    return document


def _walk(value: Any, pointer: str, problems: list[Problem], depth: int) -> None:
    if depth > _DEEPEST or len(problems) >= 100:
        return
    if isinstance(value, _Repeated):
        problems.append(Problem(f"{pointer}/{escape(value.key[:64])}", "stands in this object more than once"))
    if isinstance(value, dict):
        for name, inner in value.items():
            _walk(inner, f"{pointer}/{escape(name[:64])}", problems, depth + 1)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _walk(inner, f"{pointer}/{i}", problems, depth + 1)


def _why(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "The body is empty; it must be JSON."
    if body.startswith(b"\xef\xbb\xbf"):
        return "The body begins with a byte-order mark; JSON must not."
    if isinstance(error, RecursionError):
        return "The body is nested too deeply."
    if isinstance(error, UnicodeDecodeError) or "utf-8" in str(error).lower():
        return "The body is not valid UTF-8."
    where = str(error).rpartition("(byte ")[2].rstrip(")")
    return f"The body is not valid JSON (byte {where})." if where.isdigit() else "The body is not valid JSON."
