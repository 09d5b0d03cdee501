"""What is measured, and that writing it together changes no count."""

from __future__ import annotations

from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from services.predict.metrics import BUCKETS, Latencies, Observer
from tests.conftest import LOAN
from tests.unit.services.test_predict import post


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
    observer = Observer(["/predict"])
    observer.start()
    observer({"REQUEST_METHOD": "POST", "PATH_INFO": "/predict"}, 299, 0.1)
    observer.stop()
    assert measured(client)[name] == 1
