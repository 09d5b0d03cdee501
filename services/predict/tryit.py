"""``GET /``: the page on which one case is tried."""

from __future__ import annotations

from flask import Blueprint, Flask, Response

from services.predict import pages

blueprint = Blueprint("try", __name__)


def init_app(app: Flask) -> None:
    """Add the views to ``app``."""
    app.register_blueprint(blueprint)


@blueprint.get("/")
def show() -> Response:
    """The page."""
    serving = pages.serving_now()
    if serving is None:
        return pages.page("nomodel.html", "try", None, 503)
    return pages.page("try.html", "try", serving)
