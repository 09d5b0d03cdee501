"""``/``: the page on which one case is tried, as it is typed.

``GET`` shows an example made from the bundle, ``POST`` the case in a form; both answer with the whole page, so that it is the
same with scripts and without. What is tried here is not written to the prediction log and not counted as scored: nobody decides
anything by it, and half-typed cases would be taken for drift. See docs/decisions/010-the-page-does-not-log.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request

from modelbundle.model import Model
from modelbundle.validation.validator import Invalid, One
from services.predict.api import api_keys
from services.predict.pages import code_snippets, example_cases, form, rendering
from services.predict.pages.bundle_documents import Papers
from services.predict.pages.charts import waterfall, what_if
from services.predict.pages.example_cases import Example
from services.predict.serving.loaded_models import NoModel, Serving
from services.predict.serving.predictor import Predictor
from services.web.problem import Refused

blueprint = Blueprint("try", __name__)
FORM = "application/x-www-form-urlencoded"


class Examples:
    """The examples of the current model, made once."""

    def __init__(self) -> None:
        self._made: tuple[str, tuple[Example, ...]] = ("", ())

    def of(self, model: Model, papers: Papers) -> tuple[Example, ...]:
        """Those of ``model``."""
        version, made = self._made
        if version != model.version:
            made = example_cases.make(model, papers.reference)
            self._made = (model.version, made)
        return made


def init_app(app: Flask) -> None:
    """Add the views to ``app``."""
    app.extensions["examples"] = Examples()
    app.register_blueprint(blueprint)


@blueprint.get("/")
def show() -> Response:
    """The page with an example; ``?example=`` names which."""
    return _with_model(lambda serving: _example(serving, request.args.get("example", "")))


@blueprint.post("/")
@api_keys.by_itself
def submit() -> Response:
    """The page with the case that was typed. A browser without scripts sends its key in the form."""
    if request.mimetype != FORM:
        raise Refused(415, f"Content-Type must be {FORM}; records in JSON go to /predict.")
    predictor: Predictor = current_app.extensions["predictor"]
    given = form.read(predictor.bodies.read(request))
    return _with_model(lambda serving: _answer(serving, given, _locked(given)))


def _with_model(answer: Any) -> Response:
    predictor: Predictor = current_app.extensions["predictor"]
    try:
        predictor.models.current()
    except NoModel:
        empty = rendering.page("nomodel.html", "try", None, 503)
        empty.headers["Retry-After"] = "1"
        return empty
    with predictor.using() as serving:
        found: Response = answer(serving)
        return found


def _locked(given: Mapping[str, str]) -> Refused | None:
    """Why this caller may not ask, if so."""
    keys = current_app.extensions.get("keys")
    if keys is None:
        return None
    environ = request.environ
    if "key" in given and not environ.get("HTTP_AUTHORIZATION"):
        environ = {**environ, "HTTP_X_API_KEY": given["key"]}
    try:
        request.environ["request.key"] = api_keys.authenticate(keys, environ)
    except Refused as refused:
        return refused
    return None


def _example(serving: Serving, name: str) -> Response:
    model = serving.held.model
    made = current_app.extensions["examples"].of(model, current_app.extensions["papers"].of(model))
    chosen = next((example for example in made if example.name == name), made[0])
    return _answer(serving, form.typed(model, chosen.row), None, chosen.name)


def _answer(serving: Serving, given: Mapping[str, str], locked: Refused | None, example: str = "") -> Response:
    """The page about what was typed: 200, 422 where it does not fit the schema, 401 or 403 where a key is missing."""
    model = serving.held.model
    papers: Papers = current_app.extensions["papers"].of(model)
    record = form.record(model, given)
    wrong: dict[str, str] = {}
    strange: dict[str, str] = {}
    found: dict[str, Any] = {"verdict": None, "story": None, "reasons": None, "curve": None, "code": None}
    try:
        asked = model.validator.record(record)
        strange = form.warnings(asked.warnings)
        if locked is None:
            found |= _found(model, papers, asked, given.get("curve", ""))
            found["code"] = code_snippets.make(request, record, "keys" in current_app.extensions)
    except Invalid as invalid:
        wrong = form.problems(invalid, record)
    status = locked.status if locked else 422 if wrong else 200
    request.environ["request.facts"] = {"model_version": model.version, "tried": True}
    response = rendering.page(
        "try.html",
        "try",
        serving,
        status,
        fields=form.fields(model, papers.reference, given, wrong, strange),
        examples=current_app.extensions["examples"].of(model, papers),
        example=example,
        wrong=wrong,
        locked=locked.status if locked else 0,
        height=what_if.HEIGHT,
        **found,
    )
    if locked:
        response.headers.update(locked.headers)
    return response


def _found(model: Model, papers: Papers, asked: One, chosen: str) -> dict[str, Any]:
    answer = model.answer(asked.row, every_term=True)
    told = waterfall.story(model, asked.row, answer)
    if chosen not in model.schema.index:
        chosen = told.terms[0].feature if told else model.schema.names[0]
    hidden = [f.title for f, w in zip(model.schema, model.reasons.wordings, strict=True) if not w.disclosable]
    return {
        "verdict": waterfall.verdict(model, answer),
        "story": told,
        "reasons": answer["reasons"],
        "hidden": hidden,
        "curve": what_if.curve(model, papers, asked.row, chosen),
        "chosen": model.schema.features[model.schema.index[chosen]],
    }
