"""What every request passes on its way in and out: an id, a bound on work, one log line, one measurement.

It is WSGI middleware, not Flask hooks, so that it holds for whatever happens inside, and costs microseconds.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec

from services import jsonlog

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_encode = msgspec.json.encode
SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
)
PROBES = frozenset({"/healthz", "/readyz"})
BUSY = b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Too much load; try again.","errors":[]}'


class Edge:
    """Wraps a WSGI application. ``observe(environ, status, seconds)`` is called for each finished request."""

    def __init__(
        self,
        app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]],
        max_in_flight: int,
        observe: Callable[[WSGIEnvironment, int, float], None] | None = None,
    ) -> None:
        self.app = app
        self.max_in_flight = max_in_flight
        self.observe = observe
        self.in_flight: deque[None] = deque()  # its append and pop need no lock
        self.waiting: Callable[[], int] = lambda: 0  # requests that wait for a thread of this worker

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        began = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if given and _ID.fullmatch(given) else os.urandom(16).hex()
        environ["request.id"] = request_id
        status = 0

        def start(code: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status
            status = int(code[:3])
            headers.append(("X-Request-Id", request_id))
            headers.extend(SECURITY_HEADERS)
            return start_response(code, headers, exc_info)

        bounded = environ["REQUEST_METHOD"] == "POST"
        if bounded and len(self.in_flight) + self.waiting() >= self.max_in_flight:
            environ["request.shed"] = True
            headers = [("Content-Type", "application/problem+json"), ("Retry-After", "1")]
            start("503 Service Unavailable", headers)
            body: Iterable[bytes] = [BUSY]
        elif bounded:
            self.in_flight.append(None)
            try:
                body = self.app(environ, start)
            finally:
                self.in_flight.pop()
        else:
            body = self.app(environ, start)
        self._record(environ, request_id, status, time.perf_counter() - began)
        return body

    def _record(self, environ: WSGIEnvironment, request_id: str, status: int, seconds: float) -> None:
        if self.observe is not None:
            self.observe(environ, status, seconds)
        path = environ.get("PATH_INFO", "")
        if status == 200 and path in PROBES:
            return  # every half second from each prober; what they find is in the switch's own lines
        line = {
            "time": jsonlog.now(),
            "level": "error" if status == 500 else "info",
            "event": "request",
            "request_id": request_id,
            "method": environ["REQUEST_METHOD"],
            "path": path[:200],
            "status": status,
            "ms": round(seconds * 1000, 3),
            **environ.get("request.facts", {}),
        }
        jsonlog.write(_encode(line) + b"\n")
