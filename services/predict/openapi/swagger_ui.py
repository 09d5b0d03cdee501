"""``GET /docs``: the API's description as a page to read and try, from this server alone."""

from __future__ import annotations

from importlib.resources import files

from flask import Blueprint, Response, abort, request

HEADERS = (
    ("Cache-Control", "no-cache"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)
FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Prediction API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<main id="page">
<noscript>This page needs JavaScript; <a href="openapi.json">the description itself</a> does not.</noscript>
</main>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#page", deepLinking: true, displayRequestDuration: true, tryItOutEnabled: true,
  validatorUrl: null, defaultModelsExpandDepth: 0, presets: [SwaggerUIBundle.presets.apis]
});
"""


def blueprint() -> Blueprint:
    """The views of the page."""
    views = Blueprint("docs", __name__)

    @views.get("/docs")
    def page() -> Response:
        """The page."""
        return _active(PAGE.encode(), "text/html")

    @views.get("/docs/<name>")
    def part(name: str) -> Response:
        """A file that the page loads."""
        if name == "start.js":
            return _active(START.encode(), "text/javascript")
        if name not in FILES:
            abort(404)
        return _active((files("flask_swagger_ui") / "dist" / name).read_bytes(), FILES[name])

    return views


def _active(content: bytes, kind: str) -> Response:
    request.environ["request.headers"] = HEADERS
    response = Response(content, content_type=f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]
