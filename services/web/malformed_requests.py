"""What gunicorn refuses by itself, before an application sees it, as ``application/problem+json`` in place of HTML."""

from __future__ import annotations

from functools import cache
from typing import Any

from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName, ParseException

from services.web import json_logging, problem
from services.web.request_ids import fresh

DETAILS = {
    400: "The request is not valid HTTP/1.1.",
    403: "The request must not come from there.",
    414: "The address is too long.",
    417: "The header Expect takes the value 100-continue only.",
    431: "The headers are too large.",
    500: "This is a bug of ours. Please report it with the request id.",
    501: "This transfer coding is not supported.",
}
OURS = (InvalidResponseHeader, InvalidResponseHeaderName)  # errors of the application


class ProblemErrors:
    """For a gunicorn worker class, before gunicorn's own."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Let gunicorn log the kind of error and choose the status, and send that as a problem.

        gunicorn would log what it could not read, which may be a record that was sent in place of a head, and of what is no
        error of the request, its address.
        """
        if isinstance(exc, ParseException) and not isinstance(exc, OURS):
            kind: type[Exception] = type(exc)
            exc.__class__ = _unsaid(kind)  # type: ignore[arg-type]
            super().handle_error(req, _ProblemSocket(client), addr, exc)  # type: ignore[misc]
        else:
            json_logging.emit("bug", "error", trace=json_logging.trace(exc))
            client.sendall(as_problem(b"HTTP/1.1 500 Internal Server Error", 500, DETAILS[500]))


@cache
def _unsaid(kind: type[Exception]) -> type[Exception]:
    """The same kind of error, whose text is its name."""
    return type(kind.__name__, (kind,), {"__str__": lambda _: kind.__name__})


class _ProblemSocket:
    """Sends a problem with the status of the answer that it is given."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        """Send the problem."""
        status = int(data[9:12])
        detail = DETAILS.get(status, "The request could not be answered.")
        self._client.sendall(as_problem(data.split(b"\r\n", 1)[0], status, detail))


def as_problem(first_line: bytes, status: int, detail: str) -> bytes:
    """An answer without an application: a problem, after which the connection ends."""
    request_id = fresh()
    body = problem.encode(status, detail, request_id)
    headers = (
        f"\r\nConnection: close\r\nContent-Type: {problem.MEDIA_TYPE}\r\nContent-Length: {len(body)}"
        f"\r\nX-Request-Id: {request_id}\r\n\r\n"
    )
    return first_line + headers.encode() + body
