"""Errors as RFC 9457 ``application/problem+json``, made in one place for both services."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from services.web import json_logging

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "Retry-After"


class Refused(Exception):
    """A request that is answered with a problem. ``errors`` are ``{"pointer", "detail"}`` objects."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[dict[str, str]] = (),
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}
        self.more = more


def retry_after(seconds: int) -> dict[str, str]:
    """The header that tells a client when to ask again."""
    return {RETRY_AFTER: str(seconds)}


def response(
    status: int,
    detail: str,
    errors: Sequence[dict[str, str]] = (),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem document as Flask's response."""
    answer = Response(
        encode(status, detail, request.environ.get("request.id"), errors, **more), status, mimetype=MEDIA_TYPE
    )
    answer.headers.update(headers or {})
    return answer


def encode(
    status: int, detail: str, request_id: str | None, errors: Sequence[dict[str, str]] = (), **more: Any
) -> bytes:
    """A problem document; ``title`` is the status code's own phrase."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": list(errors),
    }
    if request_id:
        body["request_id"] = request_id
    return json.dumps({**body, **more}).encode()


def init_app(
    app: Flask, members: Mapping[str, str] | None = None, nothing: Callable[[], Response | None] = lambda: None
) -> None:
    """Answer every error of ``app`` with a problem document.

    ``members`` maps the beginning of a path to a member that has the detail too, as the protocol there wants it. ``nothing``
    may give a page for an address at which there is nothing.
    """
    named = members or {}

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        return response(error.status, error.detail, error.errors, error.headers, **error.more)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:
            return error.get_response()  # type: ignore[return-value]
        if status == 404 and (page := nothing()):
            return page
        kept = {name: value for name, value in error.get_headers() if name in ("Allow", RETRY_AFTER)}
        detail = _detail(status, error)
        more: dict[str, Any] = {
            member: detail for path, member in named.items() if f"{request.path}/".startswith(f"{path}/")
        }
        return response(status, detail, headers=kept, **more)

    @app.errorhandler(Exception)
    def our_bug(error: Exception) -> Response:
        own = request.environ.get("request.id")
        request.environ["request.error"] = error
        json_logging.emit("bug", "error", request_id=own, trace=json_logging.trace(error))
        return response(500, "This is a bug of ours. Please report it with the request id.")


def _detail(status: int, error: HTTPException) -> str:
    match status:
        case 404:
            return "There is nothing at this address."
        case 405:
            return "This address does not take this method."
    return error.description or HTTPStatus(status).description or HTTPStatus(status).phrase
