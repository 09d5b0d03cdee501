"""What gunicorn refuses by itself, before an application sees it, as ``application/problem+json`` in place of HTML."""

from __future__ import annotations

from typing import Any

from services.web import problem
from services.web.request_ids import fresh

DETAILS = {
    400: "The request is not valid HTTP/1.1.",
    403: "The request must not come from there.",
    414: "The address is too long.",
    417: "The header Expect takes the value 100-continue only.",
    431: "The headers are too large.",
    501: "This transfer coding is not supported.",
}


class ProblemErrors:
    """For a gunicorn worker class, before gunicorn's own."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Let gunicorn log the error and choose the status, and send that as a problem."""
        super().handle_error(req, _ProblemSocket(client), addr, exc)  # type: ignore[misc]


class _ProblemSocket:
    """Sends a problem with the status of the answer that it is given."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        """Send the problem."""
        status, request_id = int(data[9:12]), fresh()
        body = problem.encode(status, DETAILS.get(status, "The request could not be answered."), request_id)
        reason = data.split(b"\r\n", 1)[0]
        headers = (
            f"\r\nConnection: close\r\nContent-Type: {problem.MEDIA_TYPE}\r\nContent-Length: {len(body)}"
            f"\r\nX-Request-Id: {request_id}\r\n\r\n"
        )
        self._client.sendall(reason + headers.encode() + body)
