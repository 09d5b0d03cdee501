"""Reading a request's body: its type, its size, the time it may take, and strict JSON.

msgspec parses JSON in microseconds but keeps the last of two equal keys. Every key and every string takes two quotation marks, so
no key was dropped where the body has twice as many marks as the document has keys and strings. Otherwise (a repeated key, or an
escaped mark in a string) the standard library parses the body again and every pair is checked.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import Counter as Tally
from itertools import chain
from typing import Any

import msgspec
from flask import Request

from modelbundle.validation.problems import Problem, escape
from services.web.problem import Refused

WATCH = 0.5  # seconds between looks at bodies that are late
DRAIN = 4  # times the largest body: what is beyond is not even taken to be thrown away
CHUNK = 1 << 16
_DEEPEST = 32


class BodyReader:
    """Reads bodies, and ends those that arrive too slowly.

    A socket's own time-out restarts with every byte, so a watch shuts the reading side of a connection whose body is
    overdue; the answer can still be written.
    """

    def __init__(self, max_bytes: int, seconds: float) -> None:
        self.max_bytes = max_bytes
        self.seconds = seconds
        self._waiting: dict[int, tuple[float, socket.socket]] = {}
        self._watch: threading.Thread | None = None

    def read(self, request: Request) -> bytes:
        """The whole body; raises :class:`Refused` with 408, 411 or 413, or 400 for a body that was cut short."""
        environ = request.environ
        length = request.content_length
        chunked = environ.get("HTTP_TRANSFER_ENCODING") is not None
        if length is None and not chunked:
            return b""
        connection = environ.get("gunicorn.socket")
        if length is not None and length > self.max_bytes:
            if (
                connection is not None and length <= DRAIN * self.max_bytes
            ):  # a client that is still sending does not read the answer
                self._watched(connection, Discarded(environ["wsgi.input"]), length)
            raise self._too_large()
        stream: Any = environ["wsgi.input"]
        limit = self.max_bytes + 1 if length is None else length
        try:
            if connection is None:
                data, late = bytes(stream.read(limit)), False
            else:
                data, late = self._watched(connection, stream, limit)
        except Exception:  # gunicorn's parser has one for each way in which chunks can be wrong
            if connection is not None:
                connection.end_after_answer()
            raise Refused(400, "The body is not chunked as HTTP/1.1 says.") from None
        if late:
            raise Refused(
                408, f"The body did not arrive within {self.seconds:g} seconds.", headers={"Connection": "close"}
            )
        if len(data) > self.max_bytes:
            raise self._too_large()
        if length is not None and len(data) < length:
            raise Refused(400, "The body is shorter than Content-Length says.", headers={"Connection": "close"})
        return data

    def _watched(self, connection: socket.socket, stream: Any, limit: int) -> tuple[bytes, bool]:
        if self._watch is None:
            self._start()
        deadline = time.monotonic() + self.seconds
        mine = threading.get_ident()
        self._waiting[mine] = (deadline, connection)
        try:
            data = bytes(stream.read(limit))
        except OSError:
            data = b""
        finally:
            self._waiting.pop(mine, None)
        return data, len(data) < limit and time.monotonic() >= deadline

    def _start(self) -> None:
        self._watch = threading.Thread(target=self._end_the_late, name="bodies", daemon=True)
        self._watch.start()

    def _end_the_late(self) -> None:
        while True:
            time.sleep(WATCH)
            now = time.monotonic()
            for deadline, connection in list(self._waiting.values()):
                if now > deadline:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)

    def _too_large(self) -> Refused:
        detail = f"The body is larger than {self.max_bytes} bytes."
        return Refused(413, detail, headers={"Connection": "close"}, max_bytes=self.max_bytes)


class Discarded:
    """A stream that reads to the end and keeps nothing."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def read(self, limit: int) -> bytes:
        """Nothing, after ``limit`` bytes were read."""
        while limit > 0 and (chunk := self.stream.read(min(limit, CHUNK))):
            limit -= len(chunk)
        return b""


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
        problems.append(Problem(f"{pointer}/{escape(value.key[:64])}", "occurs more than once in this object"))
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
