"""The counters and histograms of the prediction API: definitions only, so that any part can count without importing the web.

``prometheus_client`` keeps each process's values in files of ``PROMETHEUS_MULTIPROC_DIR``, and
:mod:`services.predict.metrics.exporter` adds them up. Labels are bounded: routes and methods are those of the application, bands
those of its models.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.predictionlog.shipper import shipped

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
OTHER = "other"


class Latencies(Histogram):
    """A histogram that is told many seconds at once."""

    def observe_all(self, amounts: list[float]) -> None:
        """:meth:`observe` of each, writing every bucket once."""
        for bucket, count in Tally(bisect_left(self._upper_bounds, amount) for amount in amounts).items():
            self._buckets[bucket].inc(count)
        self._sum.inc(sum(amounts))


registry = CollectorRegistry()
requests = Counter(
    "peerloan_http_requests",
    "HTTP requests by route, method and status",
    ["route", "method", "status"],
    registry=registry,
)
seconds = Latencies(
    "peerloan_http_request_seconds",
    "Seconds from a request's head to its answer",
    ["route"],
    buckets=BUCKETS,
    registry=registry,
)
rows = Counter("peerloan_rows", "Rows that were scored", registry=registry)
predictions = Counter("peerloan_predictions", "Rows that were scored, by band", ["band"], registry=registry)
shed = Counter("peerloan_shed", "Requests answered 503 because too many were waiting", registry=registry)
ended = Counter(
    "peerloan_slow_connections",
    "Connections that were ended because they were slow, by what was late (head, body, answer), or that there were too many",
    ["reason"],
    registry=registry,
)
bugs = Counter("peerloan_bugs", "Requests answered 500", registry=registry)
warnings = Counter(
    "peerloan_warnings", "Values that training had not seen, by feature of the model", ["feature"], registry=registry
)
in_flight = Gauge(
    "peerloan_in_flight",
    "Requests at work or waiting, the scrape among them",
    multiprocess_mode="livesum",
    registry=registry,
)
switches = Counter(
    "peerloan_model_switches",
    "What became of pins, by outcome (switched, refused) and the class of the reason",
    ["outcome", "reason"],
    registry=registry,
)
outcomes = Counter("peerloan_outcomes", "Outcomes that were sent, by what came of them", ["status"], registry=registry)
fetch_failures = Counter("peerloan_model_fetch_failures", "Downloads of a model that failed", registry=registry)
unlogged = Counter("peerloan_predictions_unlogged", "Rows that the prediction log did not take", registry=registry)
registry.register(shipped)
