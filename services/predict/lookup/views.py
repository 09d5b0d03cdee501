"""``/predictions``: logged predictions are searched for and looked up, as pages and as JSON.

To whoever may not see them these addresses are like any other at which there is nothing. With ``API_KEYS_FILE`` a key with the
role ``audit`` may; without, whoever can reach this machine's loopback interface, where the API listens nowhere else. A browser
sends no key by itself: the page that says that there is nothing here asks again with the one that is typed into it.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, abort, request
from werkzeug.exceptions import MethodNotAllowed

from modelbundle.format import bundle
from services.predict.api import api_keys
from services.predict.api.api_keys import AUDIT, Keys
from services.predict.lookup import criteria
from services.predict.lookup.kept_models import KeptModels
from services.predict.lookup.log import Log
from services.predict.lookup.telling import Told, tell
from services.predict.pages import markdown, model_card, rendering
from services.predict.serving.loaded_models import Models
from services.web.problem import Refused

SEARCH = "/predictions"
JSON = ".json"
NAME = "predictions"  # of the pages
METHODS = (
    "GET",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
)  # all find nothing, or that only the first two are
NO_CARD = "The model of this prediction came without a card, or its file is not kept here any more."


class Lookup:
    """Answers. ``keys`` is None where everyone may ask; ``open_here``: then everyone may look up, too."""

    def __init__(self, log: Log, kept: KeptModels, models: Models, keys: Keys | None, open_here: bool) -> None:
        self.log = log
        self.kept = kept
        self.models = models
        self.keys = keys
        self.open_here = open_here

    def admit(self) -> None:
        """Raise :class:`werkzeug.exceptions.NotFound` for whoever may not look up."""
        if self.keys is None:
            if not self.open_here:
                abort(404)
        else:
            try:
                key = api_keys.authenticate(self.keys, request.environ, AUDIT)
            except Refused:
                abort(404)
            api_keys.note(request.environ, key)
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(["GET", "HEAD"])

    def search(self) -> Response:
        """The form, with the predictions that were found."""
        self.admit()
        try:
            asked = criteria.read(request.args)
            page = self.log.search(asked)
            self._note("search", [row["prediction_id"] for row in page.rows], asked)
        except Refused as refused:
            return self._refused(refused)
        following = asked.next(page.end) if page.end else None
        if as_json():
            return answer({"predictions": page.rows, "next": f"predictions.json?{following}" if following else None})
        return self._form(asked=asked.given, rows=page.rows, following=following, query=asked.query)

    def one(self, own: str) -> Response:
        """One prediction."""
        self.admit()
        try:
            told = self._told(own.removesuffix(JSON), "prediction")
        except Refused as refused:
            return self._refused(refused, 1)
        if as_json():
            card = f"{quote(told.document['prediction_id'], safe='')}/model-card" if told.model else None
            return answer({**told.document, "model_card": card})
        about = told.model.manifest if told.model else None
        return self._page("prediction.html", depth=1, told=told, about_then=about)

    def card(self, own: str) -> Response:
        """The card of the model that answered."""
        self.admit()
        try:
            told = self._told(own, "model card")
            text = self.kept.document(told.model, bundle.CARD) if told.model else ""
            if told.model is None or not text:
                raise Refused(404, NO_CARD)
        except Refused as refused:
            return self._refused(refused, 2)
        model = told.model
        if as_json():
            return answer({"model_version": model.version, "model_card": text})
        return self._page(
            "card-then.html",
            depth=2,
            told=told,
            then=model.manifest,
            version_then=model.version,
            facts=dict(model_card.facts(model.manifest)),
            card=[section for section in markdown.sections(text) if section.level > 1],
        )

    def _told(self, own: str, what: str) -> Told:
        try:
            found = self.log.one(own)
        except Refused as refused:
            if refused.status == 404:
                self._note(what, [])
            raise
        self._note(what, [found["prediction_id"]])
        return tell(found, self.kept)

    def _note(self, what: str, seen: list[str], asked: criteria.Criteria | None = None) -> None:
        """Record who saw which predictions. What was searched for is named; an id that a caller chose is not repeated."""
        searched = {
            name: None if name.endswith("id") else text
            for name, text in (asked.given if asked else {}).items()
            if name in criteria.SEARCHED
        }
        environ = request.environ
        environ["request.facts"] = {"seen": len(seen)}
        detail = {"what": what, **({"searched": searched} if asked else {}), "predictions": seen}
        self.log.note(environ["request.id"], environ.get("request.key"), detail)

    def _refused(self, refused: Refused, depth: int = 0) -> Response:
        if as_json():
            raise refused
        asked = criteria.given(request.args)
        response = self._form(refused.status, depth, asked=asked, rows=None, following=None, query="", refused=refused)
        response.headers.update(refused.headers)
        return response

    def _form(self, status: int = 200, depth: int = 0, refused: Refused | None = None, **context: Any) -> Response:
        problems = {e["pointer"][1:]: e["detail"] for e in refused.errors} if refused else {}
        known = criteria.SEARCHED
        return self._page("lookup.html", status, depth, refused=refused, problems=problems, known=known, **context)

    def _page(self, template: str, status: int = 200, depth: int = 0, **context: Any) -> Response:
        serving = rendering.serving_now(self.models)
        bands = [band.label for band in serving.model.manifest.bands] if serving else []
        return rendering.page(template, NAME, serving, status, depth, bands=bands, **context)


def as_json() -> bool:
    """Whether a program asks: by the address, or because it would rather have JSON than a page."""
    if request.path.endswith(JSON):
        return True
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def answer(content: dict[str, Any]) -> Response:
    """Content as JSON."""
    return Response(json.dumps(content), content_type="application/json", headers={"Vary": "Accept"})


def blueprint(lookup: Lookup) -> Blueprint:
    """The views."""
    views = Blueprint("lookup", __name__)
    options: dict[str, Any] = {"methods": METHODS, "provide_automatic_options": False}
    views.add_url_rule(SEARCH, "search", lookup.search, **options)
    views.add_url_rule(SEARCH + JSON, "search as JSON", lookup.search, **options)
    views.add_url_rule(f"{SEARCH}/<own>", "one", lookup.one, **options)
    views.add_url_rule(f"{SEARCH}/<own>/model-card", "card", lookup.card, **options)
    return views


def nothing(models: Models) -> Response | None:
    """What a browser gets at an address at which there is nothing for its key: a page into which another can be typed.

    It is the same whether there is something for other keys or not.
    """
    if request.method not in ("GET", "HEAD") or "text/html" not in request.accept_mimetypes.values():
        return None
    return rendering.page("nothing.html", "", rendering.serving_now(models), 404, request.path.count("/") - 1)
