"""``POST /predict``: JSON in, an answer of the current model out; or CSV in, CSV out."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app, request

from modelbundle.validation.validator import Invalid, One, TooManyRows
from services.predict.api import predict_csv
from services.predict.api.json_document import parse
from services.predict.api.request_body import check_type
from services.predict.serving.loaded_models import NoModel, Serving
from services.predict.serving.predictor import (
    Answer,
    Predictor,
    array,
    idempotency_key,
    many,
    misfit,
    no_model,
    one,
    prediction_ids,
    signed,
)
from services.web.problem import Refused

blueprint = Blueprint("predictions", __name__)
_encode = msgspec.json.encode


def init_app(app: Flask, predictor: Predictor) -> None:
    """Add the view to ``app``."""
    app.extensions["predictor"] = predictor
    app.register_blueprint(blueprint)


@blueprint.post("/predict")
def predict() -> Response:
    """Score what was sent."""
    predictor: Predictor = current_app.extensions["predictor"]
    own = request._get_current_object()  # type: ignore[attr-defined]  # the proxy costs as much as the scoring
    environ = own.environ
    every_term = _every_term(own.args.get("contributions")) if environ.get("QUERY_STRING") else False
    if environ.get("CONTENT_TYPE", "")[:8].lower() == "text/csv":
        return predict_csv.answer(predictor, own, every_term)
    check_type(own)
    document = parse(predictor.bodies.read(own))
    try:
        serving = predictor.models.current()  # once, after the body was read, and used throughout
    except NoModel as error:
        raise no_model(error) from None
    held = serving.held
    held.in_use.append(None)
    try:
        return _answer(predictor, serving, document, every_term, environ)
    finally:
        held.in_use.pop()


def _answer(
    predictor: Predictor, serving: Serving, document: Any, every_term: bool, environ: dict[str, Any]
) -> Response:
    model = serving.held.model
    key = idempotency_key(environ)
    try:
        asked = model.validator.read(document, predictor.max_rows)
    except (Invalid, TooManyRows) as error:
        raise misfit(error, environ) from None
    # Encoded once: what is sent is what is logged.
    if isinstance(asked, One):
        answer = one(model, asked, prediction_ids(1, key, model.version, [asked.row])[0], every_term)
        body = _encode(answer)
        predictor.done(serving, environ, asked, [answer], b"[%b]" % body)
    else:
        answers = many(model, asked, key, every_term)
        body = _encode({"predictions": answers, "model_version": model.version})
        predictor.done(serving, environ, asked, answers, array(body))
    return signed(Answer(body), serving, environ, asked.rows)


def _every_term(value: str | None) -> bool:
    if value not in (None, "all"):
        raise Refused(422, "The query parameter contributions takes the value all.")
    return value == "all"
