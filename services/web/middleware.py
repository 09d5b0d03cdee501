"""The middleware of every request: it gives an id, reads the trace, bounds the work, writes one log line and measures once.

It is WSGI middleware, not Flask hooks, so that it holds for whatever happens inside, and costs microseconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec

from services.web import json_logging, problem
from services.web.hosts import AllowedHosts
from services.web.request_ids import fresh

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_encode = msgspec.json.encode
SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
PLAIN = (("Cache-Control", "no-store"), ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"))
NAMING = "/predictions/"  # what follows names a prediction: no log has it
PROBES = frozenset({"/healthz", "/readyz", "/pin"})
NO_HOST = "A request of HTTP/1.1 has a Host header (RFC 9112, 3.2)."
OTHER_HOST = "This service does not answer to the name in the Host header; its setting ALLOWED_HOSTS lists the names."
BUSY = "Too many predictions are at work or waiting; try again."


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A request that was answered; ``shed`` where it was refused because too many were waiting."""

    path: str
    method: str
    status: int
    seconds: float
    shed: bool


class Middleware:
    """Wraps a WSGI application. ``observe`` is told of each finished request.

    ``export(environ, status, seconds)``, where it is set, is told of it too, and then of errors.

    ``full()`` says that a prediction must be refused: too many are at work or waiting. ``hosts``, where it is set, says which
    names of this service a request may use. A view whose answer is made while it is
    sent sets ``request.streams`` in the environment; then the request is finished when its answer is. ``request.release``, where
    it is set, is called then. ``request.headers`` are those of a page, in place of :data:`PLAIN`.
    """

    def __init__(
        self,
        app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]],
        observe: Callable[[Finished], object] | None = None,
        full: Callable[[], bool] | None = None,
        hosts: AllowedHosts | None = None,
    ) -> None:
        self.app = app
        self.observe = observe
        self.full = full
        self.hosts = hosts
        self.export: Callable[[WSGIEnvironment, int, float], None] | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        began = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = given if given and _ID.fullmatch(given) else fresh()
        environ["request.id"] = request_id
        status = 0

        def start(code: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status
            status = int(code[:3])
            headers.append(("X-Request-Id", request_id))
            headers.extend(SECURITY_HEADERS)
            headers.extend(environ.get("request.headers", PLAIN))
            return start_response(code, headers, exc_info)

        body: Iterable[bytes]
        if refused := self._refused(environ):
            code, detail, headers = refused
            said = problem.encode(code, detail, request_id)
            fields = [("Content-Type", problem.MEDIA_TYPE), ("Content-Length", str(len(said))), *headers.items()]
            start(f"{code} {HTTPStatus(code).phrase}", fields)
            body = [said]
        else:
            body = self.app(environ, start)
        if "request.streams" in environ:
            return Streamed(body, lambda: self._finish(environ, request_id, status, began))
        self._finish(environ, request_id, status, began)
        return body

    def _refused(self, environ: WSGIEnvironment) -> tuple[int, str, dict[str, str]] | None:
        """Why the application does not see a request: the status, the detail and headers."""
        host = environ.get("HTTP_HOST")
        if host is None:
            if environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
                return 400, NO_HOST, {}
        elif self.hosts is not None and not self.hosts(host):
            return 421, OTHER_HOST, {}
        if self.full is not None and environ["REQUEST_METHOD"] == "POST" and self.full():
            environ["request.shed"] = True
            return 503, BUSY, problem.retry_after(1)
        return None

    def _finish(self, environ: WSGIEnvironment, request_id: str, status: int, began: float) -> None:
        seconds = time.perf_counter() - began
        if "request.release" in environ:
            environ.pop("request.release")()
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if self.observe is not None:
            self.observe(Finished(path, method, status, seconds, "request.shed" in environ))
        if self.export is not None:
            self.export(environ, status, seconds)
        if (status == 200 and path in PROBES) or status == 304:
            return  # asked again and again, and nothing is new; what is, is in lines of its own
        line = {
            "time": json_logging.now(),
            "level": "error" if status == 500 else "info",
            "event": "request",
            "request_id": request_id,
            "method": method,
            "path": (path.partition(NAMING)[0] + f"{NAMING}…" if NAMING in path else path)[:200],
            "status": status,
            "ms": round(seconds * 1000, 3),
            **environ.get("request.facts", {}),
        }
        if key := environ.get("request.key"):
            line["key"] = key
            if own := environ.get("request.key_id"):
                line["key_id"] = own
        if (given := environ.get("HTTP_TRACEPARENT")) and (trace := _TRACE.fullmatch(given)):
            line["trace_id"], line["parent_id"] = trace[1], trace[2]
        json_logging.write(_encode(line) + b"\n")


class Streamed:
    """An answer that is made while it is sent; ``finish`` is called once, when it ends or the client is gone."""

    def __init__(self, body: Iterable[bytes], finish: Callable[[], None]) -> None:
        self.body = body
        self.finish = finish

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.body)

    def close(self) -> None:
        """The end, in good order or not."""
        try:
            if close := getattr(self.body, "close", None):
                close()
        finally:
            self.finish()
