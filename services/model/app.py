"""The model service's application factory: hands out the verified bytes of the current model, and of its challenger."""

from __future__ import annotations

import base64
from typing import Any

from flask import Flask, Response, jsonify, request

from modelbundle.format.statement import CHALLENGER, CHAMPION, SUFFIXES
from services.model.pin import Pin
from services.model.pinned_model import PinnedModels, ServedModel
from services.web import problem
from services.web.middleware import Middleware
from services.web.problem import Refused
from services.web.timestamps import iso


def create_app(models: PinnedModels) -> Flask:
    """An application around models of which the champion is verified already."""
    app = Flask("services.model", static_folder=None)
    app.wsgi_app = Middleware(app.wsgi_app)  # type: ignore[method-assign]

    problem.init_app(app)

    @app.get("/bundle")
    def bundle() -> Response:
        """The bytes, under a strong ETag that is their SHA-256."""
        response = _bytes(models.served)
        if challenger := models.challenger.served:
            response.headers["X-Challenger-Id"] = challenger.pin.id  # so that one poll tells of both
        return response

    @app.get("/statement")
    def statement() -> Response:
        """The signature file that lies beside the model."""
        return _statement(models.served, CHAMPION)

    @app.get("/challenger")
    def challenger() -> Response:
        """The challenger's bytes, as at ``/bundle``; 404 where none is pinned."""
        return _bytes(_challenger(models))

    @app.get("/challenger/statement")
    def challenger_statement() -> Response:
        """The signature file that lies beside the challenger."""
        return _statement(_challenger(models), CHALLENGER)

    @app.get("/pin")
    def pin() -> Response:
        """What is pinned, what is served, and why not, where these differ."""
        served, other = models.served, models.challenger.served
        facts: dict[str, Any] = {
            "pinned": models.pinned.named(),
            "serving": {**served.pin.named(), "since": iso(served.since, "seconds")},
            "id": served.pin.id,
            "why_not": models.why_not,
            "challenger": {
                "pinned": _shared(models.challenger.pinned) if models.challenger.pinned else None,
                "serving": _shared(other.pin) if other else None,
                "id": other.pin.id if other else None,
                "why_not": models.challenger.why_not,
            },
        }
        return jsonify(facts)

    @app.get("/healthz")
    def healthz() -> Response:
        """The process lives, and has a verified model."""
        return jsonify(status="alive", sha256=models.served.pin.sha256)

    return app


def _shared(pin: Pin) -> dict[str, object]:
    return {**pin.named(), "share": pin.share}


def _challenger(models: PinnedModels) -> ServedModel:
    served, why_not = models.challenger.served, models.challenger.why_not
    if served is not None:
        return served
    if models.challenger.pinned is None and why_not is None:
        raise Refused(404, "No challenger is pinned.")
    raise Refused(
        503, f"The challenger cannot be served: {why_not or 'it is being read'}.", headers={"Retry-After": "2"}
    )


def _bytes(served: ServedModel) -> Response:
    response = Response(status=200, mimetype="application/octet-stream")
    _describe(response, served)
    if request.if_none_match.contains(served.pin.sha256):
        response.status_code = 304
        del response.headers["Content-Type"]
        return response
    response.set_data(served.content)
    sha256 = base64.b64encode(bytes.fromhex(served.pin.sha256)).decode()
    response.headers["Repr-Digest"] = f"sha-256=:{sha256}:"
    return response


def _statement(served: ServedModel, role: str) -> Response:
    if served.statement is None:
        raise Refused(404, f"There is no {served.pin.file}{SUFFIXES[role]} beside the model.")
    response = Response(served.statement, mimetype="application/json")
    _describe(response, served)
    del response.headers["ETag"]
    return response


def _describe(response: Response, served: ServedModel) -> None:
    response.set_etag(served.pin.sha256)
    response.headers["X-Pin-Id"] = served.pin.id
    response.headers["Cache-Control"] = "no-cache"
