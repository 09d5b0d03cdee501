"""What is exported, to a sink on loopback: errors and traces, and nothing of a borrower."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.web import telemetry
from services.web.middleware import Middleware
from services.web.problem import init_app
from services.web.telemetry import Telemetry
from tests.conftest import LOAN
from tests.integration.sink import Sink, listening
from tests.integration.system import ROOT, System

SECRET = "123-45-6789"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with listening() as made:
        yield made


def spans(sink: Sink) -> list[tuple[str, dict[str, Any]]]:
    """Every span that came: its ids and name, and its attributes."""
    found = []
    for path, body in sink.taken:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        attributes = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
                        ids = f"{span.trace_id.hex()}-{span.parent_span_id.hex()} {span.name}"
                        assert span.end_time_unix_nano > span.start_time_unix_nano
                        found.append((ids, attributes))
    return found


def test_a_bug_goes_to_sentry_without_a_value(sink: Sink) -> None:
    """Type, place, request id; no body, no query, no local variable, no text of the exception. A refusal is no bug."""
    app = Flask("buggy")
    init_app(app)

    @app.post("/predict")
    def predict() -> str:
        ssn = SECRET
        raise ValueError(f"could not convert {ssn}")

    edge = Middleware(app.wsgi_app)
    app.wsgi_app = edge  # type: ignore[method-assign]
    edge.export = Telemetry("test", ["/predict"], f"http://public@127.0.0.1:{sink.port}/7", "")
    client = app.test_client()
    asked = {"X-Request-Id": "traced.1"}
    assert client.post(f"/predict?q={SECRET}", json={"ssn": SECRET}, headers=asked).status_code == 500
    assert client.post(f"/{SECRET}").status_code == 404
    edge.export.stop()
    ((path, body),) = sink.taken
    assert path == "/api/7/envelope/"
    event = json.loads(body.splitlines()[-1])
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ValueError"
    assert exception["stacktrace"]["frames"][-1]["function"] == "predict"
    assert event["tags"] == {"request_id": "traced.1", "route": "/predict"}
    assert SECRET.encode() not in body


def test_traces_are_continued_from_the_caller(system: System, sink: Sink) -> None:
    """One server span per request, with the caller's trace; probes have none; what waits is sent when the service stops."""
    system.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{sink.port}"
    system.start_model()
    system.start_predict()
    given = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-Id": "traced.2"}
    assert system.post({**LOAN, "id": SECRET}, **given)[0] == 200
    assert system.post({**LOAN, "purpose": 5}, f"/predict?x={SECRET}")[0] == 422
    assert system._get(system.port, f"/{SECRET}")[0] == 404
    system.stop_predict()
    found = dict(spans(sink))
    own = found.pop(f"{TRACE}-{SPAN} POST /predict")
    version = own.pop("peerloan.model_version")
    assert len(str(version)) == 64
    assert own == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "peerloan.request_id": "traced.2",
        "peerloan.generation": 1,
        "peerloan.rows": 1,
    }
    assert sorted(a["http.response.status_code"] for a in found.values()) == [404, 422]
    assert {name.partition(" ")[2] for name in found} == {"POST /predict", "GET other"}
    assert not any(SECRET.encode() in body for _, body in sink.taken)


@pytest.mark.parametrize("name", ["SENTRY_DSN", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_configured_and_not_installed_is_said_at_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy; what is not configured needs nothing."""
    monkeypatch.setattr(telemetry, "find_spec", lambda _: None)
    telemetry.check(**dict.fromkeys(telemetry.NEEDS, ""))
    with pytest.raises(telemetry.NotInstalled, match=f"{name} is set.*TELEMETRY=1"):
        telemetry.check(**{name: "http://somewhere"})


def test_an_address_that_cannot_be_used_ends_the_start() -> None:
    """One line, before a process is forked."""
    environment = {**os.environ, "SENTRY_DSN": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "services.predict"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("prediction API: SENTRY_DSN")
    assert "Traceback" not in done.stderr


def test_nothing_is_imported_where_nothing_is_configured() -> None:
    """Off, it costs nothing: no SDK is loaded, and a request looks at one attribute."""
    sdks = "('sentry_sdk', 'opentelemetry')"
    code = f"import sys, services.predict.app, services.web.telemetry\nprint([m for m in {sdks} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
