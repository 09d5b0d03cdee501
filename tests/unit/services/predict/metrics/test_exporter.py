"""What is measured, under which names and labels; that all of it is documented, and that writing it together changes no count."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry, Histogram, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.predict import app as application_factory
from services.predict.api.health import Health
from services.predict.app import Application, create_app
from services.predict.metrics import gauges
from services.predict.metrics.counters import BUCKETS, Latencies
from services.predict.metrics.observer import Observer
from services.predict.rollout.protocol import REFUSALS, PinnedVersion
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from services.predictionlog import event
from services.web.middleware import Finished
from tests.conftest import LOAN, Made
from tests.integration.system import ROOT
from tests.unit.services.conftest import make_current
from tests.unit.services.predict.api.test_predict import post

PREFIX = "peerloan_"


def scrape(client: FlaskClient) -> dict[str, float]:
    """Every sample, by its name and labels as in the text."""
    text = client.get("/metrics").get_data(as_text=True)
    return {
        f"{sample.name}{sorted(sample.labels.items())}" if sample.labels else sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def exposed(client: FlaskClient) -> set[str]:
    """The names that a query can use, without the parts of histograms."""
    families: Iterator[Metric] = text_string_to_metric_families(client.get("/metrics").get_data(as_text=True))
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    return {name for name in names if not name.endswith("_created")}  # which several processes together have not


def test_every_metric_is_documented(client: FlaskClient) -> None:
    """The table names what is exposed, and nothing else; all of it begins with peerloan_."""
    table = re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE)
    assert len(table) == len(set(table))
    assert set(table) == exposed(client)
    assert all(name.startswith(PREFIX) for name in table)


def test_warnings_are_counted_by_feature(client: FlaskClient) -> None:
    """In every shape of request, once per value; nothing a caller writes becomes a label."""
    before = scrape(client)
    strange = {**LOAN, "amount": 10_000_000, "purpose": "a new one"}
    assert post(client, strange).status_code == 200
    assert post(client, [LOAN, strange]).status_code == 200
    assert post(client, {name: [value] for name, value in strange.items()}).status_code == 200
    after = scrape(client)
    new = {name: after[name] - before.get(name, 0) for name in after if name.startswith("peerloan_warnings_total")}
    assert {name: count for name, count in new.items() if count} == {
        "peerloan_warnings_total[('feature', 'amount')]": 3,
        "peerloan_warnings_total[('feature', 'purpose')]": 3,
    }


def test_only_the_model_that_answers_is_named(client: FlaskClient, store: StateDir, bundles: list[Made]) -> None:
    """A label of an older version does not stay behind; the age is that of the switch."""
    for number, made in enumerate(bundles, 1):
        if number > 1:
            make_current(store, made)
        found = scrape(client)
        names = [name for name in found if name.startswith("peerloan_model_info")]
        assert names == [f"peerloan_model_info[('name', '{made.path.stem}'), ('version', '{made.sha256}')]"]
        assert found["peerloan_model_generation"] == number
        assert found["peerloan_model_switched_timestamp_seconds"] == pytest.approx(store.switched() / 1e9)
        assert found["peerloan_model_ready"] == 1


def test_a_replica_without_a_model_says_so(app: Flask, client: FlaskClient, store: StateDir) -> None:
    """Not ready, and no model is named."""
    (store.root / "current").unlink()
    found = scrape(client)
    assert found["peerloan_model_ready"] == found["peerloan_model_confirmed"] == 0
    assert not any(name.startswith("peerloan_model_info") for name in found)


def test_what_is_wanted_and_was_refused_is_a_gauge(client: FlaskClient, store: StateDir, bundles: list[Made]) -> None:
    """It goes back to 0 when something else is wanted."""
    store.refuse(PinnedVersion("f" * 64, "2"), "golden rows", "golden")
    for wanted, refused in (("f" * 64, 1), (bundles[0].sha256, 0)):
        store.write_status({"wanted": wanted, "confirmed": False})
        assert scrape(client)["peerloan_model_refused"] == refused


def test_what_waits_for_the_database_is_measured(
    application: Application, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes, and since when; what is set aside is counted."""
    monkeypatch.setattr(gauges.time, "time", lambda: 1_000_100.0)
    root = application.prediction_log.root
    assert scrape(client)["peerloan_log_spool_seconds"] == 0
    event.append(root, event.SWITCH, {})
    (segment,) = root.glob("*/*.segment")
    os.utime(segment, (1_000_000, 1_000_000))
    found = scrape(client)
    assert found["peerloan_log_spool_bytes"] > 50
    assert found["peerloan_log_spool_seconds"] == 100
    shutil.copy(segment, segment.with_suffix(".damaged"))
    assert scrape(client)["peerloan_log_damaged_segments"] == 1


def test_counts_that_alerts_watch_begin_at_zero(client: FlaskClient) -> None:
    """Otherwise the first of a kind would be no increase."""
    found = scrape(client)
    for reason in REFUSALS:
        assert found[f"peerloan_model_switches_total[('outcome', 'refused'), ('reason', '{reason}')]"] >= 0
    for name in ("bugs", "shed", "predictions_unlogged", "model_fetch_failures", "log_shipped_rows"):
        assert found[f"peerloan_{name}_total"] >= 0


def test_a_bug_is_counted(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only a bug."""
    before = scrape(client)["peerloan_bugs_total"]
    client.get("/nothing")
    monkeypatch.setattr(Health, "report", lambda _: 1 / 0)
    client.get("/readyz")
    monkeypatch.undo()
    assert scrape(client)["peerloan_bugs_total"] == before + 1


def test_nothing_is_asked_of_a_request_without_warnings(
    application: Application, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting warnings costs a request that has none nothing."""

    def never(*_: object) -> None:
        raise AssertionError("it was called")

    monkeypatch.setattr(application_factory, "warned", never)
    client = create_app(settings, application.store).flask.test_client()
    assert post(client, LOAN).status_code == 200
    assert post(client, [LOAN, LOAN]).status_code == 200


def measured(client: FlaskClient) -> dict[str, float]:
    """Every sample of ``/metrics`` by its name and labels."""
    lines = client.get("/metrics").text.splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_what_was_answered_is_in_the_next_scrape(client: FlaskClient) -> None:
    """Requests, rows and bands, whatever was written before: nothing waits for the next quarter of a second."""
    before = measured(client)
    assert post(client, LOAN).status_code == 200
    assert post(client, [LOAN, LOAN, LOAN]).status_code == 200
    assert post(client, {}).status_code == 422
    client.get("/there/is/no/such/route")
    after = measured(client)

    def more(name: str) -> float:
        return sum(n - before.get(key, 0) for key, n in after.items() if key.startswith(name))

    assert more('peerloan_http_requests_total{method="POST",route="/predict",status="200"}') == 2
    assert more('peerloan_http_requests_total{method="POST",route="/predict",status="422"}') == 1
    assert more('peerloan_http_requests_total{method="GET",route="other",status="404"}') == 1
    assert more('peerloan_http_request_seconds_count{route="/predict"}') == 3
    assert more('peerloan_http_request_seconds_bucket{le="+Inf",route="/predict"}') == 3
    assert more("peerloan_rows_total") == 4
    assert more("peerloan_predictions_total") == 4


def test_together_is_as_one_by_one() -> None:
    """Each latency falls into the bucket whose bound it does not exceed, on and beside every bound."""
    amounts = [x for bound in BUCKETS for x in (bound * 0.999, bound, bound * 1.001)] + [0.0, 1e9]
    texts = []
    for kind in (Histogram, Latencies):
        registry = CollectorRegistry()
        histogram = kind("seconds", "of requests", buckets=BUCKETS, registry=registry)
        if isinstance(histogram, Latencies):
            histogram.observe_all(amounts)
        else:
            for amount in amounts:
                histogram.observe(amount)
        lines = generate_latest(registry).decode().splitlines()
        texts.append([line for line in lines if "_bucket" in line or "_count" in line])
    assert texts[0] == texts[1]


def test_a_worker_that_ends_leaves_its_counts(client: FlaskClient) -> None:
    """The last quarter of a second is written when the thread ends."""
    name = 'peerloan_http_requests_total{method="POST",route="/predict",status="299"}'
    observer = Observer(client.application.url_map)
    observer.start()
    observer.finished.append(Finished("/predict", "POST", 299, 0.1, shed=False))
    observer.stop()
    assert measured(client)[name] == 1


@pytest.mark.attack("metrics")
@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6detrics", "/v2/../metrics", "/docs/../metrics"])
def test_a_replica_shows_no_metrics_to_who_came_through_a_proxy(client: FlaskClient, path: str) -> None:
    """Whatever the proxy took the address for."""
    own = {"PATH_INFO": unquote(path), "HTTP_X_FORWARDED_FOR": "203.0.113.9"}
    assert client.get("/", environ_overrides=own).status_code == 404
    assert client.get("/metrics").status_code == 200
