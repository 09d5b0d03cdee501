"""Reading a request's body: its type, its size, the time it may take, and strict JSON.

msgspec parses JSON in microseconds but keeps the last of two equal keys. No key was dropped where the body has no more keys than
the document: most bodies show it by their colons after quotation marks. Every key and every string takes two quotation marks, so
no key was dropped either where the body has twice as many marks as the document has keys and strings. Otherwise a scan of the
body names the keys that are repeated.

Decoded content may take thirty times the memory of its text. A large body is therefore weighed first, and decoded only within the
worker's budget.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
from flask import Request

from modelbundle.validation.problems import Problem
from modelbundle.validation.record_decoder import Unparsed
from services.predict.api.json_scan import most_keys, occurrences, quotation_marks, repeated_keys, weigh
from services.predict.serving.memory_budget import TIMES_BODY, MemoryBudget
from services.web.problem import Refused

ENVELOPE = 8  # objects around the rows
REGULAR = 1 << 13  # bytes of a list from which on it pays to try whether all records have the same fields
SMALL = 1 << 16  # bytes of a body whose content asks for no memory


class BodyReader:
    """Reads bodies that the server has collected (:mod:`services.predict.server.request_collector`).

    It has not collected a body that came too slowly, or that is too large: reading that raises an error.
    """

    def __init__(self, max_bytes: int, seconds: float, budget: MemoryBudget | None = None) -> None:
        self.max_bytes = max_bytes
        self.seconds = seconds
        self.budget = budget or MemoryBudget(TIMES_BODY * max_bytes)

    def read(self, request: Request) -> bytes:
        """The whole body; raises :class:`Refused` with 408, 411 or 413, or 400 for a body that was cut short."""
        environ = request.environ
        length = request.content_length
        if length is None and environ.get("HTTP_TRANSFER_ENCODING") is None:
            return b""
        if length is not None and length > self.max_bytes:
            raise self._too_large()
        try:
            data = bytes(environ["wsgi.input"].read(self.max_bytes + 1 if length is None else length))
        except TimeoutError:
            detail = f"The body did not arrive within {self.seconds:g} seconds."
            raise Refused(408, detail, headers={"Connection": "close"}) from None
        except OverflowError:
            raise self._too_large() from None
        except Exception:  # gunicorn's parser has one for each way in which chunks can be wrong
            if connection := environ.get("gunicorn.socket"):
                connection.end_after_answer()
            raise Refused(400, "The body is not chunked as HTTP/1.1 says.") from None
        if len(data) > self.max_bytes:
            raise self._too_large()
        if length is not None and len(data) < length:
            raise Refused(400, "The body is shorter than Content-Length says.", headers={"Connection": "close"})
        return data

    def admit(self, body: bytes, environ: dict[str, Any], size: int) -> None:
        """Claim ``size`` bytes for the content of a large body; raises :class:`Refused` with 413 or 503."""
        if len(body) > SMALL:
            self.claim(environ, size)

    def claim(self, environ: dict[str, Any], size: int) -> None:
        """Claim ``size`` bytes for content, however small its body is; raises :class:`Refused` with 413 or 503."""
        if size > self.budget.most:
            raise _too_costly(self.budget.most)
        self.budget.claim(environ, size)

    def reserve(self, body: bytes, environ: dict[str, Any], size: int) -> None:
        """Claim ``size`` bytes, or all that there are, for a large body that is read a little at a time; raises :class:`Refused`
        with 503."""
        if len(body) > SMALL:
            self.budget.claim(environ, size)

    def document(self, body: bytes, environ: dict[str, Any], most_rows: int | None = None, later: bool = False) -> Any:
        """:func:`parse`, within the budget; raises :class:`Refused` with 400, 413 or 503.

        ``most_rows``, where each row is an object, refuses a body that has more of them before it is decoded. ``later`` leaves
        a long list :class:`Unparsed`, for who has a schema.
        """
        if len(body) > SMALL:
            most = math.inf if most_rows is None else most_rows + ENVELOPE
            objects, size = weigh(body, most, self.budget.most)
            if objects > most or size > self.budget.most:
                if problems := repeated_keys(body[:SMALL]):
                    raise _repeated(problems)
                raise _too_many(most_rows) if objects > most else _too_costly(self.budget.most)
            self.budget.claim(environ, size)
        if later and len(body) > REGULAR and body.startswith(b"["):
            return Unparsed(body, parse, most_keys)
        return parse(body)

    def _too_large(self) -> Refused:
        detail = f"The body is larger than {self.max_bytes} bytes."
        return Refused(413, detail, headers={"Connection": "close"}, max_bytes=self.max_bytes)


def check_encoding(request: Request) -> None:
    """Raise :class:`Refused` with 415 where the body is compressed."""
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Refused(415, "The body must not be compressed.")


def check_type(request: Request) -> None:
    """Raise :class:`Refused` with 415 unless the body is declared as plain UTF-8 JSON."""
    if "HTTP_CONTENT_ENCODING" in request.environ:
        check_encoding(request)
    declared = request.environ.get("CONTENT_TYPE", "")
    if declared == "application/json":
        return
    kind = request.mimetype
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Refused(415, "Content-Type must be application/json.", headers={"Accept-Post": "application/json"})
    if request.mimetype_params.get("charset", "utf-8").lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise Refused(415, "JSON must be in UTF-8.")


def parse(body: bytes) -> Any:
    """The document in ``body``; raises :class:`Refused` with 400 and says at which byte it stops being JSON."""
    try:
        document = msgspec.json.decode(body)
    except msgspec.ValidationError:  # a number beyond float64: valid JSON, for the schema to refuse by name
        document = _by_standard_library(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, _why(body, error)) from None
    if (keys := _keys(document)) and keys == most_keys(body):
        return document  # there are no more keys in the body than in the document
    if occurrences(body, b'"') != 2 * _strings(document) and quotation_marks(body) != 2 * _all_strings(document):
        del document  # the search takes as much memory
        raise _repeated(repeated_keys(body))
    return document


def _keys(document: Any) -> int:
    """The keys in a list of records, without those of values; 0 for another document."""
    if type(document) is list and {*map(type, document)} == {dict}:
        return sum(map(len, document))
    if type(document) is dict and type(records := document.get("records")) is list:
        return len(document) + _keys(records)
    return 0


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


def _all_strings(document: Any) -> int:
    """Keys and string values in any document."""
    count, waiting = 0, [document]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            count += len(value)
            waiting += value.values()
        elif type(value) is list:
            waiting += value
        else:
            count += type(value) is str
    return count


def _by_standard_library(body: bytes) -> Any:
    def constant(_: str) -> float:
        raise ValueError("not JSON")

    try:
        return json.loads(body, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, _why(body, error)) from None


def _too_many(most_rows: int | None) -> Refused:
    detail = f"The body has more than {most_rows} objects; at most {most_rows} rows are accepted in one request."
    return Refused(413, detail, max_rows=most_rows)


def _too_costly(most: int) -> Refused:
    detail = f"The content of the body takes more than {most} bytes of memory. Send fewer rows at a time."
    return Refused(413, detail)


def _repeated(problems: Sequence[Problem]) -> Refused:
    errors = [{"pointer": problem.pointer, "detail": problem.detail} for problem in problems]
    return Refused(400, "An object names the same key twice.", errors)


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
