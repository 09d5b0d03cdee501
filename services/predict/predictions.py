"""``POST /predict``: JSON in, an answer of the current model out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app, request

from modelbundle.model import Model
from modelbundle.validation import Invalid, Many, One, TooManyRows
from services.predict.body import Bodies, check_type
from services.predict.document import parse
from services.predict.models import Models, NoModel, Serving
from services.predict.settings import Settings
from services.problem import Refused

blueprint = Blueprint("predictions", __name__)
_encode = msgspec.json.encode


@dataclass(slots=True)
class Predictor:
    """What the view needs, made once per application. ``scored`` is told how many rows were answered, and their bands."""

    models: Models
    bodies: Bodies
    max_rows: int
    scored: Callable[[int, Iterable[str | None]], None] = lambda *_: None


def init_app(app: Flask, settings: Settings, models: Models) -> None:
    """Add the view to ``app``."""
    bodies = Bodies(settings.max_body_bytes, settings.body_seconds)
    app.extensions["predictor"] = Predictor(models, bodies, settings.max_rows)
    app.register_blueprint(blueprint)


@blueprint.post("/predict")
def predict() -> Response:
    """Score what was sent."""
    predictor: Predictor = current_app.extensions["predictor"]
    own = request._get_current_object()  # type: ignore[attr-defined]  # the proxy costs as much as the scoring
    check_type(own)
    every_term = _every_term(own.args.get("contributions")) if own.environ.get("QUERY_STRING") else False
    document = parse(predictor.bodies.read(own))
    try:
        serving = predictor.models.current()  # once, after the body was read, and used throughout
    except NoModel as error:
        raise Refused(503, f"No model can answer now: {error}.", headers={"Retry-After": "1"}) from None
    held = serving.held
    held.in_use.append(None)
    try:
        return _answer(predictor, serving, document, every_term, own.environ)
    finally:
        held.in_use.pop()


def _answer(
    predictor: Predictor, serving: Serving, document: Any, every_term: bool, environ: dict[str, Any]
) -> Response:
    model = serving.held.model
    try:
        asked = model.validator.read(document, predictor.max_rows)
    except Invalid as invalid:
        errors = [{"pointer": p.pointer, "detail": p.detail} for p in invalid.problems]
        environ["request.facts"] = {"problem": errors[0], "problems": invalid.total}
        count = "1 problem" if invalid.total == 1 else f"{invalid.total} problems"
        raise Refused(422, f"The request does not fit the model's schema: {count}.", errors) from None
    except TooManyRows as error:
        raise Refused(413, str(error), max_rows=error.limit) from None
    key = environ.get("HTTP_IDEMPOTENCY_KEY")
    body: Any
    if isinstance(asked, One):
        body = one(model, asked, prediction_ids(1, key, model.version, [asked.row])[0], every_term)
        rows = 1
        predictor.scored(1, (body["band"],))
    else:
        answers = many(model, asked, key, every_term)
        body = {"predictions": answers, "model_version": model.version}
        rows = asked.rows
        predictor.scored(rows, [answer["band"] for answer in answers])
    environ["request.facts"] = {"model_version": model.version, "generation": serving.generation.number, "rows": rows}
    response = Response(_encode(body), 200, mimetype="application/json")
    response.headers["X-Model-Version"] = model.version
    response.headers["X-Model-Generation"] = str(serving.generation.number)
    return response


def one(model: Model, asked: One, prediction_id: str, every_term: bool) -> dict[str, Any]:
    """The answer object of one row."""
    answer = model.answer(asked.row, every_term)
    return _complete(answer, model.version, prediction_id, asked.id, asked.warnings)


def many(model: Model, asked: Many, key: str | None, every_term: bool) -> list[dict[str, Any]]:
    """The answer objects of n rows, in order."""
    answers = model.answers(asked.columns, every_term)
    plain = [column if isinstance(column, list) else column.tolist() for column in asked.columns] if key else []
    rows = zip(*plain, strict=True)
    ids = prediction_ids(asked.rows, key, model.version, rows)
    own = asked.ids or [None] * asked.rows
    none: list[dict[str, str]] = []
    return [
        _complete(answer, model.version, ids[i], own[i], asked.warnings.get(i, none))
        for i, answer in enumerate(answers)
    ]


def _complete(
    answer: dict[str, Any], version: str, prediction_id: str, own: str | None, warnings: Any
) -> dict[str, Any]:
    answer["model_version"] = version
    answer["prediction_id"] = prediction_id
    answer["id"] = own
    answer["warnings"] = warnings
    return answer


def prediction_ids(rows: int, key: str | None, version: str, values: Any) -> list[str]:
    """One id of 32 hex digits per row: random, or derived from the idempotency key, the row and the model's version."""
    if not key:
        digits = os.urandom(16 * rows).hex()
        return [digits[i : i + 32] for i in range(0, 32 * rows, 32)]
    start = hashlib.sha256(f"{version}\0{key}".encode("utf-8", "surrogateescape"))
    ids = []
    for position, row in enumerate(values):
        derived = start.copy()
        derived.update(f"\0{position}\0{[None if v != v else v for v in row]!r}".encode("utf-8", "surrogatepass"))
        ids.append(derived.hexdigest()[:32])
    return ids


def _every_term(value: str | None) -> bool:
    if value not in (None, "all"):
        raise Refused(422, "The query parameter contributions takes the value all.")
    return value == "all"
