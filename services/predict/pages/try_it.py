"""``/``: the page on which one case is tried, as it is typed.

``GET`` shows an example made from the bundle, ``POST`` the case in a form; both answer with the whole page, so that it is the
same with scripts and without. A case that is tried here is not logged and not counted, because nobody decides anything by it, and
half-typed cases would look like drift. See docs/decisions/010-the-page-does-not-log.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from modelbundle.errors import CannotScore
from modelbundle.model import Model
from modelbundle.validation.problems import Invalid
from modelbundle.validation.validator import One
from services.predict.api import api_keys
from services.predict.api.api_keys import Keys
from services.predict.api.request_body import BodyReader
from services.predict.pages import code_snippets, form, rendering
from services.predict.pages.bundle_documents import BundleDocuments, Documents
from services.predict.pages.charts import waterfall, what_if
from services.predict.pages.example_cases import Examples
from services.predict.serving import model_calls
from services.predict.serving.loaded_models import Models, Serving
from services.predict.serving.model_calls import SCORING
from services.web.problem import Refused

FORM = "application/x-www-form-urlencoded"
SUBMIT = "try.submit"  # the endpoint that asks for a key itself, because the key may come in the form


@dataclass(frozen=True, slots=True)
class Page:
    """Makes the page. ``keys`` is None where everyone may ask."""

    documents: BundleDocuments
    examples: Examples
    keys: Keys | None

    def example(self, serving: Serving, name: str) -> Response:
        """The page with the example of this name, else with the first."""
        made = self.examples.of(serving.model)
        chosen = next((example for example in made if example.name == name), made[0])
        return self.answer(serving, form.typed(serving.model, chosen.row), None, chosen.name)

    def answer(self, serving: Serving, given: Mapping[str, str], locked: Refused | None, example: str = "") -> Response:
        """The page about what was typed: 200, 422 where it does not fit the schema, 401 or 403 where a key is missing."""
        model = serving.model
        documents = self.documents.of(model)
        record = form.record(model, given)
        wrong: dict[str, str] = {}
        strange: dict[str, str] = {}
        found: dict[str, Any] = {"verdict": None, "story": None, "reasons": None, "curve": None, "code": None}
        try:
            asked = model.validator.record(record)
            strange = form.warnings(asked.warnings)
            if locked is None:
                found |= _found(model, documents, asked, given.get("curve", ""))
                found["code"] = code_snippets.make(request, record, self.keys is not None)
        except Invalid as invalid:
            wrong = form.problems(invalid, record)
        status = locked.status if locked else 422 if wrong else 200
        request.environ["request.facts"] = {"model_version": model.version, "tried": True}
        response = rendering.page(
            "try.html",
            "try",
            serving,
            status,
            fields=form.fields(model, documents.reference, given, wrong, strange),
            examples=self.examples.of(model),
            example=example,
            wrong=wrong,
            locked=locked.status if locked else 0,
            height=what_if.HEIGHT,
            **found,
        )
        if locked:
            response.headers.update(locked.headers)
        return response

    def locked(self, given: Mapping[str, str]) -> Refused | None:
        """Why this caller may not ask, if so. A browser without scripts sends its key in the form."""
        if self.keys is None:
            return None
        environ = request.environ
        if "key" in given and not environ.get("HTTP_AUTHORIZATION"):
            environ = {**environ, "HTTP_X_API_KEY": given["key"]}
        try:
            api_keys.note(request.environ, api_keys.authenticate(self.keys, environ, api_keys.PREDICT))
        except Refused as refused:
            return refused
        return None


def blueprint(
    models: Models, bodies: BodyReader, documents: BundleDocuments, examples: Examples, keys: Keys | None
) -> Blueprint:
    """The views of the page."""
    views = Blueprint("try", __name__)
    page = Page(documents, examples, keys)

    @views.get("/")
    def show() -> Response:
        """The page with an example; ``?example=`` names which."""
        serving = rendering.serving_now(models)
        if serving is None:
            return rendering.no_model("try")
        with serving:
            return page.example(serving, request.args.get("example", ""))

    @views.post("/")
    def submit() -> Response:
        """The page with the case that was typed."""
        if request.mimetype != FORM:
            raise Refused(415, f"Content-Type must be {FORM}; records in JSON go to /predict.")
        given = form.read(bodies.read(request))
        serving = rendering.serving_now(models)
        if serving is None:
            return rendering.no_model("try")
        with serving:
            return page.answer(serving, given, page.locked(given))

    return views


def _found(model: Model, documents: Documents, asked: One, chosen: str) -> dict[str, Any]:
    try:
        with model_calls.call(SCORING, model.version, 1):
            answer = model.answer(asked.row, every_term=True)
    except CannotScore as error:
        raise model.validator.unscorable(asked, error.rows) from None
    told = waterfall.story(model, asked.row, answer)
    if chosen not in model.schema.index:
        chosen = told.terms[0].feature if told else model.schema.names[0]
    hidden = [f.title for f, w in zip(model.schema, model.reasons.wordings, strict=True) if not w.disclosable]
    return {
        "verdict": waterfall.verdict(model, answer),
        "story": told,
        "reasons": answer.reasons,
        "hidden": hidden,
        "curve": what_if.curve(model, documents, asked.row, chosen),
        "chosen": model.schema.features[model.schema.index[chosen]],
    }
