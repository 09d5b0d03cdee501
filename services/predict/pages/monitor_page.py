"""``GET /monitor``: the page that shows what ``/monitor.json`` says."""

from __future__ import annotations

from flask import Blueprint, Flask, Response

from services.predict.pages import rendering

blueprint = Blueprint("monitor page", __name__)


def init_app(app: Flask) -> None:
    """Add the view to ``app``."""
    app.register_blueprint(blueprint)


@blueprint.get("/monitor")
def show() -> Response:
    """The page. It is there while no model answers, too: that is when people look."""
    return rendering.page("monitor.html", "monitor", rendering.serving_now())
