"""Which addresses the proxy passes on, read from its configuration. tests/e2e asks the proxy itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.predict.app import create_app
from services.predict.settings import Settings
from tests.integration.system import ROOT

CONFIGURATION = (ROOT / "deploy/haproxy/haproxy.cfg").read_text("utf-8")
INSIDE = {"/metrics"}


def public(path: str) -> bool:
    """Whether the proxy passes ``path`` on; HAProxy compares it as it was sent, without its query."""
    frontend = CONFIGURATION.partition("frontend public")[2].partition("frontend metrics")[0]
    refusals = re.findall(r"^ +http-request return status 404 .* (if|unless) (.*)$", frontend, re.MULTILINE)
    assert refusals == [("unless", "public")]
    rules = re.findall(r"^ +acl public (path|path_beg) (.*)$", frontend, re.MULTILINE)
    exact = {value for kind, values in rules if kind == "path" for value in values.split()}
    begins = tuple(value for kind, values in rules if kind == "path_beg" for value in values.split())
    return path in exact or path.startswith(begins)


def test_every_route_but_the_operators_is_public(tmp_path: Path) -> None:
    """A new page must be added to the proxy's list, or said to stay inside."""
    own = {"STATE_DIR": str(tmp_path / "state"), "DATA_DIR": str(tmp_path / "data")}
    application = create_app(Settings.from_environment({**own, "MODEL_SERVER_URL": "http://127.0.0.1:1"}))
    routes = {rule.rule for rule in application.flask.url_map.iter_rules()}
    assert routes >= INSIDE
    for route in routes:
        assert public(re.sub("<.*?>", "name", route)) == (route not in INSIDE), route


@pytest.mark.attack("metrics")
@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/%6detrics", "/metrics/", "/./metrics", "/metrics%00", "/%2fmetrics", "*", ""]
)
def test_no_spelling_of_the_metrics_is_public(path: str) -> None:
    assert not public(path)
