"""What all pages share: their headers, their files, and how they are rendered. Everything comes from this server.

A page is rendered in one go from a template that extends ``base.html``, and is about one model, the current one, whose version
and generation it carries. What a template is given is escaped, whatever a bundle says. The policy allows no inline script and no
inline style, so a chart is placed with attributes.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from flask import Blueprint, Flask, Response, abort, render_template, request

from modelbundle.explain.curves import in_order
from services.predict.api.responses import named
from services.predict.pages import formatting
from services.predict.pages.charts import feature_curves
from services.predict.serving.loaded_models import Models, NoModel, Serving
from services.web.problem import retry_after

ROOT = Path(__file__).parent
POLICY = (
    "Content-Security-Policy",
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
)
PAGE = (("Cache-Control", "no-store"), POLICY)
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"
NAVIGATION = (
    ("./", "try", "Try it"),
    ("batch", "batch", "A whole book"),
    ("model-card", "model-card", "The model"),
    ("monitor", "monitor", "Watch"),
    ("docs", "docs", "API"),
)
# where only some may look, a script adds these for them
LOOK_UP = (("predictions", "predictions", "Look up"), ("deployments", "deployments", "Deployments"))


def init_app(app: Flask, keyed: bool, looked_up: bool = False) -> None:
    """Give the templates of ``app`` what they may use. ``keyed``: scores need a key. ``looked_up``: everyone may look predictions
    up."""
    app.jinja_env.undefined = jinja2.StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(asset=asset, navigation=(*NAVIGATION, *(LOOK_UP if looked_up else ())), keyed=keyed)
    app.jinja_env.filters.update(
        percent=formatting.percent,
        short_percent=formatting.short_percent,
        number=formatting.number,
        signed=formatting.signed,
        in_order=in_order,
        factor=feature_curves.factor,
        moment=formatting.moment,
        in_json=formatting.in_json,
    )


def page(
    template: str, name: str, serving: Serving | None, status: int = 200, depth: int = 0, **context: Any
) -> Response:
    """The page ``name`` of :data:`NAVIGATION`, about the model in ``serving``; None while no model answers.

    ``template`` is given ``context``, ``about`` (the manifest), ``version`` and ``generation``, and ``up``, which leads from an
    address that is ``depth`` deep to the root.
    """
    request.environ["request.headers"] = PAGE
    about = serving.model.manifest if serving else None
    content = render_template(
        template,
        page=name,
        up="../" * depth,
        about=about,
        version=serving.model.version if serving else "",
        generation=serving.generation.number if serving else 0,
        **context,
    )
    response = Response(content, status, content_type="text/html; charset=utf-8")
    return named(response, serving) if serving else response


def no_model(name: str) -> Response:
    """The page ``name`` while no model answers."""
    response = page("nomodel.html", name, None, 503)
    response.headers.update(retry_after(1))
    return response


def serving_now(models: Models) -> Serving | None:
    """The model that the page is about; None while no model answers."""
    try:
        return models.current()
    except NoModel:
        return None


def asset(name: str) -> str:
    """The address of a file in ``static/``, relative to a page: another one when any of the files changes."""
    return f"static/{_files()[1]}/{name}"


def blueprint() -> Blueprint:
    """The files that the pages load."""
    views = Blueprint("pages", __name__)

    @views.get("/static/<digest>/<name>")
    def file(digest: str, name: str) -> Response:
        """A file of the pages. With an address that is not of today it is sent, but not to be kept."""
        contents, today = _files()
        if name not in contents:
            abort(404)
        kept = KEPT if digest == today else "no-cache"
        request.environ["request.headers"] = (("Cache-Control", kept), POLICY)
        response = Response(contents[name], content_type=f"{KINDS[Path(name).suffix]}; charset=utf-8")
        response.add_etag()
        return response.make_conditional(request)  # type: ignore[return-value]

    return views


@cache
def _files() -> tuple[dict[str, bytes], str]:
    """The files by name, and the digest of them all: scripts load each other by relative addresses."""
    found = {p.name: p.read_bytes() for p in sorted((ROOT / "static").iterdir()) if p.suffix in KINDS}
    digest = hashlib.sha256(b"\0".join(name.encode() + b"\0" + content for name, content in found.items()))
    return found, digest.hexdigest()[:16]
