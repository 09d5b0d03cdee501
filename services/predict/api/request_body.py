"""Reading a request's body: its type, its size, and the time it may take."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

from flask import Request

from services.web.problem import Refused

WATCH = 0.5  # seconds between looks at bodies that are late
DRAIN = 4  # times the largest body: what is beyond is not even taken to be thrown away
CHUNK = 1 << 16


class Bodies:
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
            if connection is not None and length <= DRAIN * self.max_bytes:  # who is still sending hears no answer
                self._watched(connection, Discarded(environ["wsgi.input"]), length)
            raise self._too_large()
        stream: Any = environ["wsgi.input"]
        limit = self.max_bytes + 1 if length is None else length
        if connection is None:
            data = bytes(stream.read(limit))
            late = False
        else:
            data, late = self._watched(connection, stream, limit)
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


def check_type(request: Request) -> None:
    """Raise :class:`Refused` with 415 unless the body is declared as plain UTF-8 JSON."""
    if request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Refused(415, "The body must not be compressed.")
    declared = request.environ.get("CONTENT_TYPE", "")
    if declared == "application/json":
        return
    kind = request.mimetype
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Refused(415, "Content-Type must be application/json.", headers={"Accept-Post": "application/json"})
    if request.mimetype_params.get("charset", "utf-8").lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise Refused(415, "JSON must be in UTF-8.")
