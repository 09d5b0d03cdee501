"""What every answer carries, and what the log has of every request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import LOAN, Made
from tests.unit.services.predict.api.test_outcomes import make
from tests.unit.services.predict.api.test_predict import assert_problem, post

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize("path", ["/model", "/nothing", "/openapi.json", "/v2", "/metrics"])
def test_security_headers(client: FlaskClient, path: str) -> None:
    """On answers and errors alike: nothing is sniffed, kept, framed or active."""
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_a_page_may_run_only_what_this_server_sends(client: FlaskClient) -> None:
    policy = client.get("/docs").headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f"cc-{TRACE}-{SPAN}-01-later", TRACE),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("garbage", None),
    ],
)
def test_a_trace_goes_into_the_log(
    client: FlaskClient, capfd: pytest.CaptureFixture[str], given: str, trace: str | None
) -> None:
    """W3C Trace Context; what is not valid is not there."""
    assert post(client, LOAN, traceparent=given).status_code == 200
    [line] = map(json.loads, capfd.readouterr().out.splitlines())
    assert line.get("trace_id") == trace
    assert line.get("parent_id") == (trace and SPAN)


def test_a_request_id_is_taken_or_made(client: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    """One that could write into the log is not taken."""
    assert post(client, LOAN, **{"X-Request-Id": "abc.1-2_3"}).headers["X-Request-Id"] == "abc.1-2_3"
    for given in ("a b", "x" * 65, 'a"b'):
        made = post(client, LOAN, **{"X-Request-Id": given}).headers["X-Request-Id"]
        assert made != given
        assert len(made) == 32
    assert [json.loads(line)["status"] for line in capfd.readouterr().out.splitlines()] == [200] * 4


def test_a_streamed_answer_is_logged_when_it_ends(client: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    """With its rows, good and bad."""
    body = "amount,int_rate,grade,purpose\n1,0.1,A,car\n2,0.1,A,car\nx,0.1,A,car\n"
    response = client.post("/predict", data=body, content_type="text/csv")
    assert capfd.readouterr().out == ""
    response.close()
    response = client.post("/predict", data=body, content_type="text/csv")
    assert response.get_data()
    response.close()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["rows"], line.get("bad_rows")) for line in lines][1] == (2, 1)


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ({}, True),
        ({"HOST": "0.0.0.0"}, False),
        ({"ALLOWED_HOSTS": "rebound.example"}, False),
        ({"ALLOWED_HOSTS": "other.example"}, True),
        ({"HOST": "0.0.0.0", "ALLOWED_HOSTS": "other.example"}, True),
        ({"ALLOWED_HOSTS": "*"}, False),
    ],
)
def test_a_page_that_rebinds_its_name_reaches_nothing(
    settings: Settings, store: StateDir, bundles: list[Made], more: dict[str, str], refused: bool
) -> None:
    """On loopback without keys, ``Host`` must be a name of this machine. Settings say otherwise."""
    client = make(settings, store, bundles, **more)
    response = client.get("/healthz", headers={"Host": "rebound.example"})
    assert response.status_code == (421 if refused else 200)
    if refused:
        assert_problem(response, 421)


def test_with_keys_any_name_will_do(settings: Settings, store: StateDir, bundles: list[Made], tmp_path: Path) -> None:
    """A page of another site has no key."""
    (tmp_path / "keys").write_text(f"desk {'0' * 64}\n", "utf-8")
    client = make(settings, store, bundles, API_KEYS_FILE=str(tmp_path / "keys"))
    assert client.get("/healthz", headers={"Host": "rebound.example"}).status_code == 200


def test_a_log_line_has_no_name_that_a_caller_gave_to_a_field(
    client: FlaskClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer has it; the log says that there was an unknown field, and the model's own names."""
    response = post(client, {**LOAN, "Marguerite Example 1971": 1})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == "/Marguerite Example 1971"
    [line] = map(json.loads, capfd.readouterr().out.splitlines())
    assert line["problem"]["pointer"] == ""
    assert line["problem"]["detail"].startswith("unknown field")
    assert "Marguerite" not in json.dumps(line)
    post(client, {**LOAN, "int_rate": "high"})
    [line] = map(json.loads, capfd.readouterr().out.splitlines())
    assert line["problem"]["pointer"] == "/int_rate"
